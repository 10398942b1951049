/* File systems, devices, kernel modules, random numbers. */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

void mount_at(const char *kind, const char *where, unsigned long flags, const char *data)
{
	mkdir(where, 0755);
	if (mount(kind, where, kind, flags, data) && errno != EBUSY)
		say("%s cannot be mounted on %s (%s); use a kernel that has %s built in.", kind, where, strerror(errno), kind);
}

/*
 * The root may be read-only. What is written all the same lies in /run, to which the image's /etc/hosts and
 * /etc/resolv.conf are links, or in the program's home, over which a file system in memory is mounted then.
 */
void mount_all(void)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV;
	struct statvfs root;

	mount_at("sysfs", "/sys", safe | MS_NOEXEC, NULL);
	mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
	/* A kernel without devtmpfs still gets what the BEAM cannot live without: it spins without /dev/null. */
	mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
	mknod("/dev/urandom", S_IFCHR | 0666, makedev(1, 9));
	mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
	mount_at("tmpfs", "/dev/shm", safe, "mode=1777");
	mount_at("tmpfs", "/tmp", safe, "mode=1777");
	mount_at("tmpfs", "/run", safe, "mode=0755");
	if (!statvfs("/", &root) && root.f_flag & ST_RDONLY)
		mount_at("tmpfs", STATE, safe, "mode=0777");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

/*
 * The kernel opens /dev/console three times for PID 1, unless the machine has no console. Then the next files
 * opened would become standard output and error, and lines for people would be written into them.
 */
void fill_standard_files(void)
{
	int file;

	do
		file = open("/dev/null", O_RDWR);
	while (file >= 0 && file <= 2);
	if (file > 2)
		close(file);
}

/* Whether the machine has a virtio device of this kind (the numbers are the virtio specification's, 5). */
static int has_virtio(int kind)
{
	DIR *folder = opendir("/sys/bus/virtio/devices");
	struct dirent *entry;
	char path[320], *text;
	int found = 0;

	while (folder && !found && (entry = readdir(folder))) {
		snprintf(path, sizeof path, "/sys/bus/virtio/devices/%s/device", entry->d_name);
		text = entry->d_name[0] == '.' ? NULL : slurp(path);
		found = text && strtol(text, NULL, 16) == kind;
		free(text);
	}
	if (folder)
		closedir(folder);
	return found;
}

/* Loads a module; 0, or the error. */
int load_module(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC), failed;

	if (file < 0) {
		say("the kernel module %s is not in the image (%s); build the image again.", path, strerror(errno));
		return 0;
	}
	failed = syscall(SYS_finit_module, file, "", 0) ? errno : 0;
	close(file);
	return failed == EEXIST ? 0 : failed;
}

/*
 * A driver that says ENODEV is for a platform that this machine is not on. Those after it that need its symbols then
 * say ENOENT, for the same reason. The driver of disks costs a machine without one nothing; that of the power button comes
 * later (power.c).
 */
void load_modules(void)
{
	int foreign = 0;
	char *text = slurp(ETC "modules"), *path[MAX_WORDS];
	struct utsname kernel;
	int count = text ? lines(text, path, MAX_WORDS) : 0;

	uname(&kernel);
	for (int i = 0; i < count; i++) {
		int failed;

		if (strstr(path[i], "/button.") || (strstr(path[i], "/virtio_blk.") && !has_virtio(VIRTIO_DISK)))
			continue;
		failed = load_module(path[i]);
		if (failed == ENODEV)
			foreign = 1;
		else if (failed && !(foreign && failed == ENOENT))
			say("the kernel module %s does not load (%s); the running kernel is %s, use the one this image was built with.",
			    path[i], strerror(failed), kernel.release);
	}
}

/*
 * Seeds the kernel's random numbers where nothing else did. A processor with RDRAND or a seed from the
 * virtual machine monitor has done so long before this; without both, the first getrandom() would gather timing
 * jitter for up to a second, so a virtio-rng device is asked first. With neither, nothing is to be done
 * here: the kernel gathers that jitter by itself.
 */
void seed_random(void)
{
	struct { int bits, size; unsigned char bytes[64]; } seed = {512, 64, {0}};
	int source, pool;

	if (syscall(SYS_getrandom, seed.bytes, 1, 1 /* GRND_NONBLOCK */) == 1)
		return;
	source = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
	pool = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (source >= 0 && pool >= 0 && read(source, seed.bytes, sizeof seed.bytes) == (ssize_t)sizeof seed.bytes)
		ioctl(pool, RNDADDENTROPY, &seed);
	if (source >= 0)
		close(source);
	if (pool >= 0)
		close(pool);
}
