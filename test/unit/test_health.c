/*
 * lib/health: scripted timelines on a fake clock, one peer each, a tick a second; then the set of
 * peers, readiness, words.
 *
 * A timeline is a list of steps "T action, action; T action …" with T in seconds. The device
 * changes first, then the tick of that second judges it. Actions:
 *
 *     +dev -dev          the peer is in the dump, or not any more (starts in it, empty)
 *     hs hs+N            handshake with the wall clock's time (N seconds off); rx 92, tx 148
 *     tx+N rx+N          bytes once
 *     send talk mute     each second from the next on: tx 96; tx and rx 96; nothing
 *     ka0 ka25           keepalive off, or 32 bytes each 25 s from then on
 *     ep1 ep2            the endpoint becomes 192.0.2.1 or .2
 *     clock+N clock-N    the wall clock steps
 *     anew               the device is made anew: counters and handshake 0
 *     ages               the device tells ages: its times jitter, and step with the clock
 *     =STATE             what the judge must say after this second's tick
 *
 * What happened is recorded as "never>up@5 up>stale@185"; a measured handshake as "~2000ms".
 */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "health/health.h"

#define WALL0 (INT64_C(1700000000) * NS_PER_SEC)

struct world {
	struct health *h;
	struct wgdev dev;
	struct health_now now;
	int64_t second, wall_step;
	uint64_t each_tx, each_rx;
	uint16_t keepalive;
	int64_t keepalive_from;
	struct health_policy policy;
	bool in_dump, ages;
	bool reply, reply_next; /* a probe is answered, a second later */
	struct buf record;
};

static struct key key_of(unsigned n)
{
	struct key k = {{0}};

	k.b[0] = (uint8_t)(n >> 8);
	k.b[1] = (uint8_t)n;
	return k;
}

static void note(const struct health_event *ev, void *arg)
{
	struct world *w = arg;

	if (ev->from != ev->to)
		buf_addf(&w->record, "%s%s>%s@%" PRId64, w->record.len ? " " : "",
			 health_state_name(ev->from), health_state_name(ev->to), w->second);
	if (ev->latency_ns >= 0)
		buf_addf(&w->record, "~%" PRId64 "ms", ev->latency_ns / NS_PER_MSEC);
}

static struct wgdev_peer *the_peer(struct world *w)
{
	return &w->dev.peers[0];
}

/* A probe: its packet with data, or an initiation where there is no session any more. */
static bool ask(const struct health_peer *p, void *arg)
{
	struct world *w = arg;

	the_peer(w)->tx_bytes += 160;
	w->reply_next = w->reply;
	return true;
}

static void action(struct world *w, const char *a)
{
	struct wgdev_peer *p = the_peer(w);
	long long n;
	int ep;

	if (str_eq(a, "+dev") || str_eq(a, "-dev")) {
		w->in_dump = a[0] == '+';
	} else if (str_eq(a, "hs") || sscanf(a, "hs%lld", &n) == 1) {
		p->last_handshake = w->now.wall;
		p->last_handshake.ns += str_eq(a, "hs") ? 0 : n * NS_PER_SEC;
		p->rx_bytes += 92, p->tx_bytes += 148;
	} else if (sscanf(a, "tx+%lld", &n) == 1) {
		p->tx_bytes += (uint64_t)n;
	} else if (sscanf(a, "rx+%lld", &n) == 1) {
		p->rx_bytes += (uint64_t)n;
	} else if (str_eq(a, "send") || str_eq(a, "talk") || str_eq(a, "mute")) {
		w->each_tx = str_eq(a, "mute") ? 0 : 96;
		w->each_rx = str_eq(a, "talk") ? 96 : 0;
	} else if (sscanf(a, "ka%lld", &n) == 1) {
		w->keepalive = p->keepalive = (uint16_t)n;
		w->keepalive_from = w->second;
	} else if (sscanf(a, "ep%d", &ep) == 1) {
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%d:51820", ep);
		ck_assert_int_eq(ip_endpoint_parse(text, strlen(text), &p->endpoint), 0);
	} else if (sscanf(a, "clock%lld", &n) == 1) {
		w->wall_step += n * NS_PER_SEC;
		p->last_handshake.ns += w->ages ? n * NS_PER_SEC : 0;
		w->now.wall.ns += n * NS_PER_SEC;
	} else if (sscanf(a, "probe%lld", &n) == 1) {
		w->policy.probe_secs = (uint32_t)n;
		ck_assert_int_eq(ip_addr_parse("10.0.0.1", 8, &w->policy.probe), 0);
		ck_assert_int_eq(health_set_peers(w->h, &w->policy, 1, w->now, NULL), 0);
		w->reply = true;
	} else if (str_eq(a, "reply") || str_eq(a, "silence")) {
		w->reply = str_eq(a, "reply");
	} else if (str_eq(a, "ages")) {
		w->ages = true;
	} else if (str_eq(a, "anew")) {
		p->rx_bytes = p->tx_bytes = 0;
		p->last_handshake = (struct wall){0};
	} else {
		ck_abort_msg("no action \"%s\"", a);
	}
}

