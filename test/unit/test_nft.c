/*
 * lib/netlink/nft_build.c, nft_parse.c and the comparison, without a kernel: what is built is
 * read back, changed byte by byte, cut. The kernel's side is test/netns/nft.test.
 */
#include "fault.h"
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "netlink/nft_priv.h"

static const struct ip_prefix guarded[] = {
	{{AF_INET, {10, 9, 0, 1}}, 24},
	{{AF_INET6, {0xfd, 9, [15] = 1}}, 64},
};

static const struct nft_tunnel two[] = {
	{.ifname = "wg0",
	 .masquerade = true,
	 .mss_clamp = true,
	 .forward = true,
	 .fwmark = 7,
	 .addrs = guarded,
	 .n_addrs = 2},
	{.ifname = "wg1", .mss_clamp = true},
};

static int parse_all(const struct buf *messages, struct nft_state *s)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)messages->data;
	int left = (int)messages->len, r = 0;

	for (; r == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		r = nft_parse(nlh, s, NULL);
	return r;
}

static void build(struct buf *out, const struct nft_tunnel *t, size_t n,
		  const struct nft_state *old)
{
	*out = BUF_INIT(NFT_BATCH_MAX);
	ck_assert_int_eq(nft_build_table(out, t, n, old, NULL), 0);
}

/* The state of a table that holds exactly what the tunnels want. */
static struct nft_state state_of(const struct nft_tunnel *t, size_t n)
{
	_cleanup_buf_ struct buf messages;
	struct nft_state s;

	nft_state_init(&s);
	build(&messages, t, n, NULL);
	ck_assert_int_eq(parse_all(&messages, &s), 0);
	return s;
}

START_TEST(same)
{
	_cleanup_nft_state_ struct nft_state s = state_of(two, 2);
	_cleanup_buf_ struct buf why = BUF_INIT(0);

	ck_assert(s.present);
	ck_assert_int_eq(nft_compare(&s, two, 2, &why, NULL), 0);
	ck_assert_str_eq(buf_str(&why), "");
	/* Of wg0 two clamp, two forward, two nat, four mark, two guard rules; two of wg1. */
	ck_assert_uint_eq(s.n_counters, 14);
}
END_TEST

START_TEST(nothing_wanted)
{
	_cleanup_nft_state_ struct nft_state none, s = state_of(two, 2);
	const struct nft_tunnel idle = {.ifname = "wg0"};
	_cleanup_buf_ struct buf why = BUF_INIT(0);

	nft_state_init(&none);
	ck_assert_int_eq(nft_compare(&none, NULL, 0, NULL, NULL), 0);
	ck_assert_int_eq(nft_compare(&none, &idle, 1, NULL, NULL), 0);
	ck_assert_int_eq(nft_compare(&s, &idle, 1, &why, NULL), 1);
	ck_assert_ptr_nonnull(strstr(buf_str(&why), "unexpected table inet harmony\n"));
}
END_TEST

START_TEST(names_the_difference)
{
	_cleanup_nft_state_ struct nft_state s = state_of(two, 2);
	const struct nft_tunnel want[] = {
		{.ifname = "wg0",
		 .masquerade = true,
		 .forward = true,
		 .fwmark = 7,
		 .addrs = guarded,
		 .n_addrs = 2},
		{.ifname = "wg1", .mss_clamp = true, .forward = true},
	};
	_cleanup_buf_ struct buf why = BUF_INIT(0);

	ck_assert_int_eq(nft_compare(&s, want, 2, &why, NULL), 1);
	ck_assert_str_eq(buf_str(&why), "rule \"wg1 forward-out\" in chain forward is missing\n"
					"rule \"wg1 forward-in\" in chain forward is missing\n"
					"unexpected rule \"wg0 mss-out\" in chain mss_clamp\n"
					"unexpected rule \"wg0 mss-in\" in chain mss_clamp\n");
}
END_TEST

START_TEST(order_and_duplicates)
{
	_cleanup_buf_ struct buf messages, why = BUF_INIT(0);
	_cleanup_nft_state_ struct nft_state s;
	const struct nlmsghdr *last = NULL;
	int left;

	build(&messages, two, 2, NULL);
	left = (int)messages.len;
	for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)messages.data;
	     mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		last = nlh;
	nft_state_init(&s);
	ck_assert_int_eq(parse_all(&messages, &s), 0);
	ck_assert_int_eq(nft_parse(last, &s, NULL), 0);
	ck_assert_int_eq(nft_compare(&s, two, 2, &why, NULL), 1);
	ck_assert_ptr_nonnull(strstr(buf_str(&why), "twice"));
}
END_TEST

