/*
 * lib/config: the model as it is read (all keys, three spellings, nodes), keys, size, and the
 * documentation's list of keys.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/keys.h"
#include "config/model.h"

#define K1 "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define K2 "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define K3 "AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static struct config *read_as(enum config_format format, const char *text, const char *node)
{
	static const char *const names[] = {"t.toml", "t.yaml", "t.json"};
	struct config_doc doc = {names[format], format, text, strlen(text), false};
	struct config_diags diags = {0};
	struct config *c = NULL;
	struct buf b = BUF_INIT(0);
	int r = config_read(&doc, 1, node, &c, &diags);

	config_diags_write(&diags, &b);
	ck_assert_msg(r == 0 && diags.n == 0, "%d\n%s", r, buf_str(&b));
	buf_free(&b);
	config_diags_clear(&diags);
	return c;
}

/* --- a model as text, without places: what two equal ones have in common --- */

static void dump_ref(struct buf *b, const char *name, const struct config_keyref *r)
{
	if (config_keyref_is_set(r))
		buf_addf(b, "%s=%s|%s|%s ", name, r->path ? r->path : "", r->env ? r->env : "",
			 r->secret ? r->secret : "");
}

static void dump_endpoint(struct buf *b, const struct config_endpoint *e)
{
	char text[IP_ENDPOINT_LEN];

	if (e->set && e->host)
		buf_addf(b, "endpoint=%s port %u ", e->host, e->port);
	else if (e->set)
		buf_addf(b, "endpoint=%s port %u ", ip_endpoint_str(&e->addr, text), e->port);
}

static void dump_peer(struct buf *b, const struct config_peer *p)
{
	char text[IP_PREFIX_LEN], key[KEY_BASE64];

	buf_addf(b, "  peer %s %s ", p->name, key_to_base64(&p->public_key, key));
	dump_ref(b, "psk", &p->preshared);
	dump_endpoint(b, &p->endpoint);
	for (size_t i = 0; i < p->n_allowed; i++)
		buf_addf(b, "%s ", ip_prefix_str(&p->allowed[i], text));
	buf_addf(b, "keepalive=%u required=%d/%d stale=%u", p->keepalive, (int)p->required,
		 config_peer_required(p), p->stale_after_secs);
	if (p->probe.family != AF_UNSPEC)
		buf_addf(b, " probe=%s/%u", ip_addr_str(&p->probe, text), p->probe_secs);
	buf_addc(b, '\n');
}

static const char *dump(const struct config *c, struct buf *b)
{
	char text[IP_PREFIX_LEN];

	buf_reset(b);
	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		buf_addf(b, "%s enabled=%d %s mtu=%u port=%u ", n->name, n->enabled, n->interface,
			 n->mtu, n->listen_port);
		dump_endpoint(b, &n->endpoint);
		dump_ref(b, "key", &n->private_key);
		for (size_t j = 0; j < n->n_addresses; j++)
			buf_addf(b, "%s ", ip_prefix_str(&n->addresses[j], text));
		buf_addf(b, "fwmark=%u table=%u metric=%u backend=%d masq=%d clamp=%d fwd=%d%s ",
			 n->fwmark, n->table, n->metric, (int)n->backend, n->masquerade,
			 n->mss_clamp, n->forward, n->guard ? " guard" : "");
		for (size_t j = 0; j < n->n_guard_except; j++)
			buf_addf(b, "except=%s ", ip_prefix_str(&n->guard_except[j], text));
		for (size_t j = 0; j < n->n_dns; j++)
			buf_addf(b, "dns=%s ", ip_addr_str(&n->dns[j], text));
		for (size_t j = 0; j < n->n_dns_search; j++)
			buf_addf(b, "search=%s ", n->dns_search[j]);
		buf_addf(b, "ready=%d/%u stale=%u probe=%u remove=%d\n", (int)n->readiness,
			 n->quorum, n->stale_after_secs, n->probe_secs, n->remove_on_delete);
		for (size_t j = 0; j < n->n_peers; j++)
			dump_peer(b, &n->peers[j]);
	}
	return buf_str(b);
}

/* --- the same networks, with every key, in three spellings --- */

