/*
 * Endpoints: "ADDRESS:PORT", "[IPV6]:PORT", "NAME:PORT". What is not one of them is looked at a
 * second time, for what was probably meant: an IPv6 address without brackets is the usual slip.
 */
#include "base/str.h"
#include "config/model_priv.h"

#include <errno.h>
#include <stdio.h>

#define ACCEPTED                                                                                   \
	"\"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"NAME:PORT\", such as \"gw.example.com:51820\""

bool config_is_host_name(const char *s, size_t len)
{
	size_t label = 0;
	bool digits = true;

	if (len > 0 && s[len - 1] == '.')
		len--;
	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool digit = s[i] >= '0' && s[i] <= '9';
		bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z');

		if (s[i] == '.') {
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			digits = true;
			continue;
		}
		if (!digit && !letter && s[i] != '_' && (s[i] != '-' || label == 0))
			return false;
		if (++label > 63)
			return false;
		digits &= digit;
	}
	return label > 0 && !digits && s[len - 1] != '-';
}

static const char *last_colon(const char *s, size_t len)
{
	return memrchr(s, ':', len);
}

/* The bracketed form that an IPv6 address without brackets stands for; false where it is none.
 * With "2001:db8::1:5182" it may be an address alone or with a port: the port is taken. */
static bool bracketed(const char *s, size_t len, char *out, size_t size)
{
	const char *colon = last_colon(s, len);
	struct ip_addr a;
	uint64_t port;
	size_t n;

	if (len > IP_ADDR_LEN + 6 || !colon)
		return false;
	n = (size_t)(colon - s);
	if (str_to_u64(colon + 1, len - n - 1, 1, UINT16_MAX, &port) == 0 &&
	    ip_addr_parse(s, n, &a) == 0 && a.family == AF_INET6) {
		snprintf(out, size, "[%.*s]:%u", (int)n, s, (unsigned)port);
		return true;
	}
	if (ip_addr_parse(s, len, &a) == 0 && a.family == AF_INET6) {
		snprintf(out, size, "[%.*s]:PORT", (int)len, s);
		return true;
	}
	return false;
}

/* "NAME:PORT" into *ret, whose host is then owned by the caller. 0, -EINVAL, -ENOMEM. */
static int parse_name(const char *s, size_t len, struct config_endpoint *ret)
{
	const char *colon = last_colon(s, len);
	struct config_endpoint e = {.set = true};
	uint64_t port;

	if (!colon || !config_is_host_name(s, (size_t)(colon - s)) ||
	    str_to_u64(colon + 1, len - (size_t)(colon - s) - 1, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	e.port = (uint16_t)port;
	e.host = mem_dup_str(s, (size_t)(colon - s));
	if (!e.host)
		return -ENOMEM;
	*ret = e;
	return 0;
}

static bool lacks_port(const char *s, size_t len)
{
	struct ip_addr a;

	return config_is_host_name(s, len) || ip_addr_parse(s, len, &a) == 0;
}

/* An address that a packet can be sent to; an IPv4 address in IPv6's clothes becomes IPv4. */
static bool settle(struct ip_endpoint *e)
{
	static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF}, zero[16];

	if (e->addr.family == AF_INET6 && memcmp(e->addr.b, mapped, sizeof(mapped)) == 0) {
		struct ip_addr v4 = {.family = AF_INET};

		memcpy(v4.b, e->addr.b + sizeof(mapped), 4);
		e->addr = v4;
		e->scope = 0;
	}
	if (memcmp(e->addr.b, zero, sizeof(zero)) == 0)
		return false;
	return e->addr.family == AF_INET ? (e->addr.b[0] & 0xF0) != 0xE0 : e->addr.b[0] != 0xFF;
}

CONFIG_READER(config_read_endpoint)
{
	struct config_endpoint *ret = (void *)((char *)object + f->offset), e = {.set = true};
	char found[CONFIG_FOUND_LEN], meant[IP_ADDR_LEN + 16];
	int r = -EINVAL;

	if (v->type == CFG_STRING && ip_endpoint_parse(v->str, v->len, &e.addr) == 0) {
		if (settle(&e.addr)) {
			e.port = e.addr.port;
			r = 0;
		}
	} else if (v->type == CFG_STRING) {
		r = parse_name(v->str, v->len, &e);
	}
	if (r == 0) {
		free(ret->host);
		*ret = e;
	} else if (r == -ENOMEM) {
		run->no_memory = true;
	} else if (v->type == CFG_STRING && bracketed(v->str, v->len, meant, sizeof(meant))) {
		config_error(run, at,
			     "found %s, an IPv6 address without brackets, accepted: \"%s\"",
			     config_found(v, found), meant);
	} else if (v->type == CFG_STRING && lacks_port(v->str, v->len)) {
		config_error(run, at, "found %s without a port, accepted: the same and \":PORT\"",
			     config_found(v, found));
	} else {
		config_error(run, at, "found %s, accepted: " ACCEPTED, config_found(v, found));
	}
}
