/* An address by DHCP (RFC 2131, options RFC 2132): see dhcp.c. */
#ifndef UNIBEAM_DHCP_H
#define UNIBEAM_DHCP_H

#include <netinet/in.h>

struct lease {
	struct in_addr address, mask, gateway, dns, server;
	unsigned seconds;    /* how long the address is ours; 0 when the server did not say */
	char hostname[65], domain[65];
};

/* Asks for an address on this card for so many seconds; returns 0 with the lease, or -1 with errno.
 * `had` is the lease to renew, or NULL for a first one. */
int dhcp_ask(const char *card, const struct lease *had, struct lease *got, int seconds);

#endif