static const char as_toml[] =
	"[proxy]\nport = 1\n"
	"[network.default]\n"
	"enable_wireguard = true\ninterface = 'wg7'\naddress = '10.100.0.2/24'\n"
	"addresses = ['fd42::2/64', '10.100.1.2']\nmtu = 1380\nlisten_port = 51820\n"
	"endpoint = 'node.example.com:51820'\nprivate_key_path = '/etc/wireguard/private.key'\n"
	"fwmark = 0xca6c\ntable = 1234\nmetric = 50\ndns = ['10.100.0.1', 'fd42::1']\n"
	"dns_search = ['example.com', 'svc.']\nbackend = 'userspace'\nmasquerade = true\n"
	"mss_clamp = false\nforward = true\nguard = true\n"
	"guard_except = ['10.42.0.53/32', 'fd42::/64']\nreadiness = 1\nstale_after_secs = "
	"200\nprobe_secs = 7\n"
	"on_delete = 'remove'\n"
	"[network.default.http]\nbind_address = '0.0.0.0'\nbind_port = 8081\n"
	"[[network.default.peers]]\nname = 'core'\npublic_key = '" K2 "'\n"
	"preshared_key_env = 'PSK'\nendpoint = '[fd00::1]:51820'\n"
	"allowed_ips = ['fd42:1::/48', '10.42.0.0/16']\npersistent_keepalive_secs = 25\n"
	"required = false\nstale_after_secs = 300\nprobe_address = '10.42.0.1'\nprobe_secs = 3\n"
	"[[network.default.peers]]\npublic_key = '" K1 "'\npreshared_key_secret = 'a.psk'\n"
	"endpoint = '203.0.113.10:51820'\nallowed_ips = ['0.0.0.0/0']\n"
	"persistent_keepalive_secs = 15\n"
	"[network.default.nodes.'other']\nlisten_port = 1\n"
	"[network.b]\nprivate_key_env = 'KEY'\ninterface = 'wg8'\ntable = 'off'\n"
	"readiness = 'any'\nbackend = 'uapi'\n";

static const char as_yaml[] =
	"proxy: {port: 1}\n"
	"network:\n"
	"  b: {private_key_env: KEY, interface: wg8, table: off, readiness: any, backend: uapi}\n"
	"  default:\n"
	"    enable_wireguard: true\n"
	"    interface: wg7\n"
	"    address: 10.100.0.2/24\n"
	"    addresses: [\"fd42::2/64\", 10.100.1.2]\n"
	"    mtu: 1380\n"
	"    listen_port: 51820\n"
	"    endpoint: node.example.com:51820\n"
	"    private_key_path: /etc/wireguard/private.key\n"
	"    fwmark: 51820\n"
	"    table: 1234\n"
	"    metric: 50\n"
	"    dns:\n"
	"    - 10.100.0.1\n"
	"    - fd42::1\n"
	"    dns_search: [example.com, svc.]\n"
	"    backend: userspace\n"
	"    masquerade: true\n"
	"    mss_clamp: false\n"
	"    forward: true\n"
	"    guard: true\n"
	"    guard_except: [10.42.0.53, \"fd42::/64\"]\n"
	"    readiness: 1\n"
	"    stale_after_secs: 200\n"
	"    probe_secs: 7\n"
	"    on_delete: remove\n"
	"    http: {bind_address: 0.0.0.0, bind_port: 8081}\n"
	"    peers:\n"
	"    - name: core\n"
	"      public_key: " K2 "\n"
	"      preshared_key_env: PSK\n"
	"      endpoint: \"[fd00::1]:51820\"\n"
	"      allowed_ips: [\"fd42:1::/48\", 10.42.0.0/16]\n"
	"      persistent_keepalive_secs: 25\n"
	"      required: false\n"
	"      stale_after_secs: 300\n"
	"      probe_address: 10.42.0.1\n"
	"      probe_secs: 3\n"
	"    - public_key: " K1 "\n"
	"      preshared_key_secret: a.psk\n"
	"      endpoint: 203.0.113.10:51820\n"
	"      allowed_ips: 0.0.0.0/0\n"
	"      persistent_keepalive_secs: 15\n"
	"    nodes:\n"
	"      other: {listen_port: 1}\n";

