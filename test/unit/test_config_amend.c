/*
 * lib/config/amend.c: an amended configuration is what config_read makes of the new text, places
 * included, or the attempt is given up. Shown on random documents and edits: of peers, as people
 * make them, and of bytes anywhere, as nobody does.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/amend.h"

static unsigned seed;

static unsigned below(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

/* --- what two configurations have in common --- */

static void dump_pos(struct buf *b, const struct cfg_pos *p)
{
	buf_addf(b, "@%u:%u/%u ", p->line, p->column, p->offset);
}

static void dump_ref(struct buf *b, const struct config_keyref *r)
{
	buf_addf(b, "%s|%s|%s", r->path ? r->path : "", r->env ? r->env : "",
		 r->secret ? r->secret : "");
	dump_pos(b, &r->pos);
}

static void dump_endpoint(struct buf *b, const struct config_endpoint *e)
{
	char text[IP_ENDPOINT_LEN];

	buf_addf(b, "%d %s %s %u ", e->set, e->host ? e->host : "-",
		 ip_endpoint_str(&e->addr, text), e->port);
}

static void dump_peer(struct buf *b, const struct config_peer *p)
{
	char text[KEY_BASE64], prefix[IP_PREFIX_LEN], probe[IP_ADDR_LEN];

	buf_addf(b, "  %s %s ", p->name, key_to_base64(&p->public_key, text));
	dump_pos(b, &p->pos);
	dump_ref(b, &p->preshared);
	dump_endpoint(b, &p->endpoint);
	for (size_t i = 0; i < p->n_allowed; i++)
		buf_addf(b, "%s ", ip_prefix_str(&p->allowed[i], prefix));
	buf_addf(b, "%s %u %d %u\n", p->probe.family ? ip_addr_str(&p->probe, probe) : "-",
		 p->keepalive, p->required, p->stale_after_secs);
}

static void dump(struct buf *b, const struct config *c)
{
	char text[IP_PREFIX_LEN];

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		buf_addf(b, "%s %s %d %s %zu %u %u %u %u ", n->name, n->source, n->enabled,
			 n->interface, n->n_addresses, n->mtu, n->listen_port, n->table, n->metric);
		buf_addf(b, "%d %u %u %d ", n->readiness, n->quorum, n->stale_after_secs,
			 n->mss_clamp);
		dump_pos(b, &n->pos);
		dump_ref(b, &n->private_key);
		buf_adds(b, "\n");
		for (size_t j = 0; j < n->n_peers; j++)
			dump_peer(b, &n->peers[j]);
		for (size_t j = 0; j < n->n_claimed; j++)
			buf_addf(b, "%s ", ip_prefix_str(&n->claimed[j], text));
	}
	buf_addf(b, "clean %d\n", c->clean);
}

/* The language of the test's documents. */
static enum config_format format;

static struct config_doc doc_of(const char *text)
{
	return (struct config_doc){"a", format, text, strlen(text), false};
}

/* With another document beside it, as a source has them. */
static struct config *read_whole(const char *text, size_t *ret_findings)
{
	static const char other[] =
		"[network.other]\ninterface = \"wg9\"\n[[network.other.peers]]\n"
		"public_key = \"//////////////////////////////////////////8=\"\n"
		"allowed_ips = [\"10.9.0.0/16\"]\n";
	struct config_doc docs[] = {doc_of(text),
				    {"b.toml", CONFIG_TOML, other, sizeof(other) - 1, false}};
	_cleanup_config_diags_ struct config_diags diags = {0};
	struct config *c = NULL;

	config_read(docs, 2, "node", &c, &diags);
	*ret_findings = diags.n;
	return c;
}

