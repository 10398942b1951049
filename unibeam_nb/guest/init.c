/*
 * PID 1 of a unibeam guest: it prepares the machine, starts one program, and ends with it.
 *
 * Input, all optional but argv:
 *   /etc/unibeam/argv      the program's command line, one argument per line
 *   /etc/unibeam/env       its environment, one KEY=VALUE per line
 *   /etc/unibeam/variables what this boot adds to it, likewise, where that may not stand on the command line
 *   /etc/unibeam/modules   kernel modules to load, one path per line, in load order
 *   /etc/unibeam/options   words as on the kernel's command line, which come before those
 *   /etc/unibeam/identity, /etc/unibeam/fallback/argv and env
 *                          what the release is known by, and the other one, for when it does not come up (program.c)
 *   /proc/cmdline          unibeam.nonce=HEX16        printed in every mark, passed on as UNIBEAM_NONCE
 *                          unibeam.ip=10.0.2.15/24    static address of the first Ethernet card, or
 *                          unibeam.ip=dhcp            whatever the network says (dhcp.c)
 *                          unibeam.gw=10.0.2.2        default route
 *                          unibeam.dns=10.0.2.3       name server
 *                          unibeam.hostname=a.b       a dot keeps OTP from asking a port program for it
 *                          unibeam.env.KEY=VALUE      one more variable for the program
 *                          unibeam.off=poweroff|reboot  how the machine ends (the default is poweroff)
 *                          unibeam.input              the program's standard input is the console
 *                          unibeam.snapshot           take orders on the console (see orders.c)
 *                          ds=nocloud;s=URL           where user data are (cloud.c)
 *                          unibeam.data               the program's home is on a disk (data.c), or
 *                          unibeam.data=found         on one where there is one
 *                          unibeam.heart=SECONDS, unibeam.guard=SECONDS, unibeam.restarts=N   (watch.c)
 *                          unibeam.channel=PORT       ask on the console for a secret (see orders.c)
 *                          A word in double quotes may contain blanks.
 *   the machine's serial number, where the command line is fixed and has no nonce: "unibeam:HEX16"
 *
 * Output: marks on the console, "@unibeam NONCE init NS tsc=COUNT" first and "@unibeam NONCE exit NS code=N" last
 * (NS is CLOCK_MONOTONIC, COUNT the time stamp counter; N is the exit status, 128 + signal, or 125 when the program was never started),
 * and one line starting "unibeam-init:" for everything that went wrong, which says what to do about it.
 *
 * As /sbin/poweroff, a link to it, it asks PID 1 to stop the program: that is what a kernel starts where its hypervisor
 * asks it to end (Xen's `xl shutdown`, Hyper-V's integration services).
 *
 * PID 1 must not end: the kernel panics when it does. So every way out of here goes through leave(), and
 * whatever is not needed to start the program is reported and survived.
 *
 * Here is what it is told and in which order things are done; how, in basics.c, system.c (devices and file systems),
 * network.c with dhcp.c, cloud.c (user data), orders.c (what it hears on the console), program.c (the program's life),
 * watch.c (whether it is alive), data.c (the disk that it writes to), power.c (the power button).
 */
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

struct options options;

/* Takes the options out of a text of words, as a kernel's command line is one. */
static void read_options(char *rest)
{
	char *word, off[16], number[12];
	static const char variable[] = "unibeam.env.";

	while ((word = next_word(&rest))) {
		if (!strncmp(word, variable, sizeof variable - 1) && options.extras < MAX_WORDS)
			options.extra[options.extras++] = word + sizeof variable - 1;
		else if (take(word, "unibeam.off=", off, sizeof off))
			options.reboot = !strcmp(off, "reboot");
		else if (!strcmp(word, "unibeam.input"))
			options.input = 1;
		else if (!strcmp(word, "unibeam.snapshot"))
			options.snapshot = 1;
		else if (!strcmp(word, "unibeam.data"))
			options.data = DATA_NEEDED;
		else if (!strcmp(word, "unibeam.data=found"))
			options.data = options.data ? options.data : DATA_FOUND;
		else if (take(word, "unibeam.heart=", number, sizeof number))
			options.heart = atoi(number);
		else if (take(word, "unibeam.guard=", number, sizeof number))
			options.guard = atoi(number);
		else if (take(word, "unibeam.restarts=", number, sizeof number))
			options.restarts = atoi(number);
		else if (!take(word, "unibeam.nonce=", options.nonce, sizeof options.nonce)
		         && !take(word, "unibeam.ip=", options.address, sizeof options.address)
		         && !take(word, "unibeam.gw=", options.gateway, sizeof options.gateway)
		         && !take(word, "unibeam.dns=", options.dns, sizeof options.dns)
		         && !take(word, "ds=", options.ds, sizeof options.ds)
		         && !take(word, "unibeam.channel=", options.channel, sizeof options.channel))
			take(word, "unibeam.hostname=", options.hostname, sizeof options.hostname);
	}
}

/* What the image says, and then what this boot says, which wins. */
static void read_all_options(void)
{
	char *own = slurp(ETC "options"), *line = slurp("/proc/cmdline");

	if (own)
		read_options(own);
	if (line)
		read_options(line);
	else
		say("the kernel command line cannot be read (%s); is /proc in this kernel?", strerror(errno));
}

/* A disk that a firmware boots has its command line in it, the same at every boot: who boots it in order to measure
 * tells the nonce by the machine's serial number (SMBIOS type 1). Elsewhere that is another number, and not ours. */
static void read_serial(void)
{
	static const char ours[] = "unibeam:";
	char *serial;

	mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	serial = slurp("/sys/class/dmi/id/product_serial");
	if (serial && !strncmp(serial, ours, sizeof ours - 1))
		snprintf(options.nonce, sizeof options.nonce, "%.16s", serial + sizeof ours - 1);
	free(serial);
}

int main(int count, char **words)
{
	unsigned long long began = now_ns(), counter = __builtin_ia32_rdtsc();
	char more[32];

	if (getpid() != 1) {
		if (count && strstr(words[0], "poweroff"))
			return kill(1, SIGTERM) ? NOT_STARTED : 0;
		say("this program prepares a machine and only runs as its first process; boot the image instead.");
		return NOT_STARTED;
	}
	fill_standard_files();
	mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	read_all_options();
	if (!options.nonce[0])
		read_serial();
	snprintf(more, sizeof more, " tsc=%llu", counter);
	mark("init", began, more);
	mount_all();
	set_limits();
	load_modules();
	if (options.data)
		mount_data();
	start_network();
	name_machine();
	if (options.dns[0])
		write_file("/etc/resolv.conf", "nameserver %s\n", options.dns);
	seed_random();
	set_environment();
	use_user_data();
	if (!options.input)
		quiet_console();
	if (options.channel[0])
		set_channel();
	if (options.snapshot)
		open_orders();
	leave(run_program());
}
