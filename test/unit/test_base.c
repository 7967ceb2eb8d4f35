/* lib/base: keys and their texts, secrets, addresses, strings, buffers, time, errors, limits. */
#include "unit.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/key.h"
#include "base/limit.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/time.h"

START_TEST(err_message_and_cut)
{
	struct err e = {0};
	char longer[2 * ERR_MSG_MAX];

	ck_assert_int_eq(err_set(&e, -EINVAL, "found %d", 7), -EINVAL);
	ck_assert_str_eq(e.msg, "found 7");
	err_prefix(&e, "file %s", "x");
	ck_assert_str_eq(e.msg, "file x: found 7");
	err_sys(&e, -ENOENT, "open x");
	ck_assert_str_eq(e.msg, "open x: No such file or directory");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&e, -EINVAL, "%s", longer);
	ck_assert_uint_lt(strlen(e.msg), ERR_MSG_MAX);
	ck_assert(str_ends(e.msg, "a…"));
	ck_assert_int_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
}
END_TEST

/* Known pairs: RFC 7748 section 6.1's private key, all bits zero and all bits one. */
START_TEST(key_texts)
{
	static const char hex[] = "77076d0a7318a57d3c16c17251b26645"
				  "df4c2f92ebc099ac5ae3d2ee6d5b0e2a";
	static const char b64[] = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqXG9PubVsOio=";
	struct key k, back;
	char out[KEY_HEX];

	ck_assert_int_eq(key_from_hex(hex, &k), 0);
	ck_assert_str_eq(key_to_hex(&k, out), hex);
	ck_assert_int_eq(key_from_base64(key_to_base64(&k, out), &back), 0);
	ck_assert(key_eq(&k, &back));
	ck_assert_int_eq(key_from_base64(b64, &k), 0);
	ck_assert_str_eq(key_to_base64(&k, out), b64);
	memset(&k, 0xFF, sizeof(k));
	ck_assert_str_eq(key_to_base64(&k, out), "//////////////////////////////////////////8=");
	memset(&k, 0, sizeof(k));
	ck_assert(key_is_zero(&k));
	ck_assert_str_eq(key_to_base64(&k, out), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
}
END_TEST

/* Every byte value in every position of the alphabet: round trip and refusal of all others. */
START_TEST(key_alphabet)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", out[KEY_BASE64];
	struct key k = {{1}};

	for (int c = 1; c < 256; c++) {
		text[5] = (char)c;
		int r = key_from_base64(text, &k);
		ck_assert_int_eq(r, strchr(digits, c) ? 0 : -EINVAL);
		if (r == 0)
			ck_assert_str_eq(key_to_base64(&k, out), text);
	}
	text[5] = 'A';
	text[42] = 'B'; /* spare bits set: not canonical */
	k = (struct key){{9}};
	ck_assert_int_eq(key_from_base64(text, &k), -EINVAL);
	ck_assert_uint_eq(k.b[0], 9);
	ck_assert_int_eq(key_from_base64("AAAA", &k), -EINVAL);
	ck_assert_int_eq(key_from_base64("", &k), -EINVAL);
	ck_assert_int_eq(key_from_hex("zz", &k), -EINVAL);
}
END_TEST