/* 1: amended, 0: given up. What was amended is compared with what is read. */
static int amend(const char *was, const char *now)
{
	_cleanup_config_amendment_ struct config_amendment a = {0};
	size_t findings;
	_cleanup_config_ struct config *c = read_whole(was, &findings), *whole = NULL;
	struct buf x = BUF_INIT(0), y = BUF_INIT(0);
	struct config_doc docs[] = {doc_of(was), doc_of(now)};

	if (!c)
		return 0;
	int r = config_amendment_read(c, &docs[0], &docs[1], &a);
	if (r < 0) {
		ck_assert_int_eq(r, -EAGAIN);
		return 0;
	}
	ck_assert_int_eq(config_amend(c, &a), 0);
	whole = read_whole(now, &findings);
	dump(&x, c);
	if (whole)
		dump(&y, whole);
	if (!whole || findings || !str_eq(buf_str(&x), buf_str(&y))) {
		fprintf(stderr, "--- was\n%s--- now\n%s--- amended\n%s--- read\n%s", was, now,
			buf_str(&x), buf_str(&y)); /* more than check has room for */
		ck_abort_msg(!whole     ? "amended what is refused"
			     : findings ? "amended what is warned of"
					: "not the same");
	}
	buf_free(&x);
	buf_free(&y);
	return 1;
}

/* --- documents --- */

#define BLOCKS 12

/* Network a has no address of IPv6, network b none at all. */
enum { PROBE_NONE, PROBE_IPV4, PROBE_IPV6, PROBES };

struct block {
	unsigned id, network, allowed, endpoint, keepalive, style, probe;
};

struct doc {
	struct block blocks[BLOCKS + 2];
	unsigned n, next;
	bool foreign;
};

static struct block new_block(struct doc *d)
{
	unsigned id = ++d->next;
	struct block b = {id,       id > 8,    id * 4 + below(3), below(200),
			  below(3), below(16), PROBE_NONE};

	return b;
}

static void put_block(struct buf *b, const struct block *k)
{
	struct key key = {{(uint8_t)k->id, 1}};
	char text[KEY_BASE64];
	const char *indent = k->style == 1 ? "  " : "";

	key_to_base64(&key, text);
	if (k->style == 2)
		buf_adds(b, "# a comment [[with brackets]]\n");
	buf_addf(b, "%s[[network.%s.peers]]%s\n", indent, k->network ? "b" : "a",
		 k->style == 3 ? " # [note]" : "");
	buf_addf(b, "name = \"p%u\"\npublic_key = \"%s\"\n", k->id, text);
	buf_addf(b, "allowed_ips = [%s\"10.%u.%u.0/24\", \"fd00:%x::/64\"]\n",
		 k->style == 4 ? "\n  " : "", k->network, k->allowed, k->allowed);
	if (k->endpoint > 50)
		buf_addf(b, "endpoint = \"192.0.2.%u:51820\"\n", k->endpoint);
	if (k->keepalive)
		buf_addf(b, "persistent_keepalive_secs = %u\n", k->keepalive);
	if (k->probe == PROBE_IPV4)
		buf_addf(b, "probe_address = \"10.%u.%u.1\"\n", k->network, k->allowed);
	if (k->probe == PROBE_IPV6)
		buf_addf(b, "probe_address = \"fd00:%x::1\"\n", k->allowed);
	if (k->style == 0)
		buf_adds(b, "preshared_key_secret = \"psk\"\n");
}

/* An element of the list, which stands `in` columns from the left. */
static void put_block_yaml(struct buf *b, const struct block *k, int in)
{
	struct key key = {{(uint8_t)k->id, 1}};
	char text[KEY_BASE64];

	key_to_base64(&key, text);
	if (k->style == 2)
		buf_addf(b, "%*s# - a comment\n", k->id % 2 ? 0 : in, "");
	if (k->style == 3)
		buf_addf(b, "%*s- name: |-\n%*sp%u\n", in, "", in + 4, "", k->id);
	else
		buf_addf(b, "%*s- name: p%u%s\n", in, "", k->id, k->style == 5 ? " # - n" : "");
	buf_addf(b, "%*spublic_key: \"%s\"\n", in + 2, "", text);
	buf_addf(b, "%*sallowed_ips: [%s\"10.%u.%u.0/24\", 'fd00:%x::/64']\n", in + 2, "",
		 k->style == 4 ? "\n                " : "", k->network, k->allowed, k->allowed);
	if (k->endpoint > 50)
		buf_addf(b, "%*sendpoint: 192.0.2.%u:51820\n", in + 2, "", k->endpoint);
	if (k->keepalive)
		buf_addf(b, "%*spersistent_keepalive_secs: %u\n", in + 2, "", k->keepalive);
	if (k->probe == PROBE_IPV4)
		buf_addf(b, "%*sprobe_address: 10.%u.%u.1\n", in + 2, "", k->network, k->allowed);
	if (k->probe == PROBE_IPV6)
		buf_addf(b, "%*sprobe_address: 'fd00:%x::1'\n", in + 2, "", k->allowed);
	if (k->style == 0)
		buf_addf(b, "%*spreshared_key_secret: psk\n", in + 2, "");
	if (k->style == 1)
		buf_adds(b, "\n");
}

