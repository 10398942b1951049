/*
 * PID 1 of a unibeam guest: it prepares the machine, starts one program, and ends with it.
 *
 * Input, all optional but argv:
 *   /etc/unibeam/argv      the program's command line, one argument per line
 *   /etc/unibeam/env       its environment, one KEY=VALUE per line
 *   /etc/unibeam/modules   kernel modules to load, one path per line, in load order
 *   /proc/cmdline          unibeam.nonce=HEX16        printed in every mark, passed on as UNIBEAM_NONCE
 *                          unibeam.ip=10.0.2.15/24    static address of the first Ethernet card, or
 *                          unibeam.ip=dhcp            whatever the network says (dhcp.c)
 *                          unibeam.gw=10.0.2.2        default route
 *                          unibeam.dns=10.0.2.3       name server
 *                          unibeam.hostname=a.b       a dot keeps OTP from asking a port program for it
 *                          unibeam.env.KEY=VALUE      one more variable for the program
 *                          unibeam.off=poweroff|reboot  how the machine ends (the default is poweroff)
 *                          unibeam.input              the program's standard input is the console
 *                          unibeam.snapshot           take orders on the console (see "snapshots" below)
 *                          unibeam.channel=PORT       ask on the console for a secret (see "the channel" below)
 *                          A word in double quotes may contain blanks.
 *   the machine's serial number, where the command line is fixed and has no nonce: "unibeam:HEX16"
 *
 * Output: marks on the console, "@unibeam NONCE init NS tsc=COUNT" first and "@unibeam NONCE exit NS code=N" last
 * (NS is CLOCK_MONOTONIC, COUNT the time stamp counter; N is the exit status, 128 + signal, or 125 when the program was never started),
 * and one line starting "unibeam-init:" for everything that went wrong, which says what to do about it.
 *
 * PID 1 must not end: the kernel panics when it does. So every way out of here goes through leave(), and
 * whatever is not needed to start the program is reported and survived.
 */
#define _GNU_SOURCE
#include "dhcp.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ETC "/etc/unibeam/"
#define STATE "/var/lib/unibeam" /* the program's home (IMAGE_STATE in model.py) */
#define MAX_WORDS 512
#define MAX_FILES 65536        /* a limit in the millions once kept OTP busy for an hour at start */
#define NIC_WAIT_MS 5000       /* a card on a PCI bus is there at once; this is for slow emulation */
#define DHCP_WAIT_S 20         /* a cloud answers within a second; a bridge that learns first, within fifteen */
#define STOP_GRACE_S 30        /* between asking the program to stop and killing it */
#define LEFTOVER_WAIT_MS 2000  /* for processes that were killed at the end and have yet to vanish */
#define SECRET_WAIT_MS 30000   /* for the answer of whoever started the machine; emulation may be slow */
#define NOT_STARTED 125        /* exit status of a machine whose program was never started */
#define NIC_TYPE_ETHERNET 1    /* ARPHRD_ETHER */
#define RNDADDENTROPY 0x40085203 /* include/uapi/linux/random.h, which musl does not have */
#define RNDRESEEDCRNG 0x5207

static struct {
	char nonce[64], address[64], gateway[64], dns[64], hostname[HOST_NAME_MAX + 1], channel[8];
	int reboot, snapshot, input;
	char *extra[MAX_WORDS];
	int extras;
} options;

static pid_t program = -1;
static int agent = -1;          /* our end of the line to the program's agent; only for a snapshot */

/* ---- saying things ----------------------------------------------------------------------------------- */

/* One write per line, so that a kernel message cannot land in the middle of it. */
static void put(const char *text, size_t length)
{
	while (length > 0) {
		ssize_t done = write(2, text, length);
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (done > 0) {
			text += done;
			length -= (size_t)done;
		}
	}
}

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
	char line[1024];
	va_list list;
	int used = snprintf(line, sizeof line, "\r\nunibeam-init: ");

	va_start(list, format);
	vsnprintf(line + used, sizeof line - (size_t)used - 2, format, list);
	va_end(list);
	strcat(line, "\r\n");
	put(line, strlen(line));
}

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
}

static void mark(const char *name, unsigned long long at, const char *more)
{
	char line[256];

	if (!options.nonce[0])
		return;
	snprintf(line, sizeof line, "\r\n@unibeam %s %s %llu%s\r\n", options.nonce, name, at, more);
	put(line, strlen(line));
}