/* Every character in every place: accepted where it is one of the alphabet, with its value. */
START_TEST(key_alphabets_by_place)
{
	static const char b64[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[KEY_BASE64] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", back[KEY_BASE64];
	char hex[KEY_HEX], hex_back[KEY_HEX];
	struct key k;

	for (unsigned at = 0; at < 42; at++) {
		for (unsigned c = 1; c < 256; c++) {
			text[at] = (char)c;
			ck_assert_int_eq(key_from_base64(text, &k),
					 strchr(b64, (int)c) ? 0 : -EINVAL);
			if (strchr(b64, (int)c))
				ck_assert_str_eq(key_to_base64(&k, back), text);
		}
		text[at] = 'A';
	}
	memset(hex, '0', sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	ck_assert(key_hex_is_zero(hex));
	for (unsigned at = 0; at < sizeof(hex) - 1; at++) {
		for (unsigned c = 1; c < 256; c++) {
			bool digit = strchr("0123456789abcdefABCDEF", (int)c) != NULL;

			hex[at] = (char)c;
			ck_assert_int_eq(key_from_hex(hex, &k), digit ? 0 : -EINVAL);
			ck_assert(key_hex_is_zero(hex) == (c == '0'));
			hex[at] = (char)tolower((int)c);
			if (digit)
				ck_assert_str_eq(key_to_hex(&k, hex_back), hex);
		}
		hex[at] = '0';
	}
	ck_assert(!key_hex_is_zero("0"));
}
END_TEST

START_TEST(secret_slots)
{
	enum { N = 5000 };
	static struct key *k[N];

	for (int i = 0; i < N; i++) {
		k[i] = secret_new();
		ck_assert_ptr_nonnull(k[i]);
		ck_assert(key_is_zero(k[i]));
		memset(k[i], i & 0xFF, sizeof(*k[i]));
	}
	for (int i = 0; i < N; i++)
		ck_assert_uint_eq(k[i]->b[31], i & 0xFF);
	for (int i = 0; i < N; i += 2)
		secret_free(k[i]);
	struct key *again = secret_copy(k[1]);
	ck_assert(key_eq(again, k[1]));
	secret_free(again);
	for (int i = 1; i < N; i += 2)
		secret_free(k[i]);
	secret_free(NULL);
	ck_assert_ptr_null(secret_copy(NULL));
}
END_TEST

static const struct {
	const char *text, *back; /* back: NULL where it is refused */
} prefixes[] = {
	{"10.0.0.1/8", "10.0.0.1/8"},
	{"0.0.0.0/0", "0.0.0.0/0"},
	{"::/0", "::/0"},
	{"1.2.3.4", "1.2.3.4/32"},
	{"fd00::1", "fd00::1/128"},
	{"1.2.3.4/33", NULL},
	{"1.2.3/24", NULL},
	{"1.2.3.4/", NULL},
	{"1.2.3.4/08", NULL},
	{"01.2.3.4/8", NULL},
	{"::1/129", NULL},
	{"", NULL},
	{"/8", NULL},
	{"1.2.3.4/+8", NULL},
	{"1.2.3.4 /8", NULL},
};

START_TEST(ip_prefix_texts)
{
	char out[IP_PREFIX_LEN];
	struct ip_prefix p;

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		const char *t = prefixes[i].text;
		int r = ip_prefix_parse(t, strlen(t), &p);

		ck_assert_msg(r == (prefixes[i].back ? 0 : -EINVAL), "%s: %d", t, r);
		if (r == 0)
			ck_assert_str_eq(ip_prefix_str(&p, out), prefixes[i].back);
	}
}
END_TEST

START_TEST(ip_prefix_masks)
{
	struct ip_prefix p;
	struct ip_addr a;
	char out[IP_PREFIX_LEN];

	ck_assert_int_eq(ip_prefix_parse("10.255.255.255/9", 16, &p), 0);
	p = ip_prefix_mask(p);
	ck_assert_str_eq(ip_prefix_str(&p, out), "10.128.0.0/9");
	ip_addr_parse("10.200.1.1", 10, &a);
	ck_assert(ip_prefix_contains(&p, &a));
	ip_addr_parse("10.100.1.1", 10, &a);
	ck_assert(!ip_prefix_contains(&p, &a));
	ip_addr_parse("fe80::1", 7, &a);
	ck_assert(!ip_prefix_contains(&p, &a));
	ck_assert(ip_addr_is_link_local(&a));
}
END_TEST

static const struct {
	const char *text;
	int ok;
} endpoints[] = {
	{"1.2.3.4:51820", 1},
	{"[fd00::1]:1", 1},
	{"[fe80::1%3]:51820", 1},
	{"1.2.3.4:0", 0},
	{"1.2.3.4:65536", 0},
	{"fd00::1:51820", 0},
	{"[1.2.3.4]:1", 0},
	{"[fd00::1]", 0},
	{"[fd00::1]:", 0},
	{"1.2.3.4", 0},
	{":1", 0},
	{"[fe80::1%]:1", 0},
};

START_TEST(ip_endpoint_texts)
{
	struct ip_endpoint e, back;
	struct sockaddr_storage ss;
	char out[IP_ENDPOINT_LEN];

	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		const char *t = endpoints[i].text;
		int r = ip_endpoint_parse(t, strlen(t), &e);

		ck_assert_msg((r == 0) == endpoints[i].ok, "%s: %d", t, r);
		if (r < 0)
			continue;
		ck_assert_str_eq(ip_endpoint_str(&e, out), t);
		socklen_t len = ip_endpoint_to_sockaddr(&e, &ss);
		ck_assert_int_eq(ip_endpoint_from_sockaddr((struct sockaddr *)&ss, len, &back), 0);
		ck_assert_int_eq(ip_endpoint_cmp(&e, &back), 0);
	}
}
END_TEST