static char *render_yaml(const struct doc *d)
{
	struct buf b = BUF_INIT(0);
	int in = d->foreign ? 4 : 6; /* as Helm writes them, and as people do */

	buf_adds(&b, "title: x\nnetwork:\n  a:\n    address: 10.100.0.1/24\n"
		     "    private_key_secret: a\n    readiness: 1\n    peers:\n");
	for (unsigned i = 0; i < d->n; i++)
		if (!d->blocks[i].network)
			put_block_yaml(&b, &d->blocks[i], in);
	buf_adds(&b, "  b:\n    peers:\n");
	for (unsigned i = 0; i < d->n; i++)
		if (d->blocks[i].network)
			put_block_yaml(&b, &d->blocks[i], in);
	buf_adds(&b, "    interface: wg1\n");
	return b.data;
}

static char *render(const struct doc *d)
{
	if (format == CONFIG_YAML)
		return render_yaml(d);

	struct buf b = BUF_INIT(0);

	buf_adds(&b, "title = \"x\"\n[network.a]\naddress = \"10.100.0.1/24\"\n"
		     "private_key_secret = \"a\"\nreadiness = 1\n"
		     "[network.b]\ninterface = \"wg1\"\n");
	for (unsigned i = 0; i < d->n; i++) {
		put_block(&b, &d->blocks[i]);
		if (d->foreign && i == d->n / 2)
			buf_adds(&b, "[http]\nport = 80\n");
	}
	return b.data;
}

static struct doc new_doc(void)
{
	struct doc d = {.n = 0, .foreign = below(3) == 0};

	while (d.n < BLOCKS)
		d.blocks[d.n++] = new_block(&d);
	return d;
}

/* One edit as people make them. */
static void edit(struct doc *d)
{
	unsigned at = below(d->n);
	struct block *k = &d->blocks[at];

	switch (below(8)) {
	case 0: k->allowed = 200 + below(50); break;
	case 1: k->endpoint = below(200); break;
	case 2: k->keepalive = below(3); break;
	case 3: /* another key: one peer goes, another comes */ k->id = ++d->next; break;
	case 4:
		memmove(k, k + 1, (d->n - at - 1) * sizeof(*k));
		d->n--;
		break;
	case 5:
		memmove(k + 1, k, (d->n - at) * sizeof(*k));
		*k = new_block(d);
		d->n++;
		break;
	case 6: k->probe = below(PROBES); break;
	default: /* a clash, in places */ k->allowed = d->blocks[below(d->n)].allowed; break;
	}
}

static void edits_of_peers(enum config_format language)
{
	int amended = 0, n = 3000;

	format = language;
	for (int i = 0; i < n; i++) {
		seed = (unsigned)i;
		struct doc d = new_doc();
		char *was = render(&d);
		unsigned edits = below(4) ? 1 : 2;

		while (edits--)
			edit(&d);
		char *now = render(&d);
		amended += amend(was, now);
		free(was);
		free(now);
	}
	/* Given up are clashes, the last required peer, and edits around another table. */
	ck_assert_msg(amended > n * 2 / 5, "%d of %d", amended, n);
}

START_TEST(edits_of_peers_toml)
{
	edits_of_peers(CONFIG_TOML);
}
END_TEST

START_TEST(edits_of_peers_yaml)
{
	edits_of_peers(CONFIG_YAML);
}
END_TEST

