/*
 * User data at boot: where it is, and the short run of the emulator that applies it (unibeam_cloud.erl).
 *
 * PID 1 looks, because looking costs nothing and starting an emulator does: where there is no source, or no
 * /etc/unibeam/cloud in the image, nothing is started. A source is, in this order,
 *
 *   ds=nocloud;s=URL on the kernel's command line (or ds=nocloud-net;s=URL),
 *   a disk or partition with the label cidata, ISO 9660 or FAT,
 *   Amazon EC2's metadata service, on a machine whose firmware says that it is there.
 */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLOUD "/etc/unibeam/cloud/"
#define RUN_MS 60000              /* 20 s are the network's, the rest an emulated processor's */
#define STEP_MS 2
#define METADATA "ec2 http://169.254.169.254/"

static int same_label(const unsigned char *label, int length)
{
	static const char wanted[] = "cidata";

	while (length > 0 && label[length - 1] == ' ')
		length--;
	return length == (int)sizeof wanted - 1 && !strncasecmp((const char *)label, wanted, (size_t)length);
}

/* The label of an ISO 9660 volume is in its primary descriptor, at sector 16; that of a FAT one in its boot sector. */
static int is_seed(const char *device)
{
	unsigned char boot[512], volume[72];
	int file = open(device, O_RDONLY | O_CLOEXEC), found = 0;

	if (file < 0)
		return 0;
	if (pread(file, volume, sizeof volume, 16 * 2048) == (ssize_t)sizeof volume && !memcmp(volume, "\1CD001", 6))
		found = same_label(volume + 40, 32);
	else if (pread(file, boot, sizeof boot, 0) == (ssize_t)sizeof boot && boot[510] == 0x55 && boot[511] == 0xaa)
		found = !memcmp(boot + 82, "FAT32", 5) ? same_label(boot + 71, 11)
		      : !memcmp(boot + 54, "FAT", 3) && same_label(boot + 43, 11);
	close(file);
	return found;
}

/* The first such device in alphabetical order. */
static int find_disk(char *source, size_t room)
{
	DIR *folder = opendir("/sys/class/block");
	struct dirent *entry;
	char device[300], best[64] = "";

	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.' || !strncmp(entry->d_name, "ram", 3) || !strncmp(entry->d_name, "loop", 4))
			continue;
		snprintf(device, sizeof device, "/dev/%s", entry->d_name);
		if ((!best[0] || strcmp(entry->d_name, best) < 0) && strlen(entry->d_name) < sizeof best && is_seed(device))
			strcpy(best, entry->d_name);
	}
	if (folder)
		closedir(folder);
	snprintf(source, room, "disk /dev/%s", best);
	return best[0] != 0;
}

static int begins(const char *path, const char *with)
{
	char *text = slurp(path);
	int does = text && !strncasecmp(text, with, strlen(with));

	free(text);
	return does;
}

static int is_ec2(void)
{
	return begins("/sys/class/dmi/id/sys_vendor", "Amazon EC2") || begins("/sys/class/dmi/id/product_uuid", "ec2")
	    || begins("/sys/hypervisor/uuid", "ec2");
}

/* "nocloud;s=URL", other parts between semicolons are for other systems. */
static int told_url(const char *ds, char *source, size_t room)
{
	const char *at;

	if (strncmp(ds, "nocloud;", 8) && strncmp(ds, "nocloud-net;", 12))
		return 0;
	for (at = strchr(ds, ';'); at; at = strchr(at + 1, ';'))
		if (!strncmp(at + 1, "s=", 2) || !strncmp(at + 1, "seedfrom=", 9)) {
			at = strchr(at + 1, '=') + 1;
			snprintf(source, room, "url %.*s", (int)strcspn(at, ";"), at);
			return 1;
		}
	return 0;
}

/* The emulator's exit status, or -1 when it had to be ended. MORE is words behind its own; with QUIET nothing of what
 * it says is shown. */
static int run(const char *source, char **more, int quiet)
{
	char *text = slurp(CLOUD "argv"), *argv[MAX_WORDS];
	int count = text ? lines(text, argv, MAX_WORDS) : 0, status = 0;
	pid_t child;

	while (*more && count < MAX_WORDS - 1)
		argv[count++] = *more++;
	argv[count] = NULL;
	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		if (quiet) {
			dup2(null, 1);
			dup2(null, 2);
		}
		setenv("UNIBEAM_CLOUD", source, 1);
		execv(argv[0], argv);
		_exit(127);
	}
	for (int waited = 0; child > 0 && waited < RUN_MS; waited += STEP_MS) {
		if (waitpid(child, &status, WNOHANG) == child)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		doze(STEP_MS);
	}
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	return -1;
}

/* Flags that the emulator does not take would keep the release from starting, so they are tried out before. */
static void try_flags(void)
{
	char *text = slurp(CLOUD_OUT "flags"), *words[MAX_WORDS], shown[200] = "";
	size_t used = 0;

	if (!text)
		return;
	lines(text, words, MAX_WORDS / 2);
	if (run("check", words, 1) == 0)
		return;
	for (int i = 0; words[i] && used < sizeof shown - 1; i++)
		used += (size_t)snprintf(shown + used, sizeof shown - used, " %s", words[i]);
	for (char *at = shown; *at; at++)
		if (*at < 32 || *at > 126)
			*at = '?';
	say("the emulator does not take these vm_args of the user data, and they are left out:%s", shown);
	if (rename(CLOUD_OUT "argv.plain", CLOUD_OUT "argv"))
		unlink(CLOUD_OUT "argv");
}

static void configure(const char *ds)
{
	char source[1024], *none[] = {NULL};
	int status;

	if (access(CLOUD "argv", R_OK)) {
		if (*ds)
			say("this image reads no user data, though ds= is on the command line; boot one that does (+cloudinit).");
		return;
	}
	if (!told_url(ds, source, sizeof source) && !find_disk(source, sizeof source)) {
		if (!is_ec2())
			return;
		snprintf(source, sizeof source, METADATA);
	}
	status = run(source, none, 0);
	if (status < 0 || status == 127) {
		say("user data is refused: it was not dealt with within %d s; the image's own settings hold.", RUN_MS / 1000);
		unlink(CLOUD_OUT "argv");
		unlink(CLOUD_OUT "hostname");
		return;
	}
	try_flags();
}

/* User data may rename the machine; what else it says is in another argv. */
void use_user_data(void)
{
	char *name;

	configure(options.ds);
	name = slurp(CLOUD_OUT "hostname");
	if (name) {
		snprintf(options.hostname, sizeof options.hostname, "%s", name);
		name_machine();
	}
}