START_TEST(str_numbers_and_names)
{
	static const char *const names[] = {"private_key_path", "address", "mtu", NULL};
	uint64_t n = 5;

	ck_assert_int_eq(str_to_u64("18446744073709551615", 20, 0, UINT64_MAX, &n), 0);
	ck_assert(n == UINT64_MAX);
	ck_assert_int_eq(str_to_u64("18446744073709551616", 20, 0, UINT64_MAX, &n), -ERANGE);
	ck_assert_int_eq(str_to_u64("-1", 2, 0, 9, &n), -EINVAL);
	ck_assert_int_eq(str_to_u64("", 0, 0, 9, &n), -EINVAL);
	static const uint64_t numbers[] = {0, 9, 10, 255, 1000000, UINT64_MAX};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		char text[STR_U64_LEN], want[STR_U64_LEN];

		snprintf(want, sizeof(want), "%llu", (unsigned long long)numbers[i]);
		ck_assert_ptr_eq(str_put_u64(text, numbers[i]), text + strlen(want));
		ck_assert_str_eq(text, want);
	}
	ck_assert_str_eq(str_nearest("adress", names), "address");
	ck_assert_str_eq(str_nearest("private_key", names) ? "near" : "far", "far");
	ck_assert_str_eq(str_nearest("mut", names), "mtu");
	ck_assert_ptr_null(str_nearest("zebra", names));
	ck_assert(str_is_ifname("wg0"));
	ck_assert(!str_is_ifname("a/b"));
	ck_assert(!str_is_ifname("sixteen-bytes-xx"));
	ck_assert(!str_is_ifname(""));
}
END_TEST

START_TEST(str_utf8)
{
	ck_assert(str_is_utf8("aé€😀", strlen("aé€😀")));
	ck_assert(!str_is_utf8("\xC0\x80", 2));
	ck_assert(!str_is_utf8("\xED\xA0\x80", 3));
	ck_assert(!str_is_utf8("\xF4\x90\x80\x80", 4));
	ck_assert(!str_is_utf8("\xE2\x82", 2));
}
END_TEST

START_TEST(buf_limit_is_sticky)
{
	_cleanup_buf_ struct buf b = BUF_INIT(10);

	buf_addf(&b, "%s", "12345");
	buf_adds(&b, "67890");
	ck_assert_int_eq(buf_error(&b), 0);
	buf_addc(&b, 'x');
	ck_assert_int_eq(buf_error(&b), -E2BIG);
	ck_assert_str_eq(buf_str(&b), "1234567890");
	buf_reset(&b);
	buf_adds(&b, "abc");
	buf_consume(&b, 2);
	ck_assert_str_eq(buf_str(&b), "c");
}
END_TEST

START_TEST(time_texts)
{
	char d[TIME_DURATION_LEN], t[TIME_RFC3339_LEN];

	ck_assert_str_eq(time_duration(250 * NS_PER_SEC, d), "4m10s");
	ck_assert_str_eq(time_duration(1250 * NS_PER_MSEC, d), "1.2s");
	ck_assert_str_eq(time_duration(-35 * NS_PER_MSEC, d), "-35ms");
	ck_assert_str_eq(time_duration(90000 * NS_PER_SEC, d), "1d1h");
	ck_assert_str_eq(time_duration(INT64_MIN, d), "-106751d23h");
	ck_assert_str_eq(time_rfc3339((struct wall){1767323045678901000}, t),
			 "2026-01-02T03:04:05.678901Z");
	ck_assert_str_eq(time_rfc3339((struct wall){-1}, t), "1970-01-01T00:00:00.999999Z");
}
END_TEST

START_TEST(limit_of_files)
{
	struct rlimit before, files;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	files = (struct rlimit){32, before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (int i = 0; i < 2; i++) { /* the second time there is nothing to do */
		ck_assert_int_eq(limit_raise_files(NULL), 0);
		ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
		ck_assert_uint_eq(files.rlim_cur, before.rlim_max);
		ck_assert_uint_eq(files.rlim_max, before.rlim_max);
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

static Suite *base_suite(void)
{
	return UNIT_SUITE("base", err_message_and_cut, key_texts, key_alphabet,
			  key_alphabets_by_place, secret_slots, ip_prefix_texts, ip_prefix_masks,
			  ip_endpoint_texts, str_numbers_and_names, str_utf8, buf_limit_is_sticky,
			  time_texts, limit_of_files);
}

UNIT_MAIN(base_suite)
