/*
 * A DHCP client for PID 1 (RFC 2131; the options are RFC 2132's). It needs no packet socket: until the card has an
 * address, answers are asked for as broadcasts, which Linux hands to any socket bound to the card.
 *
 * What arrives is not trusted: every length is checked, an answer counts only with our transaction and our card's
 * address in it, and strings become host names only when they are letters, digits, dots and dashes.
 */
#define _GNU_SOURCE
#include "dhcp.h"

#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SERVER_PORT = 67, CLIENT_PORT = 68 };
enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum { MASK = 1, ROUTER = 3, NAME_SERVER = 6, HOST_NAME = 12, DOMAIN = 15, WANTED_ADDRESS = 50, LEASE = 51, KIND = 53,
       SERVER = 54, PARAMETERS = 55, END = 255 };

static const unsigned char COOKIE[4] = {99, 130, 83, 99};

struct message {
	uint8_t op, hardware, length, hops;
	uint32_t transaction;
	uint16_t elapsed, flags;
	uint32_t client, yours, next, relay;
	uint8_t address[16];
	char name[64], file[128];
	uint8_t cookie[4], options[312];
} __attribute__((packed));

static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static uint8_t *option(uint8_t *at, int kind, const void *value, int length)
{
	*at++ = (uint8_t)kind;
	*at++ = (uint8_t)length;
	memcpy(at, value, (size_t)length);
	return at + length;
}

static int send_message(int link, const struct ifreq *card, uint32_t transaction, int kind, const struct lease *lease)
{
	static const uint8_t wanted[] = {MASK, ROUTER, NAME_SERVER, HOST_NAME, DOMAIN, LEASE};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(SERVER_PORT)};
	struct message message = {.op = 1, .hardware = 1, .length = 6, .transaction = transaction,
	                          .flags = htons(0x8000)};
	uint8_t *at = message.options, type = (uint8_t)kind;

	to.sin_addr.s_addr = INADDR_BROADCAST;
	memcpy(message.address, card->ifr_hwaddr.sa_data, 6);
	memcpy(message.cookie, COOKIE, sizeof COOKIE);
	at = option(at, KIND, &type, 1);
	if (lease) {
		at = option(at, WANTED_ADDRESS, &lease->address, 4);
		if (lease->server.s_addr)
			at = option(at, SERVER, &lease->server, 4);
	}
	at = option(at, PARAMETERS, wanted, sizeof wanted);
	*at++ = END;
	return sendto(link, &message, sizeof message, 0, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : 0;
}

/* A name that may become the machine's, or the empty one. */
static void take_name(char *into, size_t room, const uint8_t *value, int length)
{
	into[0] = 0;
	if (length < 1 || (size_t)length >= room)
		return;
	for (int i = 0; i < length; i++)
		if (!isalnum(value[i]) && value[i] != '-' && value[i] != '.')
			return;
	memcpy(into, value, (size_t)length);
	into[length] = 0;
}

/* Reads an answer; returns its kind, or 0 for anything that is not one to us. */
static int read_message(const struct message *message, ssize_t size, uint32_t transaction, const uint8_t *hardware,
                        struct lease *lease)
{
	const uint8_t *at = message->options, *end = (const uint8_t *)message + size;
	int kind = 0;

	if (size < (ssize_t)(sizeof *message - sizeof message->options) || message->op != 2 ||
	    message->transaction != transaction || memcmp(message->address, hardware, 6) ||
	    memcmp(message->cookie, COOKIE, sizeof COOKIE))
		return 0;
	memset(lease, 0, sizeof *lease);
	lease->address.s_addr = message->yours;
	while (at < end && *at != END) {
		int code = *at++, length;
		if (code == 0)
			continue;
		if (at >= end || at + 1 + *at > end)
			return 0;
		length = *at++;
		if (code == KIND && length == 1)
			kind = *at;
		else if (code == MASK && length == 4)
			memcpy(&lease->mask, at, 4);
		else if (code == ROUTER && length >= 4)
			memcpy(&lease->gateway, at, 4);
		else if (code == NAME_SERVER && length >= 4)
			memcpy(&lease->dns, at, 4);
		else if (code == SERVER && length == 4)
			memcpy(&lease->server, at, 4);
		else if (code == LEASE && length == 4)
			lease->seconds = (unsigned)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
		else if (code == HOST_NAME)
			take_name(lease->hostname, sizeof lease->hostname, at, length);
		else if (code == DOMAIN)
			take_name(lease->domain, sizeof lease->domain, at, length);
		at += length;
	}
	return kind;
}

/* Waits for an answer of one of two kinds; returns which, or 0 when the time is over. */
static int await(int link, uint32_t transaction, const uint8_t *hardware, int one, int other, struct lease *lease,
                 long long until)
{
	struct pollfd ready = {.fd = link, .events = POLLIN};
	long long left;

	while ((left = until - now_ms()) > 0) {
		struct message message;
		ssize_t size;
		int kind;

		if (poll(&ready, 1, (int)left) <= 0)
			continue;
		memset(&message, 0, sizeof message);
		size = recv(link, &message, sizeof message, 0);
		kind = size > 0 ? read_message(&message, size, transaction, hardware, lease) : 0;
		if (kind && (kind == one || kind == other))
			return kind;
	}
	return 0;
}

static int open_link(const char *card, struct ifreq *about)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(CLIENT_PORT)};
	int link = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), yes = 1;

	memset(about, 0, sizeof *about);
	snprintf(about->ifr_name, sizeof about->ifr_name, "%s", card);
	if (link < 0)
		return -1;
	if (setsockopt(link, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes) ||
	    setsockopt(link, SOL_SOCKET, SO_BINDTODEVICE, card, (socklen_t)strlen(card) + 1) ||
	    ioctl(link, SIOCGIFFLAGS, about))
		goto failed;
	about->ifr_flags |= IFF_UP | IFF_RUNNING;
	if (ioctl(link, SIOCSIFFLAGS, about) || ioctl(link, SIOCGIFHWADDR, about) ||
	    bind(link, (struct sockaddr *)&here, sizeof here))
		goto failed;
	return link;
failed:
	close(link);
	return -1;
}

int dhcp_ask(const char *card, const struct lease *had, struct lease *got, int seconds)
{
	struct ifreq about;
	int link = open_link(card, &about), kind = 0;
	long long until = now_ms() + seconds * 1000LL, patience = 250;
	uint32_t transaction = 0;
	struct lease offer;

	if (link < 0)
		return -1;
	if (syscall(SYS_getrandom, &transaction, sizeof transaction, 1 /* GRND_NONBLOCK */) != sizeof transaction)
		transaction = (uint32_t)now_ms();
	const uint8_t *hardware = (const uint8_t *)about.ifr_hwaddr.sa_data;
	while (kind != ACK && now_ms() < until) {
		long long turn = now_ms() + patience < until ? now_ms() + patience : until;
		const struct lease *wanted = had;

		/* A card that is still coming up drops what is sent: asked again, at growing intervals. */
		patience = patience < 4000 ? patience * 2 : 4000;
		if (!had) {
			send_message(link, &about, transaction, DISCOVER, NULL);
			if (await(link, transaction, hardware, OFFER, OFFER, &offer, turn) != OFFER)
				continue;
			wanted = &offer;
			turn = now_ms() + patience;
		}
		send_message(link, &about, transaction, REQUEST, wanted);
		kind = await(link, transaction, hardware, ACK, NAK, got, turn);
		if (kind == NAK)
			had = NULL;
	}
	close(link);
	if (kind == ACK)
		return 0;
	errno = ETIMEDOUT;
	return -1;
}
