/*
 * What agent.bench needs beside the agent itself:
 *
 *     bench_agent gen toml|yaml|wg N [CHANGED]
 *                                           a network of N peers with two allowed IPs each, as the
 *                                           agent's document or as wg(8) reads it; with CHANGED
 *                                           the first peer has a third one
 *     bench_agent parse FILE ROUNDS         time to read and validate the document
 *     bench_agent dump N ROUNDS             time to read a userspace device's dump, the transport
 *                                           left out
 *     bench_agent plan N ROUNDS             time of the plan: nothing to do, one peer changed,
 *                                           everything new
 *
 * Times are printed as "NAME NANOSECONDS", a line for each round.
 */
#include "agent/plan.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"
#include "config/model.h"
#include "uapi/uapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys only have to differ, and to be the same in each run. */
static struct key key_of(unsigned i)
{
	uint64_t x = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
	struct key k;

	for (unsigned j = 0; j < KEY_LEN; j++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		k.b[j] = (uint8_t)(x >> 32);
	}
	return k;
}

static void allowed_of(unsigned i, char v4[32], char v6[32])
{
	snprintf(v4, 32, "10.%u.%u.%u/32", 128 | (i >> 16 & 127), i >> 8 & 255, i & 255);
	snprintf(v6, 32, "fd42:1::%x:%x/128", i >> 16, i & 0xffff);
}

static const char toml_peer[] = "\n[[network.bench.peers]]\nname = \"peer-%u\"\n"
				"public_key = \"%s\"\nendpoint = \"198.18.%u.%u:51820\"\n"
				"allowed_ips = [\"%s\", \"%s\"%s%s%s]\n";
/* As Helm renders it. */
static const char yaml_peer[] = "    - name: peer-%u\n      public_key: %s\n"
				"      endpoint: 198.18.%u.%u:51820\n"
				"      allowed_ips:\n      - %s\n      - %s\n%s%s%s";

static void gen(const char *language, unsigned n, bool changed)
{
	bool toml = strcmp(language, "toml") == 0, yaml = strcmp(language, "yaml") == 0;

	if (toml)
		printf("[network.bench]\naddress = \"10.1.0.1/16\"\nlisten_port = 51820\n");
	if (yaml)
		printf("network:\n  bench:\n    address: 10.1.0.1/16\n    listen_port: 51820\n"
		       "    peers:\n");
	for (unsigned i = 0; i < n; i++) {
		const char *more = changed && i == 0 ? "10.2.0.0/16" : "";
		struct key k = key_of(i);
		char text[KEY_BASE64], v4[32], v6[32];

		key_to_base64(&k, text);
		allowed_of(i, v4, v6);
		if (toml)
			printf(toml_peer, i, text, i >> 8 & 255, i & 255, v4, v6,
			       *more ? ", \"" : "", more, *more ? "\"" : "");
		else if (yaml)
			printf(yaml_peer, i, text, i >> 8 & 255, i & 255, v4, v6,
			       *more ? "      - " : "", more, *more ? "\n" : "");
		else
			printf("[Peer]\nPublicKey = %s\nEndpoint = 198.18.%u.%u:51820\n"
			       "AllowedIPs = %s, %s%s%s\n",
			       text, i >> 8 & 255, i & 255, v4, v6, *more ? ", " : "", more);
	}
}

static void told(const char *name, struct mono since)
{
	printf("%s %lld\n", name, (long long)mono_since(mono_now(), since));
}

static int parse(const char *path, unsigned rounds)
{
	struct buf text = BUF_INIT(0);
	FILE *f = fopen(path, "re");
	char chunk[65536];
	size_t n;

	if (!f)
		return 1;
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_add(&text, chunk, n);
	fclose(f);
	for (unsigned i = 0; i < rounds; i++) {
		struct config_doc doc = {path, str_ends(path, ".yaml") ? CONFIG_YAML : CONFIG_TOML,
					 buf_str(&text), text.len, false};
		_cleanup_config_diags_ struct config_diags diags = {0};
		_cleanup_config_ struct config *c = NULL;
		struct mono start = mono_now();

		if (config_read(&doc, 1, NULL, &c, &diags) < 0) {
			fprintf(stderr, "bench_agent: %s is refused\n", path);
			return 1;
		}
		told("parse", start);
	}
	buf_free(&text);
	return 0;
}