static void set_clocks(struct world *w)
{
	w->now.mono.ns = (1000 + w->second) * NS_PER_SEC;
	w->now.wall.ns = WALL0 + w->second * NS_PER_SEC + w->wall_step;
}

/* One second: what happens by itself, what the step says, the tick. */
static void second(struct world *w, const char *actions)
{
	char copy[256] = "", *save = NULL;
	const char *expect = NULL;

	set_clocks(w);
	the_peer(w)->tx_bytes += w->each_tx;
	the_peer(w)->rx_bytes += w->each_rx + (w->reply_next ? 32 : 0);
	w->reply_next = false;
	if (w->ages)
		the_peer(w)->last_handshake.ns += (w->second % 2 ? 7 : -7) * NS_PER_MSEC;
	if (w->keepalive && w->second > w->keepalive_from &&
	    (w->second - w->keepalive_from) % w->keepalive == 0)
		the_peer(w)->tx_bytes += 32;
	if (actions)
		ck_assert_int_eq(str_copy(copy, sizeof(copy), actions), 0);
	for (char *a = strtok_r(copy, ", ", &save); a; a = strtok_r(NULL, ", ", &save)) {
		if (a[0] == '=')
			expect = actions + (a + 1 - copy);
		else
			action(w, a);
	}
	health_tick(w->h, w->in_dump ? &w->dev : NULL, w->now, note, w);
	health_probe(w->h, w->now.mono, ask, w);
	if (expect) {
		const char *is = health_state_name(health_peer(w->h, 0)->state);

		ck_assert_msg(strncmp(expect, is, strcspn(expect, ", ")) == 0,
			      "at %" PRId64 ": %s, want %s", w->second, is, expect);
	}
}

static void begin(struct world *w, const struct health_policy *policy)
{
	*w = (struct world){.in_dump = true, .record = BUF_INIT(0), .policy = *policy};
	wgdev_init(&w->dev);
	ck_assert_ptr_nonnull(wgdev_add_peer(&w->dev, &policy->public_key));
	the_peer(w)->keepalive = policy->keepalive;
	w->h = health_new();
	set_clocks(w);
	ck_assert_int_eq(health_set_peers(w->h, policy, 1, w->now, NULL), 0);
}

static void run(struct world *w, const char *script)
{
	char *copy = strdup(script), *save = NULL;

	for (char *step = strtok_r(copy, ";", &save); step; step = strtok_r(NULL, ";", &save)) {
		char *rest;
		int64_t at = strtoll(step, &rest, 10);

		for (; w->second < at; w->second++)
			second(w, NULL);
		second(w, rest);
		w->second++;
	}
	free(copy);
}

static void end(struct world *w)
{
	buf_free(&w->record);
	wgdev_clear(&w->dev);
	health_free(w->h);
}

