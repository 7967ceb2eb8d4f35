/*
 * lib/agent's endpoints, on a clock of the test's own: which address a peer gets, when it is set
 * over the device's, when a name is looked up.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/endpoints.h"
#include "base/str.h"
#include "fault.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
#define KEY_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="

static struct agent_endpoints *s;
static struct mono now;

static void setup(void)
{
	now = (struct mono){1000 * NS_PER_SEC};
	s = agent_endpoints_new();
	ck_assert_ptr_nonnull(s);
}

static void later(int64_t secs)
{
	now = mono_add(now, secs * NS_PER_SEC);
}

static struct key key_of(const char *text)
{
	struct key k;

	ck_assert_int_eq(key_from_base64(text, &k), 0);
	return k;
}

/* One network with peer A at `a` and, where it is given, peer B at `b`. */
static struct config *config_of(const char *a, const char *b)
{
	char text[1024];
	struct config_diags diags = {0};
	struct config *c = NULL;
	int n = snprintf(text, sizeof(text),
			 "[network.n]\n"
			 "address = '10.0.0.1/24'\n"
			 "[[network.n.peers]]\n"
			 "public_key = '" KEY_A "'\n"
			 "allowed_ips = ['10.1.0.0/24']\n"
			 "endpoint = '%s'\n",
			 a);

	if (b)
		snprintf(text + n, sizeof(text) - (size_t)n,
			 "[[network.n.peers]]\n"
			 "public_key = '" KEY_B "'\n"
			 "allowed_ips = ['10.2.0.0/24']\n"
			 "endpoint = '%s'\n",
			 b);
	struct config_doc doc = {"t.toml", CONFIG_TOML, text, strlen(text), false};
	ck_assert_int_eq(config_read(&doc, 1, NULL, &c, &diags), 0);
	config_diags_clear(&diags);
	return c;
}

static void take(const char *a, const char *b)
{
	_cleanup_config_ struct config *c = config_of(a, b);

	ck_assert_int_eq(agent_endpoints_update(s, c, now), 0);
}

/* "ADDRESS:PORT", with " !" behind it where it is asserted; "-" for none. */
static const char *get(const char *peer)
{
	static char out[IP_ENDPOINT_LEN + 4];
	struct key k = key_of(peer);
	struct ip_endpoint e;
	bool assert_it;

	if (!agent_endpoints_get(s, "n", &k, &e, &assert_it))
		return "-";
	ip_endpoint_str(&e, out);
	return assert_it ? strcat(out, " !") : out;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	ck_assert_int_eq(ip_addr_parse(text, strlen(text), &a), 0);
	return a;
}

static void seen(const char *peer, const char *a, uint16_t port)
{
	struct key k = key_of(peer);
	struct ip_endpoint e = {.addr = addr(a), .port = port};

	agent_endpoints_seen(s, "n", &k, &e, false, now);
}

static void seen_up(const char *peer, const char *a, uint16_t port)
{
	struct key k = key_of(peer);
	struct ip_endpoint e = {.addr = addr(a), .port = port};

	agent_endpoints_seen(s, "n", &k, &e, true, now);
}

static void seen_gone(const char *peer)
{
	struct key k = key_of(peer);
	struct ip_endpoint none = {0};

	agent_endpoints_seen(s, "n", &k, &none, false, now);
}

static bool down(const char *peer)
{
	struct key k = key_of(peer);

	return agent_endpoints_down(s, "n", &k, now);
}

static bool resolved(const char *host, uint32_t ttl, const char *a, const char *b)
{
	struct ip_addr list[2];
	size_t n = 0;

	if (a)
		list[n++] = addr(a);
	if (b)
		list[n++] = addr(b);
	return agent_endpoints_resolved(s, host, list, n, ttl, n ? NULL : "it is so", now);
}

/* --- literal addresses --- */