/* Whichever byte of a rule's expressions, a chain or the mark is changed, it is seen: as a
 * difference, another's table, or a broken message. Only what is not part of a rule's meaning may
 * change unseen: the header, counters, and the flags of nested attributes. */
START_TEST(every_byte_counts)
{
	_cleanup_buf_ struct buf messages;
	size_t unseen = 0, seen = 0;

	build(&messages, two, 1, NULL);
	for (size_t i = 0; i < messages.len; i++) {
		_cleanup_nft_state_ struct nft_state s;

		nft_state_init(&s);
		messages.data[i] ^= 0x15;
		int r = parse_all(&messages, &s);
		if (r < 0 || nft_compare(&s, two, 1, NULL, NULL) != 0)
			seen++;
		else
			unseen++;
		messages.data[i] ^= 0x15;
	}
	/* Unseen are, of about 3 KiB: message headers (12 of 16 bytes each, 17 messages), 16
	 * bytes of each of 10 counters, padding, and the high byte of types. */
	ck_assert_uint_gt(seen, messages.len * 2 / 3);
	ck_assert_uint_lt(unseen, messages.len / 3);
}
END_TEST

START_TEST(cut_anywhere)
{
	_cleanup_buf_ struct buf messages;
	int left;

	build(&messages, two, 1, NULL);
	left = (int)messages.len;
	for (struct nlmsghdr *nlh = (struct nlmsghdr *)messages.data; mnl_nlmsg_ok(nlh, left);
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		uint32_t whole = nlh->nlmsg_len;

		for (uint32_t len = NLMSG_HDRLEN; len < whole; len++) {
			_cleanup_nft_state_ struct nft_state s;
			/* Of its own, so that a read behind the end is seen by a sanitizer. */
			_cleanup_free_ struct nlmsghdr *copy = malloc(len);

			ck_assert_ptr_nonnull(copy);
			memcpy(copy, nlh, len);
			copy->nlmsg_len = len;
			nft_state_init(&s);
			(void)nft_parse(copy, &s, NULL);
		}
	}
}
END_TEST

START_TEST(foreign)
{
	_cleanup_buf_ struct buf messages;
	_cleanup_nft_state_ struct nft_state s;
	struct err e = {0};

	build(&messages, two, 1, NULL);
	char *mark = memmem(messages.data, messages.len, NFT_TABLE_MARK, strlen(NFT_TABLE_MARK));
	ck_assert_ptr_nonnull(mark);
	mark[0] = 'M';
	nft_state_init(&s);
	ck_assert_int_eq(nft_parse((struct nlmsghdr *)messages.data, &s, &e), -EEXIST);
	ck_assert_ptr_nonnull(strstr(e.msg, "is not ours"));

	/* Another table, another family: not looked at. */
	mark[0] = 'm';
	struct nlmsghdr *nlh = (struct nlmsghdr *)messages.data;
	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = 2;
	ck_assert_int_eq(nft_parse(nlh, &s, NULL), 0);
	ck_assert(!s.present);
	ck_assert_str_eq(buf_str(&s.text), "");
}
END_TEST

START_TEST(counters_carry_over)
{
	_cleanup_buf_ struct buf messages;
	_cleanup_nft_state_ struct nft_state old = state_of(two, 2), s;

	for (size_t i = 0; i < old.n_counters; i++) {
		old.counters[i].packets = 1000 + i;
		old.counters[i].bytes = UINT64_MAX - i;
	}
	nft_state_init(&s);
	build(&messages, two, 2, &old);
	ck_assert_int_eq(parse_all(&messages, &s), 0);
	ck_assert_uint_eq(s.n_counters, old.n_counters);
	for (size_t i = 0; i < s.n_counters; i++) {
		ck_assert_uint_eq(s.counters[i].packets, 1000 + i);
		ck_assert(s.counters[i].bytes == UINT64_MAX - i);
	}
	ck_assert_ptr_nonnull(nft_counter_find(&s, "wg1", NFT_MSS_IN));
	ck_assert_ptr_null(nft_counter_find(&s, "wg1", NFT_MASQUERADE));
	ck_assert_int_eq(nft_compare(&s, two, 2, NULL, NULL), 0);
}
END_TEST