static const struct timeline {
	const char *name;
	uint32_t stale_after;
	uint16_t keepalive;
	const char *script, *record;
} timelines[] = {
	{"first handshake, then nothing for longer than the threshold", 0, 0,
	 "0 tx+148 =never; 5 hs =up; 184 =up; 185 =stale; 300 hs =up",
	 "never>up@5~5000ms up>stale@185 stale>up@300~1000ms"},
	{"handshake inside one tick", 0, 0, "3 hs =up", "never>up@3~1000ms"},
	{"never answered", 0, 0, "0 tx+148; 5 tx+148; 600 tx+148 =never", ""},
	{"adopted: old handshake, its age counts", 0, 0, "0 hs-100 =up; 79 =up; 80 =stale",
	 "never>up@0 up>stale@80"},
	{"adopted: handshake in the future counts as now", 0, 0, "0 hs+5000 =up; 180 =stale",
	 "never>up@0 up>stale@180"},
	{"adopted and dead for long", 0, 25, "0 hs-5000 =stale", "never>stale@0"},

	/* Stalled. */
	{"gateway dies under traffic", 0, 25,
	 "0 hs, talk; 60 send; 85 =up; 86 =stalled; 180 =stale",
	 "never>up@0 up>stalled@86 stalled>stale@180"},
	{"gateway dies under traffic and comes back", 0, 25,
	 "0 hs, talk; 60 send; 90 =stalled; 95 hs, talk =up; 200 =up",
	 "never>up@0 up>stalled@86 stalled>up@95~35000ms"},
	{"an answer without a handshake ends a stall", 0, 0, "0 hs; 10 send; 50 rx+32, mute =up",
	 "never>up@0 up>stalled@36 stalled>up@50"},
	{"one-way data, answered by passive keepalives", 0, 0,
	 "0 hs, send; 10 rx+32; 20 rx+32; 30 rx+32; 53 rx+32 =up; 78 =up; 79 =stalled",
	 "never>up@0 up>stalled@79"},
	{"keepalives of one side ask for nothing", 0, 25, "0 hs; 119 =up; 179 =up", "never>up@0"},
	{"idle, dead: the unanswered renewal tells, before the threshold", 0, 25,
	 "0 hs; 125 tx+148; 130 tx+148; 135 tx+148; 140 tx+148; 145 tx+148; 149 =up; 150 =stalled",
	 "never>up@0 up>stalled@150"},
	{"a lost renewal is repeated", 0, 25, "0 hs; 125 tx+148; 130 hs =up; 300 =up",
	 "never>up@0~6000ms"},
	{"a threshold under the keys' life shortens the patience", 10, 25,
	 "0 hs, talk; 60 =up; 61 send; 71 =up; 72 =stalled; 80 talk; 81 =up",
	 "never>up@0 up>stalled@72 stalled>up@81"},
	{"and calls no idle peer stale", 10, 25, "0 hs, ka25; 100 =up; 122 hs; 170 =up",
	 "never>up@0"},

	/* Probes. */
	{"a probed peer that answers is up", 0, 0, "0 hs, probe10; 105 hs; 270 =up", "never>up@0"},
	{"a probed peer that dies while idle", 0, 0,
	 "0 hs, probe10; 61 silence; 90 =up; 91 =stalled", "never>up@0 up>stalled@91"},
	{"soon, where that is wanted", 5, 25,
	 "0 hs, probe3; 60 silence; 68 =stalled; 80 reply; 84 =up",
	 "never>up@0 up>stalled@65 stalled>up@82"},
	{"who talks is not probed", 0, 0, "0 hs, talk, probe10, silence; 170 =up", "never>up@0"},

	/* Stale and its allowance. */
	{"the peer was the initiator: our keepalive renews late", 0, 25,
	 "0 hs; 180 =up; 204 =up; 205 tx+148; 206 hs =up", "never>up@0~2000ms"},
	{"the late renewal is not answered", 0, 25,
	 "0 hs; 200 tx+148; 205 tx+148 =up; 209 =up; 210 =stale", "never>up@0 up>stale@210"},
	{"the late renewal is not even tried", 0, 25, "0 hs; 214 =up; 215 =stale",
	 "never>up@0 up>stale@215"},
	{"a threshold below the keys' life: their life counts", 60, 0, "0 hs; 179 =up; 180 =stale",
	 "never>up@0 up>stale@180"},
	{"a longer threshold", 600, 0, "0 hs; 599 =up; 600 =stale", "never>up@0 up>stale@600"},

	/* Endpoint changes. */
	{"grace after an endpoint change", 0, 0, "0 ep1, hs; 175 ep2; 189 =up; 190 =stale",
	 "never>up@0 up>stale@190"},
	{"an endpoint change asks anew", 0, 0,
	 "0 ep1, hs; 10 send; 30 ep2; 36 =up; 54 =up; 55 =stalled", "never>up@0 up>stalled@55"},
	{"grace only once an answer", 0, 0,
	 "0 ep1, hs; 10 send; 30 ep2; 40 ep1; 50 ep2; 54 ep1 =up; 55 =stalled; 60 ep2 =stalled",
	 "never>up@0 up>stalled@55"},
	{"a peer that is down stays down by a change, and its latency counts from there", 0, 0,
	 "0 ep1, hs; 180 =stale; 200 ep2 =stale; 203 hs =up",
	 "never>up@0 up>stale@180 stale>up@203~3000ms"},
	{"roaming needs no grace", 0, 0, "0 ep1, hs; 100 ep2, rx+96; 179 =up; 180 =stale",
	 "never>up@0 up>stale@180"},

	/* Clocks and devices. */
	{"clock stepped back an hour", 0, 0, "0 hs; 10 clock-3600; 100 =up; 179 =up; 180 =stale",
	 "never>up@0 up>stale@180"},
	{"clock stepped forward an hour", 0, 0, "0 hs; 10 clock+3600 =up; 179 =up; 180 =stale",
	 "never>up@0 up>stale@180"},
	{"clock stepped back, then a handshake", 0, 0,
	 "0 hs; 10 clock-3600; 20 hs =up; 199 =up; 200 =stale", "never>up@0 up>stale@200"},
	{"handshake and step in one tick", 0, 0, "0 hs; 20 hs, clock+3600 =up; 198 =up; 199 =stale",
	 "never>up@0 up>stale@199"},
	{"times that jitter are no handshakes", 0, 0, "0 hs, ages; 179 =up; 181 =stale; 190 hs =up",
	 "never>up@0 up>stale@180 stale>up@190~1000ms"},
	{"times that jitter, and a stall", 0, 0, "0 hs, ages; 10 send; 35 =up; 36 =stalled",
	 "never>up@0 up>stalled@36"},
	{"times that jitter, and a clock that steps", 0, 0,
	 "0 hs, ages; 10 clock-3600; 50 clock+90; 179 =up; 181 =stale", "never>up@0 up>stale@180"},
	{"device made anew", 0, 0, "0 hs, talk; 9 mute; 10 anew =never; 12 tx+148; 13 hs =up",
	 "never>up@0 up>never@10 never>up@13~2000ms"},
	{"device made anew and connected between two ticks", 0, 0, "0 hs, talk; 10 anew, hs =up",
	 "never>up@0"},
	{"put into the device and connected between two ticks", 0, 0, "0 -dev; 5 +dev, hs =up",
	 "never>up@5~1000ms"},
	{"put in again with an older session", 0, 0, "0 hs; 9 -dev =never; 20 +dev =up",
	 "never>up@0 up>never@9 never>up@20"},
	{"device gone and back", 0, 0, "0 hs; 10 -dev =never; 20 +dev =up; 30 -dev; 31 anew, +dev",
	 "never>up@0 up>never@10 never>up@20 up>never@30"},
};