START_TEST(test_first_configuration_asserts_nothing)
{
	take("192.0.2.1:51820", "[2001:db8::1]:7");
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820");
	ck_assert_str_eq(get(KEY_B), "[2001:db8::1]:7");
	ck_assert_ptr_null(agent_endpoints_due(s, now));
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_unknown_peer)
{
	take("192.0.2.1:51820", NULL);
	ck_assert_str_eq(get(KEY_B), "-");
	ck_assert(!down(KEY_B));
	seen(KEY_B, "192.0.2.9", 1);
	ck_assert_str_eq(get(KEY_B), "-");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_changed_address_is_asserted_until_seen)
{
	take("192.0.2.1:51820", NULL);
	seen(KEY_A, "192.0.2.1", 51820);
	take("192.0.2.2:51820", NULL);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:51820 !");
	seen(KEY_A, "192.0.2.1", 51820);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:51820 !");
	seen(KEY_A, "192.0.2.2", 51820);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:51820");
	/* A port alone is a change too. */
	take("192.0.2.2:51821", NULL);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:51821 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_same_configuration_changes_nothing)
{
	take("192.0.2.1:51820", NULL);
	seen(KEY_A, "192.0.2.77", 9);
	take("192.0.2.1:51820", "192.0.2.5:1");
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820");
	agent_endpoints_free(s);
}
END_TEST

/* --- roaming --- */

START_TEST(test_roamed_is_left_alone_while_it_works)
{
	take("192.0.2.1:51820", NULL);
	seen(KEY_A, "192.0.2.1", 51820);
	later(60);
	seen(KEY_A, "198.51.100.7", 40000);
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_roamed_and_down_goes_home)
{
	take("192.0.2.1:51820", NULL);
	seen(KEY_A, "198.51.100.7", 40000);
	ck_assert(down(KEY_A));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820 !");
	seen(KEY_A, "192.0.2.1", 51820);
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820");
	/* There, and the only address: nothing else to try. */
	later(15);
	ck_assert(!down(KEY_A));
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_ladder_has_its_pace)
{
	take("192.0.2.1:51820", NULL);
	seen(KEY_A, "198.51.100.7", 40000);
	ck_assert(down(KEY_A));
	seen(KEY_A, "192.0.2.1", 51820);
	seen(KEY_A, "198.51.100.7", 40001);
	later(14);
	ck_assert(!down(KEY_A));
	later(1);
	ck_assert(down(KEY_A));
	agent_endpoints_free(s);
}
END_TEST

/* --- names --- */

