/*
 * IP addresses, prefixes and endpoints of both families as plain values.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ip_addr {
	sa_family_t family; /* AF_INET, AF_INET6, or AF_UNSPEC for "none" */
	uint8_t b[16];      /* network order; bytes 4… are zero for AF_INET */
};

struct ip_prefix {
	struct ip_addr addr;
	uint8_t len; /* 0 to 32 or 128 */
};

struct ip_endpoint {
	struct ip_addr addr; /* AF_UNSPEC: no endpoint */
	uint16_t port;       /* host order */
	uint32_t scope;      /* interface index of a link-local IPv6 address, else 0 */
};

/* Texts with their NUL. */
#define IP_ADDR_LEN     46 /* INET6_ADDRSTRLEN */
#define IP_PREFIX_LEN   (IP_ADDR_LEN + 4)
#define IP_ENDPOINT_LEN (IP_ADDR_LEN + 20) /* "[addr%scope]:port" */

/* Parsers take exactly `len` bytes, as inet_pton reads them (no leading zeros, no shorthand).
 * 0 or -EINVAL; the output changes only on success. */
int ip_addr_parse(const char *s, size_t len, struct ip_addr *ret);
/* "ADDR/LEN", or "ADDR" for a whole address. Host bits are kept: see ip_prefix_mask. */
int ip_prefix_parse(const char *s, size_t len, struct ip_prefix *ret);
/* "1.2.3.4:51820", "[fd00::1]:51820", "[fe80::1%3]:51820" (numeric scope); port 1 to 65535. */
int ip_endpoint_parse(const char *s, size_t len, struct ip_endpoint *ret);

/* Formatters write a whole text and return `out`; "none" for AF_UNSPEC. */
char *ip_addr_str(const struct ip_addr *a, char out[static IP_ADDR_LEN]);
char *ip_prefix_str(const struct ip_prefix *p, char out[static IP_PREFIX_LEN]);
char *ip_endpoint_str(const struct ip_endpoint *e, char out[static IP_ENDPOINT_LEN]);

/* Total orders for sorting: family, then bytes, then length or port. */
int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b);
int ip_prefix_cmp(const struct ip_prefix *a, const struct ip_prefix *b);
int ip_endpoint_cmp(const struct ip_endpoint *a, const struct ip_endpoint *b);

unsigned ip_bits(sa_family_t family); /* 32 or 128; 0 for AF_UNSPEC */
size_t ip_bytes(sa_family_t family);  /* 4 or 16; 0 for AF_UNSPEC */

struct ip_prefix ip_prefix_mask(struct ip_prefix p); /* host bits cleared */
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
bool ip_addr_is_link_local(const struct ip_addr *a); /* fe80::/10 or 169.254.0.0/16 */

/* To and from the socket interface. An AF_INET6 socket address that is IPv4-mapped becomes
 * AF_INET. Returns the length used, or 0 for AF_UNSPEC. */
socklen_t ip_endpoint_to_sockaddr(const struct ip_endpoint *e, struct sockaddr_storage *ret);
int ip_endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct ip_endpoint *ret);

#endif