static void check_timeline(const struct timeline *t)
{
	struct world w;
	struct health_policy policy = {.public_key = key_of(1),
				       .name = "gw",
				       .required = true,
				       .stale_after_secs = t->stale_after,
				       .keepalive = t->keepalive};
	char ka[16];

	begin(&w, &policy);
	snprintf(ka, sizeof(ka), "ka%u", t->keepalive);
	action(&w, ka);
	run(&w, t->script);
	ck_assert_msg(str_eq(buf_str(&w.record), t->record), "%s: %s, want %s", t->name,
		      buf_str(&w.record), t->record);
	end(&w);
}

/* The first judgement of an adopted peer says nothing of a latency: see "adopted" above. */
START_TEST(scripted)
{
	for (size_t i = 0; i < ARRAY_LEN(timelines); i++)
		check_timeline(&timelines[i]);
}
END_TEST

/* An hour of a well idle peer behind a lossy line: renewal every 125 s, each third one lost once.
 */
START_TEST(an_hour)
{
	struct health_policy policy = {.public_key = key_of(1), .keepalive = 25};
	struct world w;

	begin(&w, &policy);
	action(&w, "ka25");
	for (; w.second < 3600; w.second++) {
		bool lost = w.second / 125 % 3 == 0;
		int64_t t = w.second % 125;

		second(&w, t == 0 ? lost ? "tx+148" : "hs" : t == 5 && lost ? "hs" : NULL);
		ck_assert(w.second < 5 || health_peer(w.h, 0)->state == HEALTH_UP);
	}
	ck_assert_uint_eq(health_peer(w.h, 0)->reconnections, 0);
	end(&w);
}
END_TEST

START_TEST(reconnections_and_since)
{
	struct health_policy policy = {.public_key = key_of(1), .name = "gw"};
	struct world w;

	begin(&w, &policy);
	run(&w, "1 hs; 400 hs; 600 -dev; 700 +dev, hs");
	const struct health_peer *p = health_find(w.h, &policy.public_key);
	ck_assert_uint_eq(p->reconnections, 2);
	ck_assert_int_eq(p->since.ns, 1700 * NS_PER_SEC);
	ck_assert_int_eq(health_age_ns(p, mono_add(w.now.mono, 5)), 5);
	end(&w);
}
END_TEST

