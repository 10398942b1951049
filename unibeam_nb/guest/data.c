/*
 * The data disk: what the program writes to its home outlives the machine.
 *
 * It is told by its label and by nothing else: which letter a disk gets depends on the others, and a disk that is not
 * ours must not be touched. Nothing in here formats; who makes the disk does (machine/data.py, or
 * `mkfs.ext4 -L unibeam-data`). ext4 keeps a journal, so a machine may be killed at any time: the next mount takes
 * care of what was half written.
 *
 * A machine that was told to keep data, or that has such a disk, does not start without it: it would lose what it believes to be kept.
 */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define LABEL "unibeam-data"
#define SUPERBLOCK 1024 /* where it is on an ext4 disk; magic and label are in it (the kernel's filesystems/ext4) */
#define MAGIC_AT 56
#define LABEL_AT 120
#define LABEL_ROOM 16
#define REFUSED STATE "/.unibeam-refused"

static int kept;

/* Whether this block device is an ext4 file system with our label. */
static int ours(const char *path)
{
	unsigned char block[LABEL_AT + LABEL_ROOM];
	int disk = open(path, O_RDONLY | O_CLOEXEC), found;

	if (disk < 0)
		return 0;
	found = pread(disk, block, sizeof block, SUPERBLOCK) == (ssize_t)sizeof block && block[MAGIC_AT] == 0x53
	        && block[MAGIC_AT + 1] == 0xef && !strncmp((char *)block + LABEL_AT, LABEL, LABEL_ROOM);
	close(disk);
	return found;
}

/* The path of the data disk, or 0 where there is none (yet). Of two the first by name is taken. */
static int find_disk(char *path, size_t room)
{
	DIR *folder = opendir("/sys/class/block");
	struct dirent *entry;
	char candidate[300];

	path[0] = 0;
	while (folder && (entry = readdir(folder))) {
		snprintf(candidate, sizeof candidate, "/dev/%s", entry->d_name);
		if (entry->d_name[0] != '.' && (!path[0] || strcmp(candidate, path) < 0) && ours(candidate))
			snprintf(path, room, "%s", candidate);
	}
	if (folder)
		closedir(folder);
	return path[0] != 0;
}

void mount_data(void)
{
	char path[300];
	int waited = 0;

	while (!find_disk(path, sizeof path) && options.data == DATA_NEEDED && waited++ < DISK_WAIT_MS)
		doze(1);
	if (!path[0] && options.data == DATA_FOUND)
		return;
	if (!path[0])
		say("no data disk appeared within %d s; give the machine an ext4 disk with the label %s.",
		    DISK_WAIT_MS / 1000, LABEL);
	else if (mount(path, STATE, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, NULL))
		say("the data disk %s cannot be mounted (%s); %s.", path, strerror(errno),
		    errno == ENODEV ? "use a kernel that has ext4 built in" : "check it with fsck.ext4 on another machine");
	else
		kept = 1;
	if (!kept)
		leave(NOT_STARTED);
}

void unmount_data(void)
{
	if (kept && umount2(STATE, 0) && mount(NULL, STATE, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		say("the data disk is busy (%s); its journal will be replayed.", strerror(errno));
	kept = 0;
}

/* Whether this release was refused at an earlier boot; identities are made by the image's builder. */
int was_refused(const char *identity)
{
	char *text = kept ? slurp(REFUSED) : NULL;

	return text && !strncmp(text, identity, strlen(identity));
}

void remember_refused(const char *identity)
{
	if (kept)
		write_file(REFUSED, "%s\n", identity);
	sync();
}