static char *mutate(const char *text)
{
	static const char *const pieces[] = {
		"[",
		"]",
		"\n",
		"\"",
		"#",
		"=",
		"'",
		"[[",
		"]]\n",
		"\"\"\"",
		"'''",
		"\n[",
		"\r\n",
		"[network.a]\n",
		"{",
		"}",
		",",
		"\xC3",
		" ",
		"a",
		"[[network.a.peers]]\n",
		"\t",
		"\xEF\xBB\xBF",
		"- ",
		"\n    - ",
		"\n      - name: x\n",
		": ",
		"\n...\n",
		"\n---\n",
		"|",
		">-\n",
		"\r",
		"\xC2\x85",
		"\xE2\x80\xA8",
		"&a ",
		"?",
		"  ",
	};
	size_t len = strlen(text), at = below((unsigned)len), cut = below(3) ? 0 : below(40);
	struct buf b = BUF_INIT(0);

	if (cut > len - at)
		cut = len - at;
	buf_add(&b, text, at);
	if (below(4)) {
		buf_adds(&b, pieces[below(ARRAY_LEN(pieces))]);
	} else {
		size_t from = below((unsigned)len), n = below(200);

		buf_add(&b, text + from, n < len - from ? n : len - from);
	}
	buf_adds(&b, text + at + cut);
	return b.data;
}

static void edits_of_bytes(enum config_format language)
{
	int amended = 0;

	format = language;
	for (int i = 0; i < 5000; i++) {
		seed = (unsigned)i * 7919;
		struct doc d = new_doc();
		char *was = render(&d), *now = mutate(was);

		if (below(2)) { /* from one odd text to another */
			char *again = mutate(now);

			free(was);
			was = now;
			now = again;
		}
		amended += amend(was, now);
		free(was);
		free(now);
	}
	ck_assert_int_gt(amended, 20);
}

START_TEST(edits_of_bytes_toml)
{
	edits_of_bytes(CONFIG_TOML);
}
END_TEST

START_TEST(edits_of_bytes_yaml)
{
	edits_of_bytes(CONFIG_YAML);
}
END_TEST

/* Edits that begin in one peer's lines and break what is around them. */
START_TEST(what_yaml_leaves)
{
#define Y_PEER(id, ip)                                                                             \
	"    - public_key: A" id "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"                    \
	"      allowed_ips: [" ip "]\n"
#define Y_HEAD "network:\n  a:\n    peers:\n"
	static const char one[] = Y_HEAD Y_PEER("Q", "10.0.0.1/32") Y_PEER("g", "10.0.0.2/32");

	format = CONFIG_YAML;
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.3/32") Y_PEER("g", "10.0.0.2/32")),
			 1);
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32") Y_PEER("w", "10.0.0.3/32")
					    Y_PEER("g", "10.0.0.2/32")),
			 1);
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32")), 1);
	/* a line more at the end of a peer, and one less */
	static const char more[] = Y_HEAD Y_PEER(
		"Q", "10.0.0.1/32") "      required: true\n" Y_PEER("g", "10.0.0.2/32");
	ck_assert_int_eq(amend(one, more), 1);
	ck_assert_int_eq(amend(more, one), 1);
	/* a key of the network behind the peers, another network, a letter, a flow, a second
	 * document, a quote that goes on over the next peer */
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32")
					    Y_PEER("g", "10.0.0.2/32") "    mtu: 1400\n"),
			 0);
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32")
					    Y_PEER("g", "10.0.0.2/32") "  b: {}\n"),
			 0);
	ck_assert_int_eq(
		amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32") "      name: \xC3\xA4\n" Y_PEER(
				   "g", "10.0.0.2/32")),
		0);
	ck_assert_int_eq(
		amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32") Y_PEER("g", "10.0.0.2/32") "---\n"),
		0);
	ck_assert_int_eq(amend(one, Y_HEAD Y_PEER("Q", "10.0.0.1/32") "      name: 'x\n" Y_PEER(
					    "g", "10.0.0.2/32")),
			 0);
	ck_assert_int_eq(amend("network: {a: {peers: [\n{public_key: "
			       "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,\n"
			       "allowed_ips: [10.0.0.1/32]}]}}\n",
			       "network: {a: {peers: [\n{public_key: "
			       "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,\n"
			       "allowed_ips: [10.0.0.3/32]}]}}\n"),
			 0);
}
END_TEST

