/*
 * lib/netlink/nft.h by hand:
 *
 *     nft_tool apply TUNNEL…      TUNNEL: NAME:FLAGS, of m (masquerade), c (mss_clamp), f
 * (forward), k (fwmark 0xca6c, with the addresses guarded) nft_tool compare TUNNEL…    prints what
 * differs; status 1 if anything does nft_tool replace N TUNNEL…  applies N times nft_tool text |
 * counters | delete
 *
 * Status 2 and the message on standard error for an error, with the name of its errno first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/nft.h"

#define TUNNELS 512

static const struct ip_prefix guarded[] = {
	{{AF_INET, {10, 77, 0, 1}}, 24},
	{{AF_INET6, {0xfd, 0x77, [15] = 1}}, 64},
};
static struct nft_tunnel tunnels[TUNNELS];
static size_t n_tunnels;

static void parse_tunnels(char **args)
{
	for (; *args && n_tunnels < TUNNELS; args++) {
		struct nft_tunnel *t = &tunnels[n_tunnels++];
		char *flags = strchr(*args, ':');

		if (flags)
			*flags++ = '\0';
		snprintf(t->ifname, sizeof(t->ifname), "%s", *args);
		t->masquerade = flags && strchr(flags, 'm');
		t->mss_clamp = flags && strchr(flags, 'c');
		t->forward = flags && strchr(flags, 'f');
		t->fwmark = flags && strchr(flags, 'k') ? 0xca6c : 0;
		t->addrs = guarded;
		t->n_addrs = 2;
	}
}

static int compare(struct nl *nl, struct err *e)
{
	_cleanup_nft_state_ struct nft_state s;
	_cleanup_buf_ struct buf why = BUF_INIT(0);

	nft_state_init(&s);
	int r = nft_get(nl, &s, e);
	if (r == 0)
		r = nft_compare(&s, tunnels, n_tunnels, &why, e);
	fputs(buf_str(&why), stdout);
	return r;
}

static int show(struct nl *nl, bool counters, struct err *e)
{
	_cleanup_nft_state_ struct nft_state s;

	nft_state_init(&s);
	int r = nft_get(nl, &s, e);
	if (r < 0)
		return r;
	if (!counters)
		fputs(buf_str(&s.text), stdout);
	for (size_t i = 0; counters && i < s.n_counters; i++)
		printf("%s %s %llu %llu\n", s.counters[i].ifname, nft_kind_name(s.counters[i].kind),
		       (unsigned long long)s.counters[i].packets,
		       (unsigned long long)s.counters[i].bytes);
	return 0;
}

static int run(struct nl *nl, char **argv, struct err *e)
{
	const char *what = argv[1];
	int r = 0;

	if (strcmp(what, "replace") == 0) {
		parse_tunnels(argv + 3);
		for (int i = atoi(argv[2]); i > 0 && r == 0; i--)
			r = nft_apply(nl, tunnels, n_tunnels, e);
		return r;
	}
	parse_tunnels(argv + 2);
	if (strcmp(what, "apply") == 0)
		return nft_apply(nl, tunnels, n_tunnels, e);
	if (strcmp(what, "compare") == 0)
		return compare(nl, e);
	if (strcmp(what, "delete") == 0)
		return nft_table_delete(nl, e);
	return show(nl, strcmp(what, "counters") == 0, e);
}

int main(int argc, char **argv)
{
	_cleanup_nl_ struct nl *nl = NULL;
	struct err e = {0};

	if (argc < 2)
		return 2;
	int r = nft_open(&nl, &e);
	if (r == 0)
		r = run(nl, argv, &e);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", strerrorname_np(-r), e.msg);
	return r < 0 ? 2 : r;
}