static const char as_json[] =
	"{\"proxy\":{\"port\":1},\"network\":{\"default\":{\"enableWireguard\":true,"
	"\"interface\":\"wg7\",\"address\":\"10.100.0.2/24\","
	"\"addresses\":[\"fd42::2/64\",\"10.100.1.2\"],\"mtu\":1380,\"listenPort\":51820,"
	"\"endpoint\":\"node.example.com:51820\","
	"\"privateKeyPath\":\"/etc/wireguard/private.key\",\"fwMark\":51820,\"table\":1234,"
	"\"metric\":50,\"dns\":[\"10.100.0.1\",\"fd42::1\"],"
	"\"dnsSearch\":[\"example.com\",\"svc.\"],\"backend\":\"userspace\",\"masquerade\":true,"
	"\"mssClamp\":false,\"forward\":true,\"guard\":true,"
	"\"guardExcept\":[\"10.42.0.53/32\",\"fd42::/64\"],\"readiness\":1,\"staleAfterSecs\":200,"
	"\"probeSecs\":7,"
	"\"onDelete\":\"remove\",\"http\":{\"bindAddress\":\"0.0.0.0\",\"bindPort\":8081},"
	"\"peers\":[{\"name\":\"core\",\"publicKey\":\"" K2 "\",\"presharedKeyEnv\":\"PSK\","
	"\"endpoint\":\"[fd00::1]:51820\",\"allowedIps\":[\"fd42:1::/48\",\"10.42.0.0/16\"],"
	"\"persistentKeepaliveSecs\":25,\"required\":false,\"staleAfterSecs\":300,\"probeAddress\":"
	"\"10.42.0.1\",\"probeSecs\":3,"
	"\"presharedKeyPath\":null},"
	"{\"publicKey\":\"" K1 "\",\"presharedKeySecret\":\"a.psk\","
	"\"endpoint\":\"203.0.113.10:51820\",\"allowedIPs\":\"0.0.0.0/0\","
	"\"persistentKeepalive\":15}],"
	"\"nodes\":{\"other\":{\"listenPort\":1}}},"
	"\"b\":{\"privateKeyEnv\":\"KEY\",\"interface\":\"wg8\",\"table\":\"off\","
	"\"readiness\":\"any\",\"backend\":\"uapi\"}}}";

static const char as_model[] =
	"b enabled=1 wg8 mtu=0 port=0 key=|KEY| fwmark=0 table=4294967295 metric=0 backend=3 "
	"masq=0 clamp=1 fwd=0 ready=1/0 stale=180 probe=10 remove=0\n"
	"default enabled=1 wg7 mtu=1380 port=51820 endpoint=node.example.com port 51820 "
	"key=/etc/wireguard/private.key|| 10.100.0.2/24 fd42::2/64 10.100.1.2/32 fwmark=51820 "
	"table=1234 metric=50 backend=2 masq=1 clamp=0 fwd=1 guard except=10.42.0.53/32 "
	"except=fd42::/64 dns=10.100.0.1 dns=fd42::1 "
	"search=example.com search=svc. ready=2/1 stale=200 probe=7 remove=1\n"
	"  peer AQAAAAAA " K1 " psk=||a.psk endpoint=203.0.113.10:51820 port 51820 0.0.0.0/0 "
	"keepalive=15 required=0/1 stale=0\n"
	"  peer core " K2 " psk=|PSK| endpoint=[fd00::1]:51820 port 51820 10.42.0.0/16 "
	"fd42:1::/48 keepalive=25 required=1/0 stale=300 probe=10.42.0.1/3\n";

START_TEST(config_three_spellings)
{
	static const char *const texts[] = {as_toml, as_yaml, as_json};
	struct buf b = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		_cleanup_config_ struct config *c = read_as((enum config_format)i, texts[i], NULL);

		ck_assert_str_eq(dump(c, &b), as_model);
		ck_assert_uint_eq(c->n_sources, 1);
		ck_assert_ptr_eq(c->networks[0].source, c->sources[0]);
	}
	buf_free(&b);
}
END_TEST

