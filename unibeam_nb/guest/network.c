/* The loopback interface, the card, its address, and the names. */
#include "init.h"

#include "dhcp.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int set_address(int socket, const char *card, const char *address, int bits)
{
	struct ifreq request = {0};
	struct sockaddr_in *part = (struct sockaddr_in *)&request.ifr_addr;

	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", card);
	part->sin_family = AF_INET;
	if (inet_pton(AF_INET, address, &part->sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	if (ioctl(socket, SIOCSIFADDR, &request))
		return -1;
	part->sin_addr.s_addr = htonl(bits ? 0xffffffffu << (32 - bits) : 0);
	if (ioctl(socket, SIOCSIFNETMASK, &request))
		return -1;
	if (ioctl(socket, SIOCGIFFLAGS, &request))
		return -1;
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(socket, SIOCSIFFLAGS, &request);
}

static int add_default_route(int socket, const char *gateway)
{
	struct rtentry route = {0};
	struct sockaddr_in *to = (struct sockaddr_in *)&route.rt_gateway;

	((struct sockaddr_in *)&route.rt_dst)->sin_family = AF_INET;
	((struct sockaddr_in *)&route.rt_genmask)->sin_family = AF_INET;
	to->sin_family = AF_INET;
	route.rt_flags = RTF_UP | RTF_GATEWAY;
	if (inet_pton(AF_INET, gateway, &to->sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	return ioctl(socket, SIOCADDRT, &route);
}

/* The name of the first Ethernet card in alphabetical order, or 0 when there is none yet. */
static int find_card(char *name, size_t room)
{
	DIR *folder = opendir("/sys/class/net");
	struct dirent *entry;
	char path[320], *type;

	name[0] = 0;
	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof path, "/sys/class/net/%s/type", entry->d_name);
		type = entry->d_name[0] == '.' ? NULL : slurp(path);
		if (type && atoi(type) == NIC_TYPE_ETHERNET && (!name[0] || strcmp(entry->d_name, name) < 0))
			snprintf(name, room, "%.15s", entry->d_name);
		free(type);
	}
	if (folder)
		closedir(folder);
	return name[0] != 0;
}

/* Uses a lease: address, route, and what nobody said before: name server and host name. */
static void use_lease(int socket, const char *card, const struct lease *lease)
{
	char address[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];
	int bits = lease->mask.s_addr ? __builtin_popcount(lease->mask.s_addr) : 24;

	inet_ntop(AF_INET, &lease->address, address, sizeof address);
	if (set_address(socket, card, address, bits))
		say("%s does not take the address %s/%d that DHCP gave (%s).", card, address, bits, strerror(errno));
	snprintf(options.address, sizeof options.address, "%s", address);
	inet_ntop(AF_INET, &lease->gateway, gateway, sizeof gateway);
	if (lease->gateway.s_addr && add_default_route(socket, gateway) && errno != EEXIST)
		say("there is no route to the gateway %s that DHCP gave (%s).", gateway, strerror(errno));
	if (lease->dns.s_addr && !options.dns[0])
		inet_ntop(AF_INET, &lease->dns, options.dns, sizeof options.dns);
	if (lease->hostname[0] && !options.hostname[0])
		snprintf(options.hostname, sizeof options.hostname, "%.64s%s%.64s", lease->hostname,
		         strchr(lease->hostname, '.') || !lease->domain[0] ? "" : ".",
		         strchr(lease->hostname, '.') ? "" : lease->domain);
}

/* Keeps the address: a process of its own that asks again when half of the time is over (RFC 2131, 4.4.5). */
static void keep_lease(int socket, const char *card, struct lease lease)
{
	struct lease fresh;

	if (!lease.seconds || lease.seconds == 0xffffffffu || fork() != 0)
		return;
	for (;;) {
		sleep(lease.seconds / 2 ? lease.seconds / 2 : 1);
		if (dhcp_ask(card, &lease, &fresh, DHCP_WAIT_S)) {
			say("DHCP did not renew the address of %s; it is asked again.", card);
			lease.seconds = lease.seconds > 120 ? lease.seconds / 2 : 60;
			continue;
		}
		if (fresh.address.s_addr != lease.address.s_addr || fresh.gateway.s_addr != lease.gateway.s_addr)
			use_lease(socket, card, &fresh);
		if (!fresh.seconds)
			fresh.seconds = lease.seconds;
		lease = fresh;
	}
}

static void ask_for_address(int socket, const char *card)
{
	struct lease lease;

	options.address[0] = 0;
	if (dhcp_ask(card, NULL, &lease, DHCP_WAIT_S)) {
		say("no DHCP server answered on %s within %d s (%s); give a static address with unibeam.ip=ADDRESS/BITS.",
		    card, DHCP_WAIT_S, strerror(errno));
		return;
	}
	use_lease(socket, card, &lease);
	keep_lease(socket, card, lease);
}

static void bring_up_card(int socket)
{
	char card[IFNAMSIZ], *slash = strchr(options.address, '/');
	int bits = 24, waited = 0;

	if (slash) {
		bits = atoi(slash + 1);
		*slash = 0;
	}
	if (bits < 0 || bits > 32) {
		say("unibeam.ip has the prefix length %d; write it like unibeam.ip=10.0.2.15/24.", bits);
		return;
	}
	while (!find_card(card, sizeof card) && waited++ < NIC_WAIT_MS)
		doze(1);
	if (!card[0])
		say("no network card appeared within %d s; give the machine a virtio-net device, or leave unibeam.ip out.",
		    NIC_WAIT_MS / 1000);
	else if (!strcmp(options.address, "dhcp"))
		ask_for_address(socket, card);
	else if (set_address(socket, card, options.address, bits))
		say("%s does not take the address %s/%d (%s); write unibeam.ip like 10.0.2.15/24.",
		    card, options.address, bits, strerror(errno));
	else if (options.gateway[0] && add_default_route(socket, options.gateway))
		say("there is no route to the gateway %s (%s); it must be in the network of unibeam.ip.",
		    options.gateway, strerror(errno));
}

/* The file stays open, and as long as it is, with empty lines at its end: so a copy that is named anew neither looks for
 * it nor makes room in it. Each piece of the kernel that a copy does not call is time. */
static void write_hosts(const char *name)
{
	static int file = -1;
	char text[2 * HOST_NAME_MAX + 128];

	memset(text, '\n', sizeof text);
	text[snprintf(text, sizeof text, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n%s %s %.*s",
	              options.address[0] ? options.address : "127.0.1.1", name, (int)strcspn(name, "."), name)] = '\n';
	if (file < 0)
		file = open("/etc/hosts", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0 || pwrite(file, text, sizeof text, 0) != (ssize_t)sizeof text)
		say("/etc/hosts cannot be written (%s); give the machine more memory.", strerror(errno));
}

void name_machine(void)
{
	const char *name = options.hostname;
	size_t used = strlen(name);

	if (!used)
		snprintf(options.hostname, sizeof options.hostname, "beam.unibeam");
	else if (!strchr(name, '.'))
		snprintf(options.hostname + used, sizeof options.hostname - used, ".unibeam");
	if (sethostname(name, strlen(name)))
		say("the host name %s cannot be set (%s); choose a shorter unibeam.hostname.", name, strerror(errno));
	write_hosts(name);
}

void start_network(void)
{
	int link = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (link < 0) {
		say("this kernel has no IPv4 (%s); use one that has.", strerror(errno));
		return;
	}
	if (set_address(link, "lo", "127.0.0.1", 8))
		say("the loopback interface does not come up (%s); use a kernel with CONFIG_INET.", strerror(errno));
	if (options.address[0])
		bring_up_card(link);
	close(link);
}