/* What wireguard-go answers to get=1. */
static void dump_text(struct buf *b, unsigned n)
{
	char text[KEY_HEX], v4[32], v6[32];

	buf_addf(b, "private_key=%064d\nlisten_port=51820\n", 1);
	for (unsigned i = 0; i < n; i++) {
		struct key k = key_of(i);

		key_to_hex(&k, text);
		allowed_of(i, v4, v6);
		buf_addf(b,
			 "public_key=%s\npreshared_key=%064d\nprotocol_version=1\n"
			 "endpoint=198.18.%u.%u:51820\nlast_handshake_time_sec=0\n"
			 "last_handshake_time_nsec=0\ntx_bytes=%u\nrx_bytes=0\n"
			 "persistent_keepalive_interval=0\nallowed_ip=%s\nallowed_ip=%s\n",
			 text, 0, i >> 8 & 255, i & 255, i * 148, v4, v6);
	}
	buf_adds(b, "errno=0\n\n");
}

/* A dump of a userspace device, as text in memory, into its state. */
static int dump(unsigned n, unsigned rounds)
{
	struct buf text = BUF_INIT(0);
	const size_t chunk = (size_t)32 * 1024;
	struct wgdev dev = {0};
	int r = 0;

	dump_text(&text, n);
	for (unsigned i = 0; r >= 0 && i < rounds; i++) {
		struct mono start = mono_now();
		struct uapi_reply reply;

		uapi_reply_init(&reply, NULL);
		for (size_t at = 0; r >= 0 && at < text.len; at += chunk)
			r = uapi_reply_feed(&reply, text.data + at,
					    text.len - at < chunk ? text.len - at : chunk, NULL);
		if (r >= 0)
			r = uapi_reply_finish(&reply, wall_now(), &dev, NULL);
		uapi_reply_clear(&reply);
		told("dump", start);
	}
	wgdev_clear(&dev);
	buf_free(&text);
	return r < 0;
}

static int fill(struct agent_state *s, unsigned n)
{
	struct agent_tunnel *t = agent_state_add_tunnel(s, "bench0");

	if (!t)
		return -1;
	t->owner = AGENT_OWNER_US;
	t->up = true;
	t->mtu = 1420;
	for (unsigned i = 0; i < n; i++) {
		struct key k = key_of(i);
		struct wgdev_peer *p = wgdev_add_peer(&t->wg, &k);
		char texts[2][32];

		allowed_of(i, texts[0], texts[1]);
		for (unsigned j = 0; p && j < 2; j++) {
			struct ip_prefix prefix;

			if (ip_prefix_parse(texts[j], strlen(texts[j]), &prefix) < 0 ||
			    wgdev_peer_add_allowed(p, prefix) < 0 ||
			    agent_tunnel_add_route(t, (struct agent_route){prefix, 254, 0}) < 0)
				return -1;
		}
		if (!p)
			return -1;
	}
	if (wgdev_sort(&t->wg) < 0)
		return -1;
	agent_state_sort(s);
	return 0;
}

static int timed_plan(const char *name, const struct agent_state *d, const struct agent_state *o)
{
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct mono start = mono_now();
	int r = agent_plan(d, o, &plan);

	told(name, start);
	return r;
}

static int plans(unsigned n, unsigned rounds)
{
	_cleanup_agent_state_ struct agent_state d, same, other, none;

	agent_state_init(&d);
	agent_state_init(&same);
	agent_state_init(&other);
	agent_state_init(&none);
	if (n == 0 || fill(&d, n) < 0 || fill(&same, n) < 0 || fill(&other, n) < 0)
		return 1;
	other.tunnels[0].wg.peers[n / 2].keepalive = 1;
	for (unsigned i = 0; i < rounds; i++)
		if (timed_plan("plan_empty", &d, &same) < 0 ||
		    timed_plan("plan_one", &d, &other) < 0 || timed_plan("plan_all", &d, &none) < 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "gen") == 0) {
		gen(argv[2], (unsigned)atoi(argv[3]), argc > 4);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "parse") == 0)
		return parse(argv[2], (unsigned)atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "plan") == 0)
		return plans((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "dump") == 0)
		return dump((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
	fprintf(stderr, "usage: bench_agent gen toml|yaml|wg N [CHANGED] | parse FILE ROUNDS | "
			"dump N ROUNDS | plan N ROUNDS\n");
	return 2;
}