/* In JSON too, though json-c has none. */
START_TEST(config_json_places)
{
	static const char text[] = "{\"network\":{\"a\":{\"peers\":[{\"publicKey\":\"" K1
				   "\",\"allowedIps\":[\"10.0.0.1/8\"]}]}}}";
	struct config_doc doc = {"t.json", CONFIG_JSON, text, strlen(text), false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	struct config *c = NULL;

	ck_assert_int_eq(config_read(&doc, 1, NULL, &c, &diags), -EINVAL);
	ck_assert_uint_eq(diags.n, 1);
	ck_assert_str_eq(
		diags.items[0].text,
		"t.json:1:101: network.a.peers[0].allowedIps[0]: found \"10.0.0.1/8\", which "
		"has bits set behind its prefix length, accepted: \"10.0.0.0/8\", if that "
		"was meant");
}
END_TEST

/* Findings about what was read before: their document, and its lines. */
START_TEST(config_places_afterwards)
{
	static const char one[] = "[network.b]\ninterface = 'wg1'\n";
	static const char two[] = "{\"network\":{\"a\":{\"peers\":[{\"publicKey\":\"" K1
				  "\",\"allowedIps\":[\"10.0.0.0/8\"]}]}}}";
	struct config_doc docs[] = {{"1.toml", CONFIG_TOML, one, sizeof(one) - 1, false},
				    {"2.json", CONFIG_JSON, two, sizeof(two) - 1, false}};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;

	ck_assert_int_eq(config_read(docs, 2, NULL, &c, &diags), 0);
	for (size_t i = 0; i < c->n_networks; i++)
		ck_assert_int_eq(config_diag_network(&diags, &c->networks[i], "found %d", 7), 0);
	ck_assert_int_eq(
		config_check_own_key(&c->networks[0], &c->networks[0].peers[0].public_key, &diags),
		-EINVAL);
	ck_assert_uint_eq(diags.n, 3);
	ck_assert_str_eq(diags.items[0].text, "2.json:1:13: network.a: found 7");
	ck_assert_str_eq(diags.items[1].text, "1.toml:1:10: network.b: found 7");
	ck_assert(str_starts(diags.items[2].text, "2.json:1:27: network.a.peers[\"AQAAAAAA\"]."));
	ck_assert_uint_eq(diags.items[0].doc, 1);
	ck_assert_uint_eq(diags.items[1].doc, 0);
	ck_assert_uint_eq(diags.items[2].doc, 1);
}
END_TEST

/* A document whose source was deleted: each network is kept or left out by itself, and one that is
 * left out does not stand in the way of the same in another document. */
START_TEST(config_source_gone)
{
	static const char old[] = "[network.keep]\n[network.a]\ninterface = 'wg1'\n"
				  "on_delete = 'remove'\naddress = '10.0.0.1/24'\n";
	static const char moved[] = "[network.a]\naddress = '10.0.0.2/24'\ninterface = 'wg1'\n";
	struct config_doc docs[] = {{"1.toml", CONFIG_TOML, old, sizeof(old) - 1, true},
				    {"2.toml", CONFIG_TOML, moved, sizeof(moved) - 1, false}};
	_cleanup_config_diags_ struct config_diags diags = {0};

	for (size_t n = 1; n <= 2; n++) {
		_cleanup_config_ struct config *c = NULL;

		ck_assert_int_eq(config_read(docs, n, NULL, &c, &diags), 0);
		ck_assert_uint_eq(c->n_networks, n);
		ck_assert_str_eq(c->networks[n - 1].name, "keep");
		ck_assert(n == 1 || c->networks[0].doc == 1);
	}
}
END_TEST

START_TEST(config_defaults)
{
	struct buf b = BUF_INIT(0);
	_cleanup_config_ struct config *c = read_as(CONFIG_TOML,
						    "[network.app]\n[network.a]\n"
						    "private_key_path = '/k'\n",
						    NULL);

	ck_assert_str_eq(
		dump(c, &b),
		"a enabled=1 wg0 mtu=0 port=0 key=/k|| fwmark=0 table=0 metric=0 backend=0 "
		"masq=0 clamp=1 fwd=0 ready=0/0 stale=180 probe=10 remove=0\n"
		"app enabled=0 wg0 mtu=0 port=0 fwmark=0 table=0 metric=0 backend=0 masq=0 "
		"clamp=1 fwd=0 ready=0/0 stale=180 probe=10 remove=0\n");
	buf_free(&b);
}
END_TEST

/* --- one node's differences --- */

static const char with_nodes[] =
	"[network.a]\naddress = '10.0.0.1/24'\naddresses = ['fd00::1/64']\nlisten_port = 1\n"
	"private_key_path = '/k'\n"
	"[[network.a.peers]]\nname = 'x'\npublic_key = '" K1 "'\nallowed_ips = ['10.1.0.0/16']\n"
	"preshared_key_path = '/psk'\nendpoint = 'x.example.com:1'\n"
	"[[network.a.peers]]\nname = 'y'\npublic_key = '" K2 "'\nallowed_ips = ['10.2.0.0/16']\n"
	"[network.a.nodes.'n1.example']\naddress = '10.0.0.9/24'\nlisten_port = 2\n"
	"private_key_secret = 'n1.key'\nendpoint = '192.0.2.1:2'\n"
	"[[network.a.nodes.'n1.example'.peers]]\npublic_key = '" K1 "'\n"
	"endpoint = '10.200.0.1:7'\npreshared_key_env = 'P'\n"
	"[[network.a.nodes.'n1.example'.peers]]\npublic_key = '" K3 "'\n"
	"allowed_ips = ['10.3.0.0/16']\n"
	"[network.a.nodes.'n2']\nenable_wireguard = false\n";

START_TEST(config_node_override)
{
	struct buf b = BUF_INIT(0);
	_cleanup_config_ struct config *plain = read_as(CONFIG_TOML, with_nodes, "n1");
	_cleanup_config_ struct config *n1 = read_as(CONFIG_TOML, with_nodes, "n1.example");
	_cleanup_config_ struct config *n2 = read_as(CONFIG_TOML, with_nodes, "n2");

	ck_assert_str_eq(dump(plain, &b),
			 "a enabled=1 wg0 mtu=0 port=1 key=/k|| 10.0.0.1/24 fd00::1/64 fwmark=0 "
			 "table=0 metric=0 backend=0 masq=0 clamp=1 fwd=0 ready=0/0 stale=180 "
			 "probe=10 remove=0\n"
			 "  peer x " K1 " psk=/psk|| endpoint=x.example.com port 1 10.1.0.0/16 "
			 "keepalive=0 required=0/0 stale=0\n"
			 "  peer y " K2 " 10.2.0.0/16 keepalive=0 required=0/0 stale=0\n");
	ck_assert_str_eq(dump(n1, &b),
			 "a enabled=1 wg0 mtu=0 port=2 endpoint=192.0.2.1:2 port 2 key=||n1.key "
			 "10.0.0.9/24 fwmark=0 table=0 metric=0 backend=0 masq=0 clamp=1 fwd=0 "
			 "ready=0/0 stale=180 probe=10 remove=0\n"
			 "  peer x " K1 " psk=|P| endpoint=10.200.0.1:7 port 7 10.1.0.0/16 "
			 "keepalive=0 required=0/0 stale=0\n"
			 "  peer y " K2 " 10.2.0.0/16 keepalive=0 required=0/0 stale=0\n"
			 "  peer AwAAAAAA " K3 " 10.3.0.0/16 keepalive=0 required=0/0 stale=0\n");
	ck_assert(!n2->networks[0].enabled);
	buf_free(&b);
}
END_TEST

/* A finding about what a node's table changed stands there. */
START_TEST(config_node_places)
{
	static const char text[] =
		"[network.a]\n[[network.a.peers]]\npublic_key = '" K1 "'\nallowed_ips = "
		"['10.1.0.0/16']\n[[network.a.peers]]\npublic_key = '" K2 "'\nallowed_ips = "
		"['10.2.0.0/16']\n[[network.a.nodes.n.peers]]\npublic_key = '" K2 "'\n"
		"allowed_ips = ['10.1.0.0/16']\n";
	struct config_doc doc = {"t", CONFIG_TOML, text, strlen(text), false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;

	ck_assert_int_eq(config_read(&doc, 1, "n", &c, &diags), -EINVAL);
	ck_assert_uint_eq(diags.n, 1);
	ck_assert_str_eq(
		diags.items[0].text,
		"t:10:16: network.a.nodes.n.peers[0].allowed_ips[0]: found 10.1.0.0/16, "
		"which peer \"AQAAAAAA\" has at t:4:16, accepted: each network for one peer");
	config_diags_clear(&diags);
	ck_assert_int_eq(config_read(&doc, 1, "m", &c, &diags), 0);
}
END_TEST

START_TEST(config_formats_by_name)
{
	static const struct {
		const char *name;
		int want;
	} cases[] = {{"a.toml", CONFIG_TOML}, {"/x/a.yaml", CONFIG_YAML}, {"a.yml", CONFIG_YAML},
		     {"a.json", CONFIG_JSON}, {"a.conf", -EINVAL},        {"toml", -EINVAL}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		enum config_format f = CONFIG_TOML;
		int r = config_format_of(cases[i].name, &f);

		ck_assert_int_eq(r < 0 ? r : (int)f, cases[i].want);
	}
}
END_TEST

/* --- size --- */

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Twice, the second time with the last peer's allowed IP and key those of the first. The bound
 * is loose for sanitizers; what is quadratic takes minutes. */
START_TEST(config_ten_thousand_peers)
{
	struct buf b = BUF_INIT(0);

	buf_adds(&b, "[network.a]\n");
	for (unsigned i = 0; i < 10000; i++) {
		struct key k = {{1, (uint8_t)(i >> 8), (uint8_t)i}};
		char text[KEY_BASE64];

		buf_addf(&b,
			 "[[network.a.peers]]\nname = 'peer-%u'\npublic_key = '%s'\n"
			 "allowed_ips = ['10.%u.%u.0/24', 'fd00:%x::/48']\n"
			 "[[network.a.nodes.n.peers]]\npublic_key = '%s'\n"
			 "persistent_keepalive_secs = 5\n",
			 i, key_to_base64(&k, text), i >> 8, i & 255, i + 1, text);
	}
	double start = cpu_seconds();
	_cleanup_config_ struct config *c = read_as(CONFIG_TOML, b.data, "n");
	ck_assert_double_lt(cpu_seconds() - start, 5);
	ck_assert_uint_eq(c->networks[0].n_peers, 10000);
	for (size_t i = 0; i < 10000; i++)
		ck_assert_uint_eq(c->networks[0].peers[i].keepalive, 5);

	struct key first = {{1}};
	char text[KEY_BASE64];
	buf_addf(&b, "[[network.a.peers]]\npublic_key = '%s'\nallowed_ips = ['10.0.0.0/24']\n",
		 key_to_base64(&first, text));
	struct config_doc doc = {"t", CONFIG_TOML, b.data, b.len, false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	struct config *bad = NULL;
	ck_assert_int_eq(config_read(&doc, 1, NULL, &bad, &diags), -EINVAL);
	ck_assert_uint_eq(diags.n_errors, 2);
	buf_free(&b);
}
END_TEST

/* --- keys --- */

static char dir[] = "/tmp/test_config.XXXXXX";

static const char *put(const char *name, const char *text, mode_t mode)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
	return path;
}

static int resolve(struct config_keyref ref, const struct config_secrets *secrets, struct err *e)
{
	_cleanup_secret_ struct key *k = NULL;
	char text[KEY_BASE64];
	int r;

	*e = (struct err){0};
	r = config_resolve_key(&ref, secrets, &k, e);
	ck_assert((k != NULL) == (r == 0));
	if (k)
		ck_assert_str_eq(key_to_base64(k, text), K2);
	return r;
}

START_TEST(config_key_files)
{
	struct err e;
	char link[64];

	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
#define FILE_REF(...) ((struct config_keyref){.path = (char *)put("k", __VA_ARGS__)})
	ck_assert_int_eq(resolve(FILE_REF(K2, 0600), NULL, &e), 0);
	ck_assert_int_eq(resolve(FILE_REF(" " K2 "\r\n", 0400), NULL, &e), 0);
	snprintf(link, sizeof(link), "%s/link", dir);
	ck_assert_int_eq(symlink("k", link), 0);
	ck_assert_int_eq(resolve((struct config_keyref){.path = link}, NULL, &e), 0);

	ck_assert_int_eq(resolve(FILE_REF(K2, 0644), NULL, &e), -EPERM);
	ck_assert(strstr(e.msg, "mode 0644, open to group or others") != NULL);
	ck_assert_int_eq(resolve(FILE_REF(K2, 0640), NULL, &e), -EPERM);
	ck_assert_int_eq(resolve(FILE_REF("", 0600), NULL, &e), -EINVAL);
	ck_assert(strstr(e.msg, "is empty") != NULL);
	ck_assert_int_eq(resolve(FILE_REF(K2 "\n" K2, 0600), NULL, &e), -EINVAL);
	ck_assert(strstr(e.msg, "89 characters") != NULL);
	ck_assert_ptr_null(strstr(e.msg, "AgAA"));
	ck_assert_int_eq(
		resolve(FILE_REF("zgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", 0600), NULL, &e),
		-EINVAL);
	ck_assert_ptr_null(strstr(e.msg, "zgAA"));
	ck_assert_int_eq(
		resolve(FILE_REF("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0600), NULL, &e),
		-EINVAL);
	ck_assert(strstr(e.msg, "all-zero") != NULL);

	struct buf big = BUF_INIT(0);
	for (int i = 0; i <= CONFIG_KEY_FILE_MAX; i++)
		buf_addc(&big, ' ');
	ck_assert_int_eq(resolve(FILE_REF(big.data, 0600), NULL, &e), -EINVAL);
	ck_assert(strstr(e.msg, "4097 bytes") != NULL);
	buf_free(&big);
	unlink(put("k", "", 0600));
	ck_assert_int_eq(resolve((struct config_keyref){.path = link}, NULL, &e), -ENOENT);
	ck_assert_int_eq(resolve((struct config_keyref){.path = dir}, NULL, &e), -EINVAL);
	unlink(link);
	ck_assert_int_eq(mkfifo(link, 0600), 0);
	ck_assert_int_eq(resolve((struct config_keyref){.path = link}, NULL, &e), -EINVAL);
	ck_assert(strstr(e.msg, "not a regular file") != NULL);
	unlink(link);
	rmdir(dir);
}
END_TEST

static int get_secret(void *arg, const char *name, const char **ret_text, size_t *ret_len,
		      struct err *e)
{
	if (!str_eq(name, "node.key"))
		return -ENOENT;
	*ret_text = K2 "\nbeyond";
	*ret_len = KEY_BASE64;
	return 0;
}

START_TEST(config_key_env_and_secret)
{
	struct config_secrets secrets = {get_secret, NULL};
	struct err e;

	setenv("TEST_CONFIG_KEY", K2, 1);
	ck_assert_int_eq(
		resolve((struct config_keyref){.env = (char *)"TEST_CONFIG_KEY"}, NULL, &e), 0);
	unsetenv("TEST_CONFIG_KEY");
	ck_assert_int_eq(
		resolve((struct config_keyref){.env = (char *)"TEST_CONFIG_KEY"}, NULL, &e),
		-ENOENT);
	ck_assert_str_eq(e.msg, "environment variable TEST_CONFIG_KEY is not set");
	ck_assert_int_eq(
		resolve((struct config_keyref){.secret = (char *)"node.key"}, &secrets, &e), 0);
	ck_assert_int_eq(resolve((struct config_keyref){.secret = (char *)"x"}, &secrets, &e),
			 -ENOENT);
	ck_assert_str_eq(e.msg, "the Secret has no entry x");
	ck_assert_int_eq(resolve((struct config_keyref){.secret = (char *)"node.key"}, NULL, &e),
			 -ENOENT);
}
END_TEST

/* All of a network's keys; every failure is told, with the reference's place. */
START_TEST(config_keys_of_a_network)
{
	_cleanup_config_ struct config *c =
		read_as(CONFIG_TOML,
			"[network.a]\nprivate_key_env = 'TC_OWN'\n"
			"[[network.a.peers]]\nname = 'x'\npublic_key = '" K2 "'\n"
			"allowed_ips = []\npreshared_key_env = 'TC_X'\n"
			"[[network.a.peers]]\npublic_key = '" K1 "'\nallowed_ips = []\n"
			"[[network.a.peers]]\npublic_key = '" K3 "'\nallowed_ips = []\n"
			"preshared_key_secret = 'none'\n",
			NULL);
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_keys_ struct config_keys keys = {0};
	struct config_secrets secrets = {get_secret, NULL};
	struct key own = {{2}}, other = {{9}};

	unsetenv("TC_OWN");
	unsetenv("TC_X");
	ck_assert_int_eq(config_resolve_keys(&c->networks[0], &secrets, &keys, &diags), -EINVAL);
	ck_assert_uint_eq(diags.n, 3);
	ck_assert_str_eq(diags.items[0].text, "t.toml:2:19: network.a.private_key_env: environment "
					      "variable TC_OWN is not set");
	ck_assert_str_eq(diags.items[1].text,
			 "t.toml:7:21: network.a.peers[\"x\"].preshared_key_env: "
			 "environment variable TC_X is not set");
	ck_assert_str_eq(diags.items[2].text,
			 "t.toml:14:24: network.a.peers[\"AwAAAAAA\"].preshared_key_secret: the "
			 "Secret has no entry none");
	ck_assert_ptr_null(keys.preshared);

	config_diags_clear(&diags);
	free(c->networks[0].peers[2].preshared.secret);
	c->networks[0].peers[2].preshared.secret = NULL;
	setenv("TC_OWN", K2, 1);
	setenv("TC_X", K3, 1);
	ck_assert_int_eq(config_resolve_keys(&c->networks[0], &secrets, &keys, &diags), 0);
	ck_assert(key_eq(keys.private_key, &own));
	ck_assert_uint_eq(keys.n_preshared, 3);
	ck_assert_ptr_null(keys.preshared[0]); /* sorted by public key */
	ck_assert_uint_eq(keys.preshared[1]->b[0], 3);

	ck_assert_int_eq(config_check_own_key(&c->networks[0], &other, &diags), 0);
	ck_assert_int_eq(config_check_own_key(&c->networks[0], &own, &diags), -EINVAL);
	ck_assert_str_eq(diags.items[0].text,
			 "t.toml:3:1: network.a.peers[\"x\"].public_key: found this node's own "
			 "public key, accepted: the keys of other nodes");
}
END_TEST

/* --- docs/configuration.md lists exactly the model's keys --- */

/* A heading that names a table of keys in backquotes, such as "### Peers: `network.*.peers[]`",
 * begins a group; a row "| `key` | …" below it is a key. "" where all is well. */
static void check_doc(const char *doc, struct buf *wrong)
{
	const char *const *known = config_key_names();
	char prefix[64] = "", name[160];
	bool listed[128] = {false};

	for (const char *line = doc; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		const char *open = strchr(line, '`'), *end = strchrnul(line, '\n');
		size_t n = open && open < end ? strcspn(open + 1, "`\n") : 0, i;

		if (line[0] == '#') {
			prefix[0] = '\0';
			if (n && str_starts(open + 1, "network.*"))
				snprintf(prefix, sizeof(prefix), "%.*s", (int)n, open + 1);
			continue;
		}
		if (!prefix[0] || !str_starts(line, "| `"))
			continue;
		snprintf(name, sizeof(name), "%s.%.*s", prefix, (int)n, open + 1);
		for (i = 0; known[i] && !str_eq(known[i], name); i++)
			;
		if (!known[i])
			buf_addf(wrong, "%s: documented, but not a key\n", name);
		else if (listed[i])
			buf_addf(wrong, "%s: documented twice\n", name);
		listed[i] = true;
	}
	for (size_t i = 0; known[i]; i++)
		if (!listed[i])
			buf_addf(wrong, "%s: not documented\n", known[i]);
}

/* The whole of a file, as text. */
static void read_text(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "r");

	ck_assert_msg(f != NULL, "%s: run from the top of the tree", path);
	text[fread(text, 1, size - 1, f)] = '\0';
	fclose(f);
}

/* The manual page is shorter: every key's own name stands in it. */
START_TEST(config_manual_page)
{
	static char page[1 << 16];

	read_text("docs/man/harmony-agent.toml.5", page, sizeof(page));
	for (const char *const *name = config_key_names(); *name; name++) {
		char item[64];

		if (str_starts(*name, "network.*.nodes.*"))
			continue;
		/* ".It Ic NAME" or further in a list of names */
		snprintf(item, sizeof(item), " %s ", strrchr(*name, '.') + 1);
		if (!str_ends(*name, ".peers") && !str_ends(*name, ".nodes") &&
		    !str_ends(*name, ".http"))
			ck_assert_msg(strstr(page, item) != NULL, "%s is not in the page", *name);
	}
}
END_TEST

START_TEST(config_documentation)
{
	static char doc[1 << 17];
	struct buf wrong = BUF_INIT(0);
	char *row;

	read_text("docs/configuration.md", doc, sizeof(doc));
	check_doc(doc, &wrong);
	ck_assert_str_eq(buf_str(&wrong), "");

	/* The check itself: a key renamed in the document is found twice over. */
	row = strstr(doc, "| `dns_search` |");
	ck_assert_ptr_nonnull(row);
	row[3] = 'x';
	check_doc(doc, &wrong);
	ck_assert_str_eq(buf_str(&wrong), "network.*.xns_search: documented, but not a key\n"
					  "network.*.dns_search: not documented\n");
	buf_free(&wrong);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("config", config_three_spellings, config_json_places,
			  config_places_afterwards, config_source_gone, config_defaults,
			  config_node_override, config_node_places, config_formats_by_name,
			  config_ten_thousand_peers, config_key_files, config_key_env_and_secret,
			  config_keys_of_a_network, config_manual_page, config_documentation);
}

UNIT_MAIN(suite)