#define HEAD "[network.a]\n"
#define PEER(id, ip)                                                                               \
	"[[network.a.peers]]\npublic_key = \"A" id                                                 \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n"                                           \
	"allowed_ips = [\"" ip "\"]\n"

START_TEST(what_is_amended)
{
	/* changed, added at the end, in front, in between, removed first and last */
	const char *one = HEAD PEER("Q", "10.0.0.1/32") PEER("g", "10.0.0.2/32");

	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.3/32") PEER("g", "10.0.0.2/32")), 1);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.1/32") PEER("g", "10.0.0.2/32")
					    PEER("w", "10.0.0.3/32")),
			 1);
	ck_assert_int_eq(amend(one, HEAD PEER("w", "10.0.0.3/32") PEER("Q", "10.0.0.1/32")
					    PEER("g", "10.0.0.2/32")),
			 1);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.1/32") PEER("w", "10.0.0.3/32")
					    PEER("g", "10.0.0.2/32")),
			 1);
	ck_assert_int_eq(amend(one, HEAD PEER("g", "10.0.0.2/32")), 1);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.1/32")), 1);
	/* two peers change places: their prefixes move */
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.2/32") PEER("g", "10.0.0.1/32")), 1);
}
END_TEST

START_TEST(what_is_left)
{
	const char *one = HEAD PEER("Q", "10.0.0.1/32") PEER("g", "10.0.0.2/32");
	const char *part = HEAD PEER("Q", "10.0.0.1/32") PEER(
		"g",
		"10.0.0.2/32") "[[network.a.nodes.node.peers]]\n"
			       "public_key = \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";
	const char *part_now = HEAD PEER("Q", "10.0.0.3/32") PEER(
		"g",
		"10.0.0.2/32") "[[network.a.nodes.node.peers]]\n"
			       "public_key = \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";

	/* the network itself, a clash with a peer that stays, with another network's route */
	ck_assert_int_eq(
		amend(one, HEAD "mtu = 1400\n" PEER("Q", "10.0.0.1/32") PEER("g", "10.0.0.2/32")),
		0);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.2/32") PEER("g", "10.0.0.2/32")), 0);
	ck_assert_int_eq(amend(one, HEAD PEER("g", "10.0.0.1/32") PEER("g", "10.0.0.2/32")), 0);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.9.0.0/16") PEER("g", "10.0.0.2/32")), 0);
	/* a finding, a slip, the last peer */
	ck_assert_int_eq(
		amend(one, HEAD PEER("Q", "10.0.0.1/32") "x = 1\n" PEER("g", "10.0.0.2/32")), 0);
	ck_assert_int_eq(amend(one, HEAD PEER("Q", "10.0.0.1/33") PEER("g", "10.0.0.2/32")), 0);
	ck_assert_int_eq(amend(HEAD PEER("Q", "10.0.0.1/32"), HEAD), 0);
	/* a part for this node */
	ck_assert_int_eq(amend(part, part_now), 0);
	/* a probe that no address of the network can send */
	const char *v4 = HEAD "address = \"10.0.1.1/24\"\n" PEER("Q", "fd42::/64");
	ck_assert_int_eq(amend(v4, HEAD "address = \"10.0.1.1/24\"\n" PEER(
					   "Q", "fd42::/64") "probe_address = \"fd42::1\"\n"),
			 0);
	ck_assert_int_eq(amend(HEAD PEER("Q", "fd42::/64"),
			       HEAD PEER("Q", "fd42::/64") "probe_address = \"fd42::1\"\n"),
			 1);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("config-amend", what_is_amended, what_is_left, what_yaml_leaves,
			  edits_of_peers_toml, edits_of_peers_yaml, edits_of_bytes_toml,
			  edits_of_bytes_yaml);
}

UNIT_MAIN(suite)