START_TEST(test_name_is_looked_up_at_once)
{
	take("vpn.example:51820", NULL);
	struct key k = key_of(KEY_A);

	ck_assert_str_eq(get(KEY_A), "-");
	ck_assert_ptr_nonnull(strstr(agent_endpoints_error(s, "n", &k), "vpn.example"));
	ck_assert_str_eq(agent_endpoints_due(s, now), "vpn.example");
	ck_assert_ptr_null(agent_endpoints_due(s, now));
	ck_assert(resolved("vpn.example", 60, "192.0.2.1", "2001:db8::1"));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:51820");
	ck_assert_ptr_null(agent_endpoints_error(s, "n", &k));
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_one_lookup_for_two_peers)
{
	take("vpn.example:1", "vpn.example:2");
	ck_assert_str_eq(agent_endpoints_due(s, now), "vpn.example");
	ck_assert_ptr_null(agent_endpoints_due(s, now));
	ck_assert(resolved("vpn.example", 60, "192.0.2.1", NULL));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	ck_assert_str_eq(get(KEY_B), "192.0.2.1:2");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_ttl_bounds)
{
	static const struct {
		uint32_t ttl;
		int64_t due;
	} rows[] = {{0, 15}, {14, 15}, {60, 60}, {3600, 3600}, {7200, 3600}, {UINT32_MAX, 3600}};

	take("vpn.example:1", NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ck_assert_ptr_nonnull(agent_endpoints_due(s, now));
		resolved("vpn.example", rows[i].ttl, "192.0.2.1", NULL);
		later(rows[i].due - 1);
		ck_assert_msg(!agent_endpoints_due(s, now), "row %zu", i);
		later(1);
	}
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_rotation_of_answers_changes_nothing)
{
	take("vpn.example:1", NULL);
	resolved("vpn.example", 60, "192.0.2.1", "192.0.2.2");
	seen(KEY_A, "192.0.2.1", 1);
	later(60);
	ck_assert(!resolved("vpn.example", 60, "192.0.2.2", "192.0.2.1"));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_new_addresses_are_followed)
{
	take("vpn.example:1", NULL);
	resolved("vpn.example", 60, "192.0.2.1", NULL);
	seen(KEY_A, "192.0.2.1", 1);
	later(60);
	ck_assert(resolved("vpn.example", 60, "192.0.2.9", NULL));
	ck_assert_str_eq(get(KEY_A), "192.0.2.9:1 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_new_addresses_and_roamed)
{
	take("vpn.example:1", NULL);
	resolved("vpn.example", 60, "192.0.2.1", NULL);
	seen(KEY_A, "198.51.100.7", 40000);
	later(60);
	resolved("vpn.example", 60, "192.0.2.9", NULL);
	/* It works where it is. */
	ck_assert_str_eq(get(KEY_A), "192.0.2.9:1");
	ck_assert(down(KEY_A));
	ck_assert_str_eq(get(KEY_A), "192.0.2.9:1 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_failed_lookup_keeps_what_is_known)
{
	struct key k = key_of(KEY_A);

	take("vpn.example:1", NULL);
	agent_endpoints_due(s, now);
	ck_assert(!resolved("vpn.example", 0, NULL, NULL));
	ck_assert_ptr_nonnull(strstr(agent_endpoints_error(s, "n", &k), "it is so"));
	later(15);
	ck_assert_str_eq(agent_endpoints_due(s, now), "vpn.example");
	resolved("vpn.example", 60, "192.0.2.1", NULL);
	later(60);
	ck_assert(!resolved("vpn.example", 0, NULL, NULL));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	ck_assert_ptr_null(agent_endpoints_error(s, "n", &k));
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_ladder_tries_all_addresses_and_looks_up)
{
	take("vpn.example:1", NULL);
	agent_endpoints_due(s, now);
	resolved("vpn.example", 3600, "192.0.2.1", "2001:db8::1");
	ck_assert(down(KEY_A)); /* the first one, which the device has not yet */
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1 !");
	seen(KEY_A, "192.0.2.1", 1);
	ck_assert_str_eq(agent_endpoints_due(s, now), "vpn.example");
	for (int round = 0; round < 2; round++) {
		later(15);
		ck_assert(down(KEY_A));
		ck_assert_str_eq(get(KEY_A), "[2001:db8::1]:1 !");
		ck_assert_str_eq(agent_endpoints_due(s, now), "vpn.example");
		seen(KEY_A, "2001:db8::1", 1);
		later(15);
		ck_assert(down(KEY_A));
		ck_assert_str_eq(get(KEY_A), "192.0.2.1:1 !");
		seen(KEY_A, "192.0.2.1", 1);
	}
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_each_address_has_its_time)
{
	take("vpn.example:1", NULL);
	resolved("vpn.example", 3600, "192.0.2.1", "2001:db8::1");
	for (int round = 0; round < 2; round++) {
		later(60);
		seen(KEY_A, "192.0.2.1", 1);
		ck_assert(!down(KEY_A)); /* it has only just begun to be tried */
		later(14);
		seen(KEY_A, "192.0.2.1", 1);
		ck_assert(!down(KEY_A));
		/* Taken out of the device by somebody, and put in again. */
		seen_gone(KEY_A);
	}
	seen(KEY_A, "192.0.2.1", 1);
	later(15);
	ck_assert(down(KEY_A));
	ck_assert_str_eq(get(KEY_A), "[2001:db8::1]:1 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_what_works_ends_the_ladder)
{
	take("vpn.example:1", NULL);
	resolved("vpn.example", 3600, "192.0.2.1", "2001:db8::1");
	seen(KEY_A, "192.0.2.1", 1);
	later(15);
	ck_assert(down(KEY_A));
	ck_assert_str_eq(get(KEY_A), "[2001:db8::1]:1 !");
	uint64_t version = agent_endpoints_version(s);
	seen_up(KEY_A, "192.0.2.1", 1);
	/* And that is what a peer that is made anew gets. */
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	ck_assert_uint_ne(agent_endpoints_version(s), version);

	/* The same where it was about to be called home, and answers from abroad. */
	seen(KEY_A, "198.51.100.7", 40000);
	later(15);
	ck_assert(down(KEY_A));
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1 !");
	seen_up(KEY_A, "198.51.100.7", 40000);
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_what_works_does_not_end_an_edit)
{
	take("192.0.2.1:1", NULL);
	seen_up(KEY_A, "192.0.2.1", 1);
	take("192.0.2.2:1", NULL);
	seen_up(KEY_A, "192.0.2.1", 1);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:1 !");
	/* Nor does the ladder make it its own. */
	later(60);
	down(KEY_A);
	seen_up(KEY_A, "192.0.2.1", 1);
	ck_assert_str_eq(get(KEY_A), "192.0.2.2:1 !");

	/* The same for a name that has other addresses now. */
	take("vpn.example:1", NULL);
	resolved("vpn.example", 60, "192.0.2.1", NULL);
	seen_up(KEY_A, "192.0.2.1", 1);
	later(60);
	resolved("vpn.example", 60, "192.0.2.9", NULL);
	seen_up(KEY_A, "192.0.2.1", 1);
	ck_assert_str_eq(get(KEY_A), "192.0.2.9:1 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_more_addresses_than_are_kept)
{
	struct ip_addr list[AGENT_ENDPOINT_ADDRS + 5];

	take("vpn.example:1", NULL);
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		list[i] = addr("192.0.2.0");
		list[i].b[3] = (uint8_t)i;
	}
	agent_endpoints_resolved(s, "vpn.example", list, ARRAY_LEN(list), 60, NULL, now);
	ck_assert_str_eq(get(KEY_A), "192.0.2.0:1");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_restart_takes_the_device_as_it_is)
{
	take("vpn.example:1", NULL);
	seen(KEY_A, "198.51.100.7", 40000);
	resolved("vpn.example", 60, "192.0.2.1", NULL);
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_name_replaces_address)
{
	take("192.0.2.1:1", NULL);
	seen(KEY_A, "192.0.2.1", 1);
	take("vpn.example:1", NULL);
	ck_assert_str_eq(get(KEY_A), "-");
	resolved("vpn.example", 60, "192.0.2.9", NULL);
	ck_assert_str_eq(get(KEY_A), "192.0.2.9:1 !");
	take("192.0.2.1:1", NULL);
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1 !");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_kept_over_configurations)
{
	take("vpn.example:1", NULL);
	agent_endpoints_due(s, now);
	resolved("vpn.example", 3600, "192.0.2.1", NULL);
	seen(KEY_A, "192.0.2.1", 1);
	take("vpn.example:1", "192.0.2.5:1");
	ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
	ck_assert_ptr_null(agent_endpoints_due(s, now));
	take("192.0.2.5:1", NULL);
	ck_assert_str_eq(get(KEY_B), "-");
	agent_endpoints_free(s);
}
END_TEST

START_TEST(test_out_of_memory_changes_nothing)
{
	_cleanup_config_ struct config *c = config_of("other.example:1", "192.0.2.5:1");
	_cleanup_config_ struct config *before = config_of("192.0.2.1:1", NULL);
	struct agent_endpoints *t = NULL;
	int r = -1;

	FAULT_LOOP(({
		t = agent_endpoints_new();
		r = t ? agent_endpoints_update(t, c, now) : -ENOMEM;
		agent_endpoints_free(t);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);

	ck_assert_int_eq(agent_endpoints_update(s, before, now), 0);
	for (size_t n = 0;; n++) {
		fault_after(n);
		r = agent_endpoints_update(s, c, now);
		if (!fault_off())
			break;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_str_eq(get(KEY_A), "192.0.2.1:1");
		ck_assert_str_eq(get(KEY_B), "-");
	}
	ck_assert_str_eq(get(KEY_B), "192.0.2.5:1 !");
	agent_endpoints_free(s);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE_IN(
		"agent_endpoints", setup, NULL, test_first_configuration_asserts_nothing,
		test_unknown_peer, test_changed_address_is_asserted_until_seen,
		test_same_configuration_changes_nothing, test_roamed_is_left_alone_while_it_works,
		test_roamed_and_down_goes_home, test_ladder_has_its_pace,
		test_name_is_looked_up_at_once, test_one_lookup_for_two_peers, test_ttl_bounds,
		test_rotation_of_answers_changes_nothing, test_new_addresses_are_followed,
		test_new_addresses_and_roamed, test_failed_lookup_keeps_what_is_known,
		test_ladder_tries_all_addresses_and_looks_up, test_each_address_has_its_time,
		test_what_works_ends_the_ladder, test_what_works_does_not_end_an_edit,
		test_more_addresses_than_are_kept, test_restart_takes_the_device_as_it_is,
		test_name_replaces_address, test_kept_over_configurations,
		test_out_of_memory_changes_nothing);
}

UNIT_MAIN(suite)