static void doze(long milliseconds)
{
	struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000};

	nanosleep(&wait, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void leave(int code) __attribute__((noreturn));

static void leave(int code)
{
	char more[32];

	kill(-1, SIGKILL);
	for (int waited = 0; waited < LEFTOVER_WAIT_MS && waitpid(-1, NULL, WNOHANG) >= 0; waited++)
		doze(1);
	snprintf(more, sizeof more, " code=%d", code);
	mark("exit", now_ns(), more);
	sync();
	tcdrain(2);
	reboot(options.reboot ? RB_AUTOBOOT : RB_POWER_OFF);
	/* A machine type without ACPI cannot be switched off, only reset. */
	reboot(options.reboot ? RB_POWER_OFF : RB_AUTOBOOT);
	say("this machine can be neither switched off nor reset (%s); stop it from outside.", strerror(errno));
	for (;;)
		pause();
}

/* ---- files of lines and words ------------------------------------------------------------------------ */

/* The whole of a small file, NUL-terminated, or NULL. It is never freed: PID 1 reads each file once. */
static char *slurp(const char *path)
{
	size_t room = 4096, used = 0;
	char *text = malloc(room);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	if (file < 0 || !text)
		return NULL;
	while ((got = read(file, text + used, room - used - 1)) > 0) {
		used += (size_t)got;
		if (used + 1 == room && !(text = realloc(text, room *= 2)))
			break;
	}
	close(file);
	if (got < 0 || !text)
		return NULL;
	text[used] = 0;
	return text;
}

/* Splits text into its lines; an empty one is an empty argument. Returns how many, at most room - 1; ends in NULL. */
static int lines(char *text, char **list, int room)
{
	int count = 0;

	while (*text && count < room - 1) {
		size_t length = strcspn(text, "\n");
		list[count++] = text;
		text += length;
		if (*text)
			*text++ = 0;
	}
	list[count] = NULL;
	return count;
}

/* The next word of a kernel command line, quotes removed, as the kernel itself splits it; NULL at the end. */
static char *next_word(char **rest)
{
	char *from = *rest, *to, *word;
	int quoted = 0;

	while (*from && isspace((unsigned char)*from))
		from++;
	if (!*from)
		return NULL;
	for (word = to = from; *from && (quoted || !isspace((unsigned char)*from)); from++) {
		if (*from == '"')
			quoted = !quoted;
		else
			*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = 0;
	return word;
}

static int take(const char *word, const char *key, char *into, size_t room)
{
	size_t length = strlen(key);

	if (strncmp(word, key, length))
		return 0;
	snprintf(into, room, "%s", word + length);
	return 1;
}

static void read_options(void)
{
	char *rest = slurp("/proc/cmdline"), *word, off[16];
	static const char variable[] = "unibeam.env.";

	if (!rest) {
		say("the kernel command line cannot be read (%s); is /proc in this kernel?", strerror(errno));
		return;
	}
	while ((word = next_word(&rest))) {
		if (!strncmp(word, variable, sizeof variable - 1) && options.extras < MAX_WORDS)
			options.extra[options.extras++] = word + sizeof variable - 1;
		else if (take(word, "unibeam.off=", off, sizeof off))
			options.reboot = !strcmp(off, "reboot");
		else if (!strcmp(word, "unibeam.input"))
			options.input = 1;
		else if (!strcmp(word, "unibeam.snapshot"))
			options.snapshot = 1;
		else if (!take(word, "unibeam.nonce=", options.nonce, sizeof options.nonce)
		         && !take(word, "unibeam.ip=", options.address, sizeof options.address)
		         && !take(word, "unibeam.gw=", options.gateway, sizeof options.gateway)
		         && !take(word, "unibeam.dns=", options.dns, sizeof options.dns)
		         && !take(word, "unibeam.channel=", options.channel, sizeof options.channel))
			take(word, "unibeam.hostname=", options.hostname, sizeof options.hostname);
	}
}

/* ---- file systems and devices ------------------------------------------------------------------------ */

static void mount_at(const char *kind, const char *where, unsigned long flags, const char *data)
{
	mkdir(where, 0755);
	if (mount(kind, where, kind, flags, data) && errno != EBUSY)
		say("%s cannot be mounted on %s (%s); use a kernel that has %s built in.", kind, where, strerror(errno), kind);
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

/*
 * The root may be read-only. What is written all the same lies in /run, to which the image's /etc/hosts and
 * /etc/resolv.conf are links, or in the program's home, over which a file system in memory is mounted then.
 */
static void mount_all(void)
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
static void fill_standard_files(void)
{
	int file;

	do
		file = open("/dev/null", O_RDWR);
	while (file >= 0 && file <= 2);
	if (file > 2)
		close(file);
}

/*
 * A driver that says ENODEV is for a platform that this machine is not on. Those after it that need its symbols then
 * say ENOENT, for the same reason.
 */
static void load_modules(void)
{
	int foreign = 0;
	char *text = slurp(ETC "modules"), *path[MAX_WORDS];
	struct utsname kernel;
	int count = text ? lines(text, path, MAX_WORDS) : 0;

	uname(&kernel);
	for (int i = 0; i < count; i++) {
		int file = open(path[i], O_RDONLY | O_CLOEXEC);
		int failed = file < 0 || syscall(SYS_finit_module, file, "", 0) ? errno : 0;

		if (file < 0)
			say("the kernel module %s is not in the image (%s); build the image again.", path[i], strerror(failed));
		else if (failed == ENODEV)
			foreign = 1;
		else if (failed && failed != EEXIST && !(foreign && failed == ENOENT))
			say("the kernel module %s does not load (%s); the running kernel is %s, use the one this image was built with.",
			    path[i], strerror(failed), kernel.release);
		if (file >= 0)
			close(file);
	}
}

/*
 * Seeds the kernel's random numbers where nothing else did. A processor with RDRAND or a seed from the
 * virtual machine monitor has done so long before this; without both, the first getrandom() would gather timing
 * jitter for up to a second, so a virtio-rng device is asked first. With neither, nothing is to be done
 * here: the kernel gathers that jitter by itself.
 */
static void seed_random(void)
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

/* ---- network ----------------------------------------------------------------------------------------- */

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

__attribute__((format(printf, 2, 3)))
static void write_file(const char *path, const char *format, ...)
{
	char text[512];
	va_list list;
	int file, length;

	va_start(list, format);
	length = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file < 0 || write(file, text, (size_t)length) != length)
		say("%s cannot be written (%s); give the machine more memory.", path, strerror(errno));
	if (file >= 0)
		close(file);
}

static void name_machine(void)
{
	const char *name = options.hostname;
	size_t used = strlen(name);

	if (!used)
		snprintf(options.hostname, sizeof options.hostname, "beam.unibeam");
	else if (!strchr(name, '.'))
		snprintf(options.hostname + used, sizeof options.hostname - used, ".unibeam");
	if (sethostname(name, strlen(name)))
		say("the host name %s cannot be set (%s); choose a shorter unibeam.hostname.", name, strerror(errno));
	write_file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n%s %s %.*s\n",
	           options.address[0] ? options.address : "127.0.1.1", name, (int)strcspn(name, "."), name);
}

static void start_network(void)
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

/* ---- the channel --------------------------------------------------------------------------------------- */

/* Whole lines, and no echo: the console is kept in a file, and what is told here is nobody's business. */
static int quiet_console(void)
{
	struct termios console;

	if (tcgetattr(0, &console))
		return -1;
	console.c_lflag = ICANON;
	return tcsetattr(0, TCSANOW, &console);
}

/*
 * A machine with a channel (unibeam_channel.erl) needs a secret, and no secret may stand on the kernel's command line,
 * which every program on the host and in the guest can read. So the mark `asks` asks for it on the console, and the
 * host answers with the line "secret HEX". A machine that is to be copied does not ask: its copies are told with
 * everything else that is theirs alone.
 */
static void set_channel(void)
{
	struct pollfd console = {0, POLLIN, 0};
	char line[256], secret[65] = "", words[128];
	ssize_t length = 0;

	if (!options.snapshot) {
		if (quiet_console()) {
			say("the console takes no answer (%s), so there is no channel; use a serial console.", strerror(errno));
			return;
		}
		tcflush(0, TCIFLUSH);
		mark("asks", now_ns(), "");
		if (poll(&console, 1, SECRET_WAIT_MS) == 1)
			length = read(0, line, sizeof line - 1);
		line[length > 0 ? length : 0] = 0;
		if (sscanf(line, "secret %64[0-9a-f]", secret) != 1) {
			say("nobody told the secret of the channel, so there is none; boot the machine with unibeam.");
			return;
		}
	}
	snprintf(words, sizeof words, "0.0.0.0 %s%s%s", options.channel, secret[0] ? " " : "", secret);
	setenv("UNIBEAM_CHANNEL", words, 1);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

/*
 * A machine that is to be resumed many times takes orders, one line each, on its console:
 *
 *   prepare NONCE   passed on to the agent, which runs the application's hooks, holds every other Erlang process
 *                   and marks `still`
 *   freeze          stops every process but this one and marks `frozen`; now the machine may be copied
 *   resume NONCE SECONDS NANOSECONDS HOSTNAME SEED [SECRET]
 *                   the first thing a copy hears. Before any other process runs again the kernel's random numbers
 *                   are reseeded (SEED is 64 hex digits of the host's), the clock set and the host renamed.
 *                   The agent gets "resume NONCE HOSTNAME SEED COOKIE [SECRET]", with new random numbers, opens its
 *                   channel where there is a secret for one, and marks `resume`.
 *
 * The console is no channel for others: only who started the machine can write to it. Nothing here waits or
 * polls; input on the console is a signal.
 */
static void open_orders(void)
{
	int ends[2];
	char number[12];

	if (quiet_console()) {
		say("the console takes no orders (%s), so no snapshot can be taken; use a serial console.", strerror(errno));
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) {
		say("there is no way to tell the program of a snapshot (%s); use a kernel with CONFIG_UNIX.", strerror(errno));
		return;
	}
	agent = ends[0];
	fcntl(agent, F_SETFD, FD_CLOEXEC);
	snprintf(number, sizeof number, "%d", ends[1]);
	setenv("UNIBEAM_SNAPSHOT", number, 1);
	fcntl(0, F_SETOWN, getpid());
	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_ASYNC);
}

__attribute__((format(printf, 1, 2)))
static void tell_agent(const char *format, ...)
{
	char line[512];
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (write(agent, line, (size_t)length) != length)
		say("the program does not listen (%s); build the release again.", strerror(errno));
}

static void to_hex(char *text, const unsigned char *bytes, int count)
{
	for (int i = 0; i < count; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* RNDRESEEDCRNG makes the kernel, and every processor's own generator, use the new entropy from the next byte on. */
static int reseed(const char *hex)
{
	struct { int bits, size; unsigned char bytes[32]; } seed = {256, 32, {0}};
	int pool = open("/dev/urandom", O_WRONLY | O_CLOEXEC), failed;

	for (int i = 0; i < seed.size; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &seed.bytes[i]) != 1)
			return -1;
	failed = pool < 0 || ioctl(pool, RNDADDENTROPY, &seed) || ioctl(pool, RNDRESEEDCRNG);
	close(pool);
	return failed;
}

static void take_over(char *order)
{
	struct timespec now;
	unsigned char fresh[48];
	char nonce[64], name[HOST_NAME_MAX + 1], hex[65], seed[65], cookie[33], secret[65] = "";
	long long seconds;

	if (sscanf(order, "resume %63s %lld %ld %64s %64s %64s", nonce, &seconds, &now.tv_nsec, name, hex, secret) < 5
	    || strlen(hex) != 64)
		return;
	snprintf(options.nonce, sizeof options.nonce, "%s", nonce);
	/* A copy with another one's random numbers would give its secrets away: better none than that. */
	if (reseed(hex) || syscall(SYS_getrandom, fresh, sizeof fresh, 0) != (long)sizeof fresh) {
		say("the random numbers of this copy cannot be renewed (%s); use a kernel from 4.14 on.", strerror(errno));
		leave(NOT_STARTED);
	}
	now.tv_sec = (time_t)seconds;
	if (clock_settime(CLOCK_REALTIME, &now))
		say("the clock cannot be set (%s); it shows when the snapshot was taken.", strerror(errno));
	snprintf(options.hostname, sizeof options.hostname, "%s", name);
	name_machine();
	to_hex(seed, fresh, 32);
	to_hex(cookie, fresh + 32, 16);
	tell_agent("resume %s %s %s %s%s%s\n", options.nonce, options.hostname, seed, cookie, secret[0] ? " " : "", secret);
	kill(-1, SIGCONT);
}

static void take_orders(void)
{
	struct pollfd console = {0, POLLIN, 0};
	char order[512];
	ssize_t length;

	while (poll(&console, 1, 0) == 1 && (length = read(0, order, sizeof order - 1)) > 0) {
		order[length] = 0;
		if (!strncmp(order, "prepare ", 8)) {
			tell_agent("%s", order);
		} else if (!strcmp(order, "freeze\n")) {
			kill(-1, SIGSTOP);
			mark("frozen", now_ns(), "");
		} else {
			take_over(order);
		}
	}
}

/* ---- the program ------------------------------------------------------------------------------------- */

static void set_limits(void)
{
	struct rlimit files, none = {0, 0};

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_max = files.rlim_max < MAX_FILES ? files.rlim_max : MAX_FILES;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &none);
	umask(022);
}

static void set_environment(void)
{
	char *text = slurp(ETC "env"), *pair[MAX_WORDS];
	int count = text ? lines(text, pair, MAX_WORDS) : 0;

	clearenv();
	putenv("LANG=C.UTF-8");
	putenv("PATH=/usr/bin:/bin");
	for (int i = 0; i < count; i++)
		putenv(pair[i]);
	for (int i = 0; i < options.extras; i++) {
		if (strchr(options.extra[i], '='))
			putenv(options.extra[i]);
		else
			say("unibeam.env.%s has no value; write unibeam.env.KEY=VALUE.", options.extra[i]);
	}
	if (options.nonce[0])
		setenv("UNIBEAM_NONCE", options.nonce, 1);
}

static void become_program(char **argv, const sigset_t *signals) __attribute__((noreturn));

static void become_program(char **argv, const sigset_t *signals)
{
	const char *home = getenv("HOME");
	int null = options.input ? -1 : open("/dev/null", O_RDONLY);
	struct termios console;

	/* Whole lines; whoever types them has seen them already. */
	if (options.input && !tcgetattr(0, &console)) {
		console.c_lflag = ICANON;
		tcsetattr(0, TCSANOW, &console);
	}
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	setsid();
	if (home && chdir(home))
		say("the program's home %s is not in the image (%s); build the image again.", home, strerror(errno));
	/* The console is for reading what the program prints; what is typed there is nobody's, unless it was asked for. */
	if (null >= 0)
		dup2(null, 0);
	if (null > 2)
		close(null);
	execv(argv[0], argv);
	say("%s cannot be started (%s); the image lacks it or the library loader it names, build the image again.",
	    argv[0], strerror(errno));
	_exit(127);
}

/* Waits for the program and everything else it leaves behind; passes on what asks the machine to stop. */
static int supervise(const sigset_t *signals)
{
	struct timespec grace = {STOP_GRACE_S, 0};
	int stopping = 0;

	for (;;) {
		int status, sig = stopping ? sigtimedwait(signals, NULL, &grace) : sigwaitinfo(signals, NULL);
		pid_t who;

		if (sig < 0 && errno == EAGAIN) {
			say("the program did not stop within %d s and is killed; let it handle SIGTERM.", STOP_GRACE_S);
			kill(program, SIGKILL);
		}
		while ((who = waitpid(-1, &status, WNOHANG)) > 0)
			if (who == program)
				return status;
		if (sig == SIGIO)
			take_orders();
		/* SIGINT is what the kernel sends PID 1 for Ctrl-Alt-Del, SIGPWR what a power supply does. */
		if (sig == SIGTERM || sig == SIGINT || sig == SIGPWR) {
			stopping = 1;
			kill(program, SIGTERM);
		}
	}
}

static int run_program(void)
{
	char *text = slurp(ETC "argv"), *argv[MAX_WORDS];
	sigset_t signals;
	int status;

	if (!text || lines(text, argv, MAX_WORDS) == 0) {
		say("there is no program in " ETC "argv; build the image again.");
		return NOT_STARTED;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGPWR);
	if (options.snapshot)
		sigaddset(&signals, SIGIO);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	reboot(RB_DISABLE_CAD);
	program = fork();
	if (program == 0)
		become_program(argv, &signals);
	if (program < 0) {
		say("no process can be made (%s); give the machine more memory.", strerror(errno));
		return NOT_STARTED;
	}
	status = supervise(&signals);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGKILL)
		say("the program was killed, most likely because memory ran out; give the machine more memory.");
	else
		say("the program died of signal %d (%s); its last lines above may tell why.",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	return 128 + WTERMSIG(status);
}

int main(void)
{
	unsigned long long began = now_ns(), counter = __builtin_ia32_rdtsc();
	char more[32];

	if (getpid() != 1) {
		say("this program prepares a machine and only runs as its first process; boot the image instead.");
		return NOT_STARTED;
	}
	fill_standard_files();
	mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	read_options();
	if (!options.nonce[0])
		read_serial();
	snprintf(more, sizeof more, " tsc=%llu", counter);
	mark("init", began, more);
	mount_all();
	set_limits();
	load_modules();
	start_network();
	name_machine();
	if (options.dns[0])
		write_file("/etc/resolv.conf", "nameserver %s\n", options.dns);
	seed_random();
	set_environment();
	if (options.channel[0])
		set_channel();
	if (options.snapshot)
		open_orders();
	leave(run_program());
}
