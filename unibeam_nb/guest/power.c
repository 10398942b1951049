/*
 * The power button of a machine with ACPI, which is how a hypervisor or a cloud asks a guest to stop (QEMU's
 * system_powerdown, `virsh shutdown`, EC2's StopInstances).
 *
 * The kernel's driver tells of it over generic netlink: the family acpi_event, its one multicast group, an event whose
 * device class is button/power (drivers/acpi/event.c). Where the driver is a module, it is loaded here, some seconds after
 * the start: nobody presses the button sooner, and a boot need not wait for it. A machine without ACPI, or a kernel
 * without the driver (which wants CONFIG_INPUT), has no button.
 */
#include "init.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODULE "/lib/modules/button.ko"
#define FAMILY "acpi_event"
#define CLASS "button/power"
#define CLASS_ROOM 20 /* struct acpi_genl_event begins with the device class */

static int button = -1;

/* include/uapi/linux/netlink.h and genetlink.h, which musl does not have */
#define GENERIC 16
#define CONTROL 0x10
#define GET_FAMILY 3
#define FAMILY_NAME 2
#define GROUPS 7
#define GROUP_ID 2
#define REQUEST 1
#define FAILED 2
#define NETLINK_LEVEL 270
#define JOIN 1
#define TYPE_MASK 0x3fff

struct attribute {
	uint16_t length, type;
	char content[];
};

struct message {
	uint32_t length;
	uint16_t type, flags;
	uint32_t sequence, sender;
	uint8_t command, version;
	uint16_t reserved;
	char body[2048];
};

#define HEAD ((int)offsetof(struct message, body))
#define EVENT 1 /* ACPI_GENL_ATTR_EVENT */

/* The attribute of this type among those in LENGTH bytes, or NULL. */
static struct attribute *find(char *at, int length, int type)
{
	while (length >= (int)sizeof(struct attribute)) {
		struct attribute *one = (struct attribute *)at;
		int whole = (one->length + 3) & ~3;

		if (one->length < sizeof *one || one->length > length)
			return NULL;
		if ((one->type & TYPE_MASK) == type)
			return one;
		at += whole;
		length -= whole;
	}
	return NULL;
}

#define ROOM(one) ((int)(one)->length - (int)sizeof *(one))

/* The number of the family's first multicast group, 0 where this kernel has none. */
static unsigned group_of(int link)
{
	struct message ask = {0, CONTROL, REQUEST, 1, 0, GET_FAMILY, 1, 0, {0}}, answer;
	struct attribute *name = (struct attribute *)ask.body, *found;
	unsigned group = 0;
	int length;

	name->type = FAMILY_NAME;
	name->length = sizeof *name + sizeof FAMILY;
	memcpy(name->content, FAMILY, sizeof FAMILY);
	ask.length = (uint32_t)HEAD + ((name->length + 3u) & ~3u);
	if (send(link, &ask, ask.length, 0) < 0)
		return 0;
	length = (int)recv(link, &answer, sizeof answer, 0) - HEAD;
	if (length <= 0 || answer.type == FAILED)
		return 0;
	found = find(answer.body, length, GROUPS);
	if (found)
		found = find(found->content, ROOM(found), 1); /* the first of the list */
	if (found)
		found = find(found->content, ROOM(found), GROUP_ID);
	if (found && ROOM(found) >= (int)sizeof group)
		memcpy(&group, found->content, sizeof group);
	return group;
}

void open_button(void)
{
	unsigned group;

	if (!access(MODULE, R_OK) && load_module(MODULE))
		return; /* No ACPI here. */
	button = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, GENERIC);
	if (button < 0)
		return;
	group = group_of(button);
	if (!group || setsockopt(button, NETLINK_LEVEL, JOIN, &group, sizeof group)) {
		close(button);
		button = -1;
	}
}

/* The file to wait for; -1 where there is no button. */
int power_button(void)
{
	return button;
}

/* Whether it was pressed; called when there is something to read. */
int was_pressed(void)
{
	struct message event;
	struct attribute *told;
	int length = (int)recv(button, &event, sizeof event, MSG_DONTWAIT) - HEAD;

	told = length > 0 ? find(event.body, length, EVENT) : NULL;
	return told && ROOM(told) >= CLASS_ROOM && !strncmp(told->content, CLASS, CLASS_ROOM);
}