START_TEST(bad_tunnels)
{
	static const struct nft_tunnel unsorted[] = {{.ifname = "b", .forward = true},
						     {.ifname = "a", .forward = true}};
	static const struct nft_tunnel twice[] = {{.ifname = "a"}, {.ifname = "a"}};
	static const struct nft_tunnel name = {.ifname = "a/b"},
				       unterminated = {.ifname = {'0', '1', '2', '3', '4', '5', '6',
								  '7', '8', '9', 'a', 'b', 'c', 'd',
								  'e', 'f'}};
	_cleanup_nft_state_ struct nft_state s;

	nft_state_init(&s);
	ck_assert_int_eq(nft_compare(&s, unsorted, 2, NULL, NULL), -EINVAL);
	ck_assert_int_eq(nft_compare(&s, twice, 2, NULL, NULL), -EINVAL);
	ck_assert_int_eq(nft_compare(&s, &name, 1, NULL, NULL), -EINVAL);
	ck_assert_int_eq(nft_compare(&s, &unterminated, 1, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(comments)
{
	char name[IFNAMSIZ];
	enum nft_kind kind;

	for (enum nft_kind k = 0; k < NFT_KINDS; k++) {
		char text[64];

		snprintf(text, sizeof(text), "abcdefghijklmno %s", nft_kind_name(k));
		ck_assert(nft_comment_parse(text, name, &kind));
		ck_assert_str_eq(name, "abcdefghijklmno");
		ck_assert_int_eq(kind, k);
	}
	ck_assert(!nft_comment_parse("", name, &kind));
	ck_assert(!nft_comment_parse(" relay", name, &kind));
	ck_assert(!nft_comment_parse("wg0 relayed", name, &kind));
	ck_assert(!nft_comment_parse("abcdefghijklmnop relay", name, &kind));
}
END_TEST

START_TEST(batch)
{
	_cleanup_nft_state_ struct nft_state old = state_of(two, 2), none;
	_cleanup_buf_ struct buf b = BUF_INIT(NFT_BATCH_MAX);
	uint16_t types[64];
	size_t n = 0, acks = 0;

	nft_state_init(&none);
	ck_assert_int_eq(nft_build_batch(&b, 7, two, 2, &old, NULL), 0);
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)b.data, *end = NULL;
	int left = (int)b.len;
	for (; mnl_nlmsg_ok(nlh, left) && n < 64; nlh = mnl_nlmsg_next(nlh, &left)) {
		types[n++] = nlh->nlmsg_type;
		acks += nlh->nlmsg_flags & NLM_F_ACK ? 1 : 0;
		end = nlh;
	}
	ck_assert_int_eq(left, 0);
	ck_assert_uint_eq(types[0], NFNL_MSG_BATCH_BEGIN);
	/* The generation on which it is based. */
	const struct nlattr *genid = mnl_nlmsg_get_payload_offset((const struct nlmsghdr *)b.data,
								  sizeof(struct nfgenmsg));
	ck_assert_uint_eq(mnl_attr_get_type(genid), NFNL_BATCH_GENID);
	ck_assert_uint_eq(mnl_attr_get_u32(genid), htonl(7));
	ck_assert_uint_eq(types[1], NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE);
	ck_assert_uint_eq(types[2], NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
	ck_assert_uint_eq(types[n - 1], NFNL_MSG_BATCH_END);
	/* One answer, to the last message that does something. */
	ck_assert_uint_eq(acks, 1);
	ck_assert(!(end->nlmsg_flags & NLM_F_ACK));

	/* The first table, and the last one. */
	buf_reset(&b);
	ck_assert_int_eq(nft_build_batch(&b, 7, two, 2, &none, NULL), 0);
	nlh = (const struct nlmsghdr *)b.data;
	left = (int)b.len;
	nlh = mnl_nlmsg_next(nlh, &left);
	ck_assert_uint_eq(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
	buf_reset(&b);
	ck_assert_int_eq(nft_build_batch(&b, 7, NULL, 0, &old, NULL), 0);
	nlh = (const struct nlmsghdr *)b.data;
	left = (int)b.len;
	nlh = mnl_nlmsg_next(nlh, &left);
	ck_assert_uint_eq(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE);
	ck_assert(nlh->nlmsg_flags & NLM_F_ACK);
}
END_TEST

/* --- the chain `closed` --- */

#define V4(a, b, c, d, l)                                                                          \
	{                                                                                          \
		{AF_INET, {a, b, c, d}}, l                                                         \
	}
static const struct ip_prefix ten_one[] = {V4(10, 1, 0, 0, 16), {{AF_INET6, {0xfd, 1}}, 64}};
static const struct ip_prefix ten[] = {V4(10, 0, 0, 0, 8), V4(10, 1, 2, 0, 24)};
static const struct ip_prefix other[] = {V4(192, 168, 0, 0, 16)};
static const struct ip_prefix any[] = {V4(0, 0, 0, 0, 0)};

/* The chain's rules in order, by their comments. */
static const char *closed_rules(const struct nft_tunnel *t, size_t n, struct buf *out)
{
	_cleanup_nft_state_ struct nft_state s = state_of(t, n);
	const char *at = buf_str(&s.text);

	buf_reset(out);
	while ((at = strstr(at, "rule \""))) {
		const char *end = strchr(at + 6, '"');

		if (str_starts(end, "\" in chain closed "))
			buf_addf(out, "%.*s\n", (int)(end - at - 6), at + 6);
		at = end;
	}
	return buf_str(out);
}

START_TEST(closed_alone)
{
	const struct nft_tunnel t = {.ifname = "wg0",
				     .closed = ten_one,
				     .n_closed = 2,
				     .spared = other,
				     .n_spared = 1,
				     .own_mark = 9};
	const struct nft_tunnel v4 = {.ifname = "wg0", .closed = any, .n_closed = 1};
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	ck_assert_str_eq(closed_rules(&t, 1, &b),
			 "wg0 closed-local\nwg0 closed-device\nwg0 closed-reply\nwg0 closed-nd\n"
			 "wg0 closed-spared\nwg0 closed-pass\nwg0 closed-drop\nwg0 closed-drop\n");
	ck_assert_str_eq(closed_rules(&v4, 1, &b),
			 "wg0 closed-local\nwg0 closed-reply\nwg0 closed-pass\nwg0 closed-drop\n");
}
END_TEST

/* 10.1.2.0/24 is wg1's, the rest of 10.1.0.0/16 wg0's, the rest of 10.0.0.0/8 wg1's again: each is
 * passed by its tunnel alone before anything shorter is looked at. wg2 has no part in it. */
START_TEST(closed_within_each_other)
{
	const struct nft_tunnel t[] = {
		{.ifname = "wg0", .closed = ten_one, .n_closed = 1},
		{.ifname = "wg1", .closed = ten, .n_closed = 2},
		{.ifname = "wg2", .closed = other, .n_closed = 1},
		{.ifname = "wg3", .masquerade = true},
	};
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	ck_assert_str_eq(closed_rules(t, 4, &b),
			 "wg0 closed-local\nwg1 closed-local\nwg2 closed-local\n"
			 "wg0 closed-reply\nwg1 closed-reply\nwg2 closed-reply\n"
			 "wg2 closed-pass\n"
			 "wg1 closed-pass\nwg1 closed-drop\n"
			 "wg0 closed-pass\nwg0 closed-drop\n"
			 "wg2 closed-drop\n"
			 "wg1 closed-pass\nwg1 closed-drop\n");
}
END_TEST

START_TEST(closed_difference)
{
	struct nft_tunnel t = {.ifname = "wg0", .closed = ten_one, .n_closed = 1};
	_cleanup_nft_state_ struct nft_state s = state_of(&t, 1);

	ck_assert_int_eq(nft_compare(&s, &t, 1, NULL, NULL), 0);
	t.closed = ten;
	ck_assert_int_eq(nft_compare(&s, &t, 1, NULL, NULL), 1);
	t.closed = ten_one;
	t.own_mark = 1;
	ck_assert_int_eq(nft_compare(&s, &t, 1, NULL, NULL), 1);
}
END_TEST

START_TEST(closed_bound)
{
	struct ip_prefix many[NFT_CLOSED_MAX + 1];
	struct nft_tunnel t = {.ifname = "wg0", .closed = many, .n_closed = NFT_CLOSED_MAX};
	struct err e = {0};

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct ip_prefix)V4(10, (uint8_t)(i / 256), (uint8_t)i, 0, 24);
	_cleanup_nft_state_ struct nft_state s = state_of(&t, 1);
	ck_assert_int_eq(nft_compare(&s, &t, 1, NULL, NULL), 0);
	t.n_closed++;
	ck_assert_int_eq(nft_compare(&s, &t, 1, NULL, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "found 1025 guarded networks, accepted are 1024");
}
END_TEST

static int one_round(void)
{
	_cleanup_nft_state_ struct nft_state s;
	_cleanup_buf_ struct buf b = BUF_INIT(NFT_BATCH_MAX), why = BUF_INIT(0);
	int r;

	nft_state_init(&s);
	r = nft_build_batch(&b, 7, two, 2, &s, NULL);
	if (r == 0)
		r = parse_all(&b, &s);
	if (r == 0)
		r = nft_compare(&s, two, 1, &why, NULL);
	return r;
}

START_TEST(no_memory)
{
	int r;

	FAULT_LOOP(r = one_round())
	{
		ck_assert_int_eq(r, -ENOMEM);
	}
	ck_assert_int_eq(r, 1);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("nft", same, nothing_wanted, names_the_difference, order_and_duplicates,
			  every_byte_counts, cut_anywhere, foreign, counters_carry_over,
			  bad_tunnels, comments, batch, closed_alone, closed_within_each_other,
			  closed_difference, closed_bound, no_memory);
}

UNIT_MAIN(suite)