/* Changing the list keeps what is known; a refused list changes nothing. */
START_TEST(set_peers)
{
	struct health_policy two[2] = {{.public_key = key_of(1), .name = "gw"},
				       {.public_key = key_of(0), .name = ""}};
	struct health_policy same[2] = {two[0], two[0]};
	char text[KEY_BASE64];
	struct err e = {0};
	struct world w;

	begin(&w, &two[0]);
	run(&w, "3 hs");
	two[0].required = true;
	ck_assert_int_eq(health_set_peers(w.h, two, 2, w.now, NULL), 0);
	ck_assert_uint_eq(health_count(w.h), 2);
	const struct health_peer *p = health_find(w.h, &two[0].public_key);
	ck_assert(p->required && p->state == HEALTH_UP && p->was_up);
	ck_assert_ptr_eq(health_peer(w.h, 1), p);
	ck_assert_str_eq(health_peer(w.h, 0)->name, key_to_base64(&two[1].public_key, text));
	ck_assert_int_eq(health_set_peers(w.h, same, 2, w.now, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "peers gw and gw have the same key");
	ck_assert_uint_eq(health_count(w.h), 2);
	ck_assert_int_eq(health_set_peers(w.h, NULL, 0, w.now, NULL), 0);
	ck_assert(health_ready(w.h, (struct health_readiness){HEALTH_ALL, 0}, w.now.mono, NULL)
			  .ready);
	end(&w);
}
END_TEST

static void assert_reason(struct world *w, const char *want)
{
	struct buf b = BUF_INIT(0);

	health_reason(w->h, health_peer(w->h, 0), w->now.mono, &b);
	ck_assert_str_eq(buf_str(&b), want);
	buf_free(&b);
}

START_TEST(words)
{
	struct health_policy policy = {.public_key = key_of(1), .name = "runbeam-core"};
	struct world w;

	begin(&w, &policy);
	assert_reason(&w, "peer runbeam-core: the device is not there");
	run(&w, "12 tx+148");
	assert_reason(&w,
		      "peer runbeam-core: never a handshake (no endpoint, 12s since configured)");
	run(&w, "13 ep1");
	assert_reason(&w,
		      "peer runbeam-core: never a handshake (endpoint 192.0.2.1:51820, 13s since "
		      "configured)");
	run(&w, "20 hs, send; 50 =stalled");
	assert_reason(&w, "peer runbeam-core: what we send is not answered for 29s (endpoint "
			  "192.0.2.1:51820, handshake 30s ago)");
	run(&w, "60 ep2; 270");
	assert_reason(&w, "peer runbeam-core: no handshake for 4m10s, last answer from "
			  "192.0.2.1:51820");
	run(&w, "280 hs");
	assert_reason(&w, "");
	w.dev.peers[0].public_key = key_of(2);
	run(&w, "281");
	assert_reason(&w, "peer runbeam-core: not in the device");
	end(&w);
}
END_TEST

START_TEST(readiness)
{
	struct health_policy peers[40] = {0};
	struct health_now now = {{NS_PER_SEC}, {WALL0}};
	struct health *h = health_new();
	struct buf b = BUF_INIT(0);
	struct wgdev dev;
	static const struct {
		struct health_readiness wanted;
		bool ready;
		const char *first;
	} cases[] = {
		{{HEALTH_ALL, 0}, false, "peer "},
		{{HEALTH_ANY, 0}, true, ""},
		{{HEALTH_QUORUM, 2}, true, ""},
		{{HEALTH_QUORUM, 3}, false, "2 of 30 required peers up, 3 needed\npeer "},
		{{HEALTH_QUORUM, 31}, false, "2 of 30 required peers up, 31 needed\npeer "},
		{{HEALTH_QUORUM, 0}, true, ""},
	};

	wgdev_init(&dev);
	for (unsigned i = 0; i < 40; i++) {
		peers[i].public_key = key_of(i);
		peers[i].required = i < 30;
		wgdev_add_peer(&dev, &peers[i].public_key)->last_handshake.ns =
			i < 2 || i >= 30 ? WALL0 : 0;
	}
	ck_assert_int_eq(health_set_peers(h, peers, 40, now, NULL), 0);
	health_tick(h, &dev, now, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_reset(&b);
		struct health_verdict v = health_ready(h, cases[i].wanted, now.mono, &b);
		ck_assert_uint_eq(v.required, 30);
		ck_assert_uint_eq(v.up, 2);
		ck_assert_msg(v.ready == cases[i].ready &&
				      str_starts(buf_str(&b), cases[i].first) &&
				      (*cases[i].first || b.len == 0),
			      "case %zu: %s", i, buf_str(&b));
		ck_assert(v.ready || str_ends(buf_str(&b), "\nand 12 more peers\n"));
	}
	buf_free(&b);
	wgdev_clear(&dev);
	health_free(h);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("health", scripted, an_hour, reconnections_and_since, set_peers, words,
			  readiness);
}
UNIT_MAIN(suite)
