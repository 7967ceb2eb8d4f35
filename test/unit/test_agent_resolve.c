/*
 * lib/agent's resolver against a name server of the test's own, on loopback.
 *
 * The server answers by the first label of the name: "both" with one A and one AAAA, "four" with
 * two A, "six" with AAAA alone, "none" with no record, "nx" with NXDOMAIN, "fail" with SERVFAIL,
 * "garbage" with bytes that are no answer, "silent" with nothing.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/resolve.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

static struct event_base *base;
static struct agent_resolver *resolver;
static char dir[64], hosts[96], conf[96];
static unsigned queries, servers;
static uint8_t last_octet = 1;

/* --- the server --- */

static size_t put_record(uint8_t *out, uint16_t type, uint32_t ttl, const uint8_t *data, size_t len)
{
	const uint8_t head[12] = {0xc0,
				  12,
				  (uint8_t)(type >> 8),
				  (uint8_t)type,
				  0,
				  1,
				  (uint8_t)(ttl >> 24),
				  (uint8_t)(ttl >> 16),
				  (uint8_t)(ttl >> 8),
				  (uint8_t)ttl,
				  (uint8_t)(len >> 8),
				  (uint8_t)len};

	memcpy(out, head, sizeof(head));
	memcpy(out + sizeof(head), data, len);
	return sizeof(head) + len;
}

static size_t answer(const char *label, uint16_t type, uint8_t *msg, size_t question_end)
{
	const uint8_t v4[4] = {192, 0, 2, last_octet}, v4b[4] = {192, 0, 2, 2};
	const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	size_t n = question_end;
	uint8_t count = 0;

	msg[2] = 0x81;
	msg[3] = 0x80;
	if (str_eq(label, "nx"))
		msg[3] |= 3;
	if (str_eq(label, "fail"))
		msg[3] |= 2;
	if (type == 1 && (str_eq(label, "both") || str_eq(label, "four"))) {
		n += put_record(msg + n, 1, 300, v4, 4);
		count++;
	}
	if (type == 1 && str_eq(label, "four")) {
		n += put_record(msg + n, 1, 300, v4b, 4);
		count++;
	}
	if (type == 28 && (str_eq(label, "both") || str_eq(label, "six"))) {
		n += put_record(msg + n, 28, 60, v6, 16);
		count++;
	}
	msg[7] = count;
	memset(msg + 8, 0, 4); /* no authority, no additional records (EDNS) */
	return n;
}

static void on_query(evutil_socket_t fd, short what, void *arg)
{
	uint8_t msg[1024];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom((int)fd, msg, 512, 0, (struct sockaddr *)&from, &len);
	char label[64] = "";
	size_t at = 12;

	ck_assert_int_gt(n, 12);
	queries++;
	/* The case of a query's letters is random, and the answer repeats it. */
	for (size_t i = 0; i < msg[12]; i++)
		label[i] = (char)tolower(msg[13 + i]);
	while (msg[at])
		at += msg[at] + 1u;
	uint16_t type = (uint16_t)(msg[at + 1] << 8 | msg[at + 2]);
	if (str_eq(label, "silent"))
		return;
	size_t size = answer(label, type, msg, at + 5);
	if (str_eq(label, "garbage"))
		memset(msg + 2, 0xff, size - 2);
	sendto((int)fd, msg, size, 0, (struct sockaddr *)&from, len);
}

/* Each server has an address of its own: evdns asks port 53 only of what has no port. */
static unsigned start_server(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	event_add(event_new(base, fd, EV_READ | EV_PERSIST, on_query, NULL), NULL);
	servers++;
	return ntohs(sin.sin_port);
}

/* --- the client --- */

static struct {
	unsigned n;
	char host[256], text[512], error[256];
	uint32_t ttl;
} told;

static void on_resolved(void *arg, const char *host, const struct ip_addr *addrs, size_t n,
			uint32_t ttl, const char *error)
{
	told.n++;
	told.ttl = ttl;
	told.text[0] = '\0';
	snprintf(told.host, sizeof(told.host), "%s", host);
	snprintf(told.error, sizeof(told.error), "%s", error ? error : "");
	for (size_t i = 0; i < n; i++) {
		char t[IP_ADDR_LEN];

		strcat(told.text, i ? " " : "");
		strcat(told.text, ip_addr_str(&addrs[i], t));
	}
	ck_assert((n == 0) == (error != NULL));
	event_base_loopbreak(base);
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void set_server(unsigned port)
{
	char text[128];

	snprintf(text, sizeof(text), "nameserver 127.0.0.1:%u\n", port);
	write_text(conf, text);
}

static void setup(void)
{
	struct err e = {0};

	strcpy(dir, "/tmp/hm-resolve-XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(hosts, sizeof(hosts), "%s/hosts", dir);
	snprintf(conf, sizeof(conf), "%s/resolv.conf", dir);
	base = event_base_new();
	set_server(start_server());
	ck_assert_int_eq(agent_resolver_new(base, hosts, conf, on_resolved, NULL, &resolver, &e),
			 0);
	agent_resolver_set_limits(resolver, 1500, 300);
}

static void teardown(void)
{
	char command[128];

	agent_resolver_free(resolver);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static void ask(const char *host)
{
	unsigned before = told.n;

	agent_resolver_lookup(resolver, host);
	ck_assert_uint_eq(told.n, before); /* never from inside the call */
	event_base_dispatch(base);
	ck_assert_uint_eq(told.n, before + 1);
	ck_assert_str_eq(told.host, host);
}

START_TEST(test_both_families)
{
	ask("both.example.");
	ck_assert_str_eq(told.text, "192.0.2.1 2001:db8::1");
	ck_assert_uint_eq(told.ttl, 60); /* the smaller one */
	ask("both.example.");
	ck_assert_uint_eq(queries, 4);
}
END_TEST

START_TEST(test_one_family)
{
	ask("four.example.");
	ck_assert_str_eq(told.text, "192.0.2.1 192.0.2.2");
	ck_assert_uint_eq(told.ttl, 300);
	ask("six.example.");
	ck_assert_str_eq(told.text, "2001:db8::1");
	ck_assert_uint_eq(told.ttl, 60);
}
END_TEST

START_TEST(test_no_address)
{
	ask("none.example.");
	ck_assert_str_eq(told.text, "");
	ck_assert_ptr_nonnull(strstr(told.error, "address"));
	ask("nx.example.");
	ck_assert_str_ne(told.error, "");
	ask("fail.example.");
	ck_assert_str_ne(told.error, "");
}
END_TEST

/* Bounded, also where the server says nothing or nothing of use. */
static void ask_bounded(const char *host)
{
	struct mono start = mono_now();

	ask(host);
	ck_assert_str_eq(told.text, "");
	ck_assert_str_ne(told.error, "");
	ck_assert_int_le(mono_since(mono_now(), start), 2 * NS_PER_SEC);
}

START_TEST(test_silence_is_bounded)
{
	ask_bounded("silent.example.");
}
END_TEST

START_TEST(test_garbage_is_bounded)
{
	ask_bounded("garbage.example.");
}
END_TEST

START_TEST(test_hosts_file)
{
	write_text(hosts, "# comment\n192.0.2.50 Both.Example x # y\n::5 x both.example\n\n"
			  "bad both.example\n192.0.2.51\n192.0.2.52 notboth.example\n");
	ask("both.example");
	ck_assert_str_eq(told.text, "192.0.2.50 ::5");
	ck_assert_uint_eq(told.ttl, 60);
	ck_assert_uint_eq(queries, 0);
	/* Read at each look-up. */
	write_text(hosts, "192.0.2.53 both.example\n");
	ask("both.example");
	ck_assert_str_eq(told.text, "192.0.2.53");
}
END_TEST

START_TEST(test_changed_resolv_conf)
{
	ask("both.example.");
	ck_assert_uint_eq(queries, 2);
	/* From a server that says nothing to one that answers. */
	write_text(conf, "nameserver 127.0.0.1:9\n");
	usleep(20000);
	set_server(start_server());
	last_octet = 77;
	ask("both.example.");
	ck_assert_str_eq(told.text, "192.0.2.77 2001:db8::1");
}
END_TEST

START_TEST(test_second_server)
{
	char text[128];

	snprintf(text, sizeof(text), "nameserver 127.0.0.1:9\nnameserver 127.0.0.1:%u\n",
		 start_server());
	write_text(conf, text);
	ask("both.example.");
	ck_assert_str_eq(told.text, "192.0.2.1 2001:db8::1");
}
END_TEST

START_TEST(test_asked_once)
{
	agent_resolver_lookup(resolver, "both.example.");
	agent_resolver_lookup(resolver, "both.example.");
	event_base_dispatch(base);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(told.n, 1);
	ck_assert_uint_eq(queries, 2);
}
END_TEST

START_TEST(test_freed_while_asking)
{
	agent_resolver_lookup(resolver, "silent.example.");
	agent_resolver_lookup(resolver, "both.example.");
	/* Both are asked, and the answers may be on their way. */
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	unsigned before = told.n;
	agent_resolver_free(mem_steal(&resolver));
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(told.n, before);
}
END_TEST

START_TEST(test_no_servers)
{
	unlink(conf);
	struct agent_resolver *r = NULL;
	struct err e = {0};

	ck_assert_int_eq(agent_resolver_new(base, hosts, conf, on_resolved, NULL, &r, &e), 0);
	agent_resolver_set_limits(r, 500, 100);
	agent_resolver_lookup(r, "both.example.");
	event_base_dispatch(base);
	ck_assert_str_ne(told.error, "");
	agent_resolver_free(r);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const tests[] = {
		test_both_families,      test_one_family,    test_no_address,
		test_silence_is_bounded, test_hosts_file,    test_changed_resolv_conf,
		test_garbage_is_bounded, test_second_server, test_asked_once,
		test_freed_while_asking, test_no_servers,
	};
	Suite *su = suite_create("agent_resolve");

	for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
		TCase *tc = tcase_create(tests[i]->name);

		tcase_set_timeout(tc, 20);
		tcase_add_checked_fixture(tc, setup, teardown);
		tcase_add_test(tc, tests[i]);
		suite_add_tcase(su, tc);
	}
	return su;
}

/* The scripted servers, and what evdns keeps of a request that is given up with its base, last
 * until the process ends: so each case has a process of its own, also where CK_FORK=no asks for
 * one, and what is left at its end is not counted. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int main(void)
{
	setenv("CK_FORK", "yes", 1);
	return unit_main(suite());
}
