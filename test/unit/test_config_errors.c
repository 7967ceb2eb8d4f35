/*
 * lib/config: what is wrong with a network, as a table of documents and the whole of what is said
 * about each. Columns and lines are part of it.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/model.h"

#define K1 "\"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""
#define K2 "\"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""
#define K3 "\"AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""

#define NET   "[network.a]\naddress = \"10.0.0.1/24\"\n"
#define PEER  "[[network.a.peers]]\npublic_key = " K1 "\n"
#define ALLOW "allowed_ips = [\"10.9.0.0/16\"]\n"

/* Two networks with the same allowed IPs, each with a line of its own. */
#define ROUTES(a, b, ip)                                                                           \
	"[network.a]\n" a "\n[[network.a.peers]]\npublic_key = " K1 "\nallowed_ips = '" ip "'\n"   \
	"[network.b]\ninterface = 'wg1'\n" b "\n[[network.b.peers]]\npublic_key = " K2             \
	"\nallowed_ips = '" ip "'\n"
#define CLASH(ip, apart)                                                                           \
	"error: t:11:15: network.b.peers[0].allowed_ips: found " ip ", which network a routes "    \
	"too (t:5:15), accepted: "                                                                 \
	"each route once; or another " apart " for one of the networks\n"

static const struct {
	const char *doc, *want;
} cases[] = {
	/* Numbers and words */
	{NET "mtu = 10\n", "error: t:3:7: network.a.mtu: found 10, accepted: 0 or 576 to 65535\n"},
	{NET "mtu = 1400.0\n",
	 "error: t:3:7: network.a.mtu: found 1400 (a number with a fraction or exponent), "
	 "accepted: 0 or 576 to 65535\n"},
	{NET "mtu = -1\n", "error: t:3:7: network.a.mtu: found -1, accepted: 0 or 576 to 65535\n"},
	{NET "listen_port = 65536\n",
	 "error: t:3:15: network.a.listen_port: found 65536, accepted: 0 to 65535\n"},
	{NET "listen_port = \"51820\"\n",
	 "error: t:3:15: network.a.listen_port: found \"51820\", accepted: 0 to 65535\n"},
	{NET "fwmark = 4294967296\n",
	 "error: t:3:10: network.a.fwmark: found 4294967296, accepted: 0 to 4294967295\n"},
	{NET "table = 255\n", "error: t:3:9: network.a.table: found 255, accepted: \"auto\", "
			      "\"off\", or 1 to 4294967294 "
			      "(255 is the kernel's own)\n"},
	{NET "table = 4294967295\n",
	 "error: t:3:9: network.a.table: found 4294967295, accepted: \"auto\", \"off\", or 1 to "
	 "4294967294 (255 is the kernel's own)\n"},
	/* DESIGN's fifth, which is of a program that is still to come. */
	{NET "backend = \"netstack\"\n",
	 "error: t:3:11: network.a.backend: found \"netstack\", accepted: \"auto\", \"kernel\", "
	 "\"userspace\", \"uapi\"\n"},
	{NET "backend = \"kernal\"\n",
	 "error: t:3:11: network.a.backend: found \"kernal\", accepted: \"auto\", \"kernel\", "
	 "\"userspace\", \"uapi\"\n"},
	{NET "on_delete = true\n",
	 "error: t:3:13: network.a.on_delete: found true, accepted: \"keep\", \"remove\"\n"},
	{NET "masquerade = 1\n",
	 "error: t:3:14: network.a.masquerade: found 1, accepted: true or false\n"},
	{NET "stale_after_secs = 0\n",
	 "error: t:3:20: network.a.stale_after_secs: found 0, accepted: 1 to 604800\n"},
	{NET "probe_secs = 0\n",
	 "error: t:3:14: network.a.probe_secs: found 0, accepted: 1 to 3600\n"},
	{NET PEER ALLOW "probe_address = \"10.8.0.1\"\n",
	 "error: t:6:17: network.a.peers[0].probe_address: found 10.8.0.1, accepted: an address "
	 "inside the peer's allowed_ips\n"},
	{NET PEER ALLOW "probe_address = \"gw.example.com\"\n",
	 "error: t:6:17: network.a.peers[0].probe_address: found \"gw.example.com\", accepted: an "
	 "IP "
	 "address such as \"10.100.0.1\"\n"},
	{NET PEER "allowed_ips = [\"fd00::/64\"]\nprobe_address = \"fd00::1\"\n",
	 "warning: t:6:17: network.a.peers[0].probe_address: found fd00::1, but the network has no "
	 "address of that family: nothing can be sent there\n"},
	{NET "readiness = 0\n",
	 "error: t:3:13: network.a.readiness: found 0, accepted: \"all\", \"any\", or how many "
	 "required peers must be up\n"},
	{NET "enable_wireguard = \"a\\u0000b\"\n",
	 "error: t:3:20: network.a.enable_wireguard: found \"a\\x00b\", accepted: true or false\n"},
	{PEER ALLOW "persistent_keepalive_secs = 65536\n",
	 "error: t:4:29: network.a.peers[0].persistent_keepalive_secs: found 65536, accepted: 0 to "
	 "65535\n"},

	/* Names */
	{NET "interface = \"wg/0\"\n",
	 "error: t:3:13: network.a.interface: found \"wg/0\", accepted: 1 to 15 characters without "
	 "space, '/', ':', '%', '\"' and '\\'; not \"lo\", \"all\", \"default\"\n"},
	{NET "interface = \"abcdefghijklmnop\"\n",
	 "error: t:3:13: network.a.interface: found \"abcdefghijklmnop\", accepted: 1 to 15 "
	 "characters without space, '/', ':', '%', '\"' and '\\'; not \"lo\", \"all\", "
	 "\"default\"\n"},
	{NET "interface = 'a\"b'\n",
	 "error: t:3:13: network.a.interface: found \"a\\\"b\", accepted: 1 to 15 characters "
	 "without space, '/', ':', '%', '\"' and '\\'; not \"lo\", \"all\", \"default\"\n"},
	{NET "interface = \"it's\"\n", ""},
	{PEER ALLOW "name = \"\"\n",
	 "error: t:4:8: network.a.peers[0].name: found \"\", accepted: 1 to 128 bytes without "
	 "control characters\n"},
	{"[network.\"../x\"]\n",
	 "error: t:1:10: network.\"../x\": found the name \"../x\", accepted: 1 to 63 letters, "
	 "digits, '-', '_', '.', beginning with a letter, a digit or '_'\n"},

	/* Addresses */
	{"[network.a]\naddress = \"10.0.0.1/33\"\n",
	 "error: t:2:11: network.a.address: found \"10.0.0.1/33\", accepted: an address of this "
	 "node with its prefix length, such as \"10.100.0.2/24\" or \"fd42::2/64\"\n"},
	{NET "addresses = [\"10.0.0.1/24\"]\n",
	 "error: t:3:14: network.a.addresses[0]: found 10.0.0.1 a second time, accepted: each "
	 "address once\n"},
	{NET "dns = [\"ns.example.com\"]\n",
	 "error: t:3:8: network.a.dns[0]: found \"ns.example.com\", accepted: the address of a "
	 "name server, such as \"10.100.0.2\"; domains go to dns_search\n"},
	{NET "dns_search = [\"a..b\"]\n",
	 "error: t:3:15: network.a.dns_search[0]: found \"a..b\", accepted: a domain such as "
	 "\"svc.example.com\"\n"},
	{"[network.a]\naddress = \"fd00::1/64\"\nmtu = 1279\n",
	 "error: t:3:7: network.a.mtu: found 1279 with an IPv6 address, accepted: 1280 to "
	 "65535\n"},
	{PEER "allowed_ips = [\"10.42.0.1/16\"]\n",
	 "error: t:3:16: network.a.peers[0].allowed_ips[0]: found \"10.42.0.1/16\", which has bits "
	 "set behind its prefix length, accepted: \"10.42.0.0/16\", if that was meant\n"},
	{PEER "allowed_ips = [\"10.42.0.0/16\", \"x\"]\n",
	 "error: t:3:32: network.a.peers[0].allowed_ips[1]: found \"x\", accepted: a network such "
	 "as \"10.42.0.0/16\" or \"fd42:1::/48\"\n"},
	{PEER "allowed_ips = [\"10.42.0.0/16\", \"10.42.0.0/16\"]\n",
	 "warning: t:3:32: network.a.peers[0].allowed_ips[1]: found 10.42.0.0/16 a second time\n"},
	{PEER, "warning: t:1:1: network.a.peers[0]: found no allowed_ips: nothing can be sent to "
	       "this peer, and nothing from it is accepted\n"},

	/* Endpoints */
	{PEER ALLOW "endpoint = \"2001:db8::1:51820\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"2001:db8::1:51820\", an IPv6 address "
	 "without brackets, accepted: \"[2001:db8::1]:51820\"\n"},
	{PEER ALLOW "endpoint = \"2001:db8:1::ab\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"2001:db8:1::ab\", an IPv6 address "
	 "without brackets, accepted: \"[2001:db8:1::ab]:PORT\"\n"},
	{PEER ALLOW "endpoint = \"gw.example.com\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"gw.example.com\" without a port, "
	 "accepted: the same and \":PORT\"\n"},
	{PEER ALLOW "endpoint = \"192.0.2.1\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"192.0.2.1\" without a port, "
	 "accepted: the same and \":PORT\"\n"},
	{PEER ALLOW "endpoint = \"300.0.2.1:51820\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"300.0.2.1:51820\", accepted: "
	 "\"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"NAME:PORT\", such as \"gw.example.com:51820\"\n"},
	{PEER ALLOW "endpoint = \"0.0.0.0:51820\"\n",
	 "error: t:4:12: network.a.peers[0].endpoint: found \"0.0.0.0:51820\", accepted: "
	 "\"ADDRESS:PORT\", \"[IPV6]:PORT\" or \"NAME:PORT\", such as \"gw.example.com:51820\"\n"},
	{PEER ALLOW "endpoint = \"10.9.0.1:51820\"\n",
	 "warning: t:4:12: network.a.peers[0].endpoint: found 10.9.0.1, which lies inside the "
	 "peer's own allowed_ips 10.9.0.0/16: the tunnel's packets would be routed into the "
	 "tunnel\n"},

	/* Keys: never shown */
	{"[[network.a.peers]]\n" ALLOW
	 "public_key = \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw\"\n",
	 "error: t:3:14: network.a.peers[0].public_key: found 40 characters that are not a key "
	 "(not shown), accepted: a public key: 44 characters of base64, the last one '='\n"},
	{"[[network.a.peers]]\n" ALLOW,
	 "error: t:1:1: network.a.peers[0]: found no public_key, accepted: public_key = \"44 "
	 "characters of base64\" in every peer\n"},
	{"[[network.a.peers]]\n" ALLOW
	 "public_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n",
	 "error: t:3:14: network.a.peers[0].public_key: found the all-zero key, accepted: a peer's "
	 "public key\n"},
	{NET "private_key = " K2 "\n",
	 "error: t:3:1: network.a.private_key: found a key in the configuration, accepted: "
	 "private_key_path, private_key_env or private_key_secret, which say where it is\n"},
	{NET "private_key_path = " K2 "\n",
	 "error: t:3:20: network.a.private_key_path: found a key itself (not shown), accepted: "
	 "where to find it; keys do not stand in the configuration\n"},
	{NET "private_key_path = \"key\"\n", "error: t:3:20: network.a.private_key_path: found "
					     "\"key\", accepted: an absolute path without "
					     "control characters\n"},
	{NET "private_key_path = \"/k\\n\"\n",
	 "error: t:3:20: network.a.private_key_path: found \"/k\\x0a\", accepted: an absolute path "
	 "without control characters\n"},
	{NET "private_key_env = \"A B\"\n",
	 "error: t:3:19: network.a.private_key_env: found \"A B\", accepted: the name of an "
	 "environment variable\n"},
	{NET "private_key_secret = \"a/b\"\n",
	 "error: t:3:22: network.a.private_key_secret: found \"a/b\", accepted: the name of an "
	 "entry in the Secret (letters, digits, '-', '_', '.')\n"},
	{NET "private_key_path = \"/k\"\nprivate_key_env = \"K\"\n",
	 "error: t:4:19: network.a.private_key_env: found a second place for the same key, "
	 "accepted: one of …_path, …_env, …_secret\n"},
	{NET "interface = " K2 "\n",
	 "error: t:3:13: network.a.interface: found 44 characters that may be a key (not shown), "
	 "accepted: 1 to 15 characters without space, '/', ':', '%', '\"' and '\\'; not \"lo\", "
	 "\"all\", \"default\"\n"},

	/* Unknown keys and wrong places */
	{NET "listenport = 1\n",
	 "warning: t:3:1: network.a.listenport: unknown key, ignored; did you mean listen_port?\n"},
	{NET "ListenPrt = 1\n",
	 "warning: t:3:1: network.a.ListenPrt: unknown key, ignored; did you mean listen_port?\n"},
	{NET "colour = 1\n", "warning: t:3:1: network.a.colour: unknown key, ignored\n"},
	{PEER ALLOW "allowedips = 1\n", "warning: t:4:1: network.a.peers[0].allowedips: unknown "
					"key, ignored; did you mean allowed_ips?\n"},
	{NET "listen_port = 1\nlistenPort = 2\n",
	 "error: t:4:1: network.a.listenPort: found another spelling of listen_port, which is "
	 "there already, accepted: one of them\n"},
	{"[[network.peers]]\npublic_key = " K1 "\n",
	 "error: t:1:11: network.peers: found peers without a network, accepted: "
	 "[[network.NAME.peers]], such as [[network.default.peers]]\n"},
	{"[network]\ninterface = \"wg0\"\n",
	 "error: t:2:1: network.interface: found a key without a network, accepted: in "
	 "[network.NAME], such as [network.default]\n"},
	{"[[network]]\ninterface = \"wg0\"\n",
	 "error: t:1:3: network: found a value of type array, "
	 "accepted: a table of networks, [network.NAME]\n"},
	{"[network.a.peers]\npublic_key = " K1 "\n",
	 "error: t:1:12: network.a.peers: found a value of type table, accepted: a list of tables, "
	 "in TOML [[network.NAME.peers]] with two brackets\n"},
	{"[networks.a]\nenable_wireguard = true\n", "error: t:1:2: networks: found networks under "
						    "this name, accepted: [network.NAME]\n"},
	{"[Network.a]\nenable_wireguard = true\n", "error: t:1:2: Network: found networks under "
						   "this name, accepted: [network.NAME]\n"},
	{"[proxy]\nport = 1\n",
	 "warning: t:1:1: found no `network`: nothing is wanted by this document\n"},
	{NET "[network.a.nodes.b]\nnodes = 1\n",
	 "warning: t:4:1: network.a.nodes.b.nodes: unknown key, ignored\n"},
	{NET "[network.a.nodes.b]\nlisten_port = -1\n",
	 "error: t:4:15: network.a.nodes.b.listen_port: found -1, accepted: 0 to 65535\n"},

	/* Between values */
	{PEER ALLOW "name = \"x\"\n[[network.a.peers]]\nallowed_ips = []\npublic_key = " K1 "\n",
	 "error: t:7:14: network.a.peers[1].public_key: found the public key of peer \"x\" at "
	 "t:2:14, accepted: each key once in a network\n"},
	{PEER ALLOW "name = \"x\"\n[[network.a.peers]]\n" ALLOW "public_key = " K2 "\n",
	 "error: t:6:16: network.a.peers[1].allowed_ips[0]: found 10.9.0.0/16, which peer \"x\" "
	 "has "
	 "at t:3:16, accepted: each network for one peer\n"},
	{PEER ALLOW
	 "name = \"x\"\n[[network.a.peers]]\nallowed_ips = []\nname = \"x\"\npublic_key = " K2 "\n",
	 "warning: t:7:8: network.a.peers[1].name: found \"x\", which is another peer's name too "
	 "(t:4:8); status and logs cannot tell them apart\n"},
	{"[network.a]\nreadiness = 2\n" PEER ALLOW "required = true\n[[network.a.peers]]\n"
	 "allowed_ips = []\npublic_key = " K2 "\n",
	 "error: t:2:13: network.a.readiness: found 2, but 1 peers count for readiness, accepted: "
	 "at most that many (a peer counts with required = true, or with a keepalive)\n"},
	{NET "[network.b]\naddress = \"10.1.0.1/24\"\n",
	 "error: t:3:10: network.b.interface: found \"wg0\" (the default), which network a has too "
	 "(t:1:10), accepted: an interface of its own for each network\n"},
	{NET "listen_port = 7\n[network.b]\ninterface = \"wg1\"\naddress = \"10.1.0.1/24\"\n"
	     "listen_port = 7\n",
	 "error: t:7:15: network.b.listen_port: found 7, which network a has too (t:3:15), "
	 "accepted: a port of its own for each network, or 0\n"},
	{PEER ALLOW "[network.b]\ninterface = \"wg1\"\n[[network.b.peers]]\npublic_key = " K2
		    "\n" ALLOW,
	 "error: t:8:16: network.b.peers[0].allowed_ips[0]: found 10.9.0.0/16, which network a "
	 "routes too (t:3:16), accepted: each route once; or another table or metric for one of "
	 "the networks\n"},
	/* Routes as they are made: "auto" is 254, IPv6's metric 0 is 1024, a default route's table
	 * is its mark */
	{ROUTES("", "table = 254", "10.9.0.0/16"), CLASH("10.9.0.0/16", "table or metric")},
	{ROUTES("metric = 1024", "", "fd00::/64"), CLASH("fd00::/64", "table or metric")},
	{ROUTES("", "", "0.0.0.0/0"), CLASH("0.0.0.0/0", "fwmark")},
	{ROUTES("", "fwmark = 51820", "::/0"), CLASH("::/0", "fwmark")},
	{ROUTES("fwmark = 7", "table = 7", "::/0"), CLASH("::/0", "table or metric")},
	{ROUTES("", "fwmark = 7", "0.0.0.0/0"), ""},
	{ROUTES("", "table = 254", "0.0.0.0/0"), ""},
	{ROUTES("metric = 1024", "", "10.9.0.0/16"), ""},
	{ROUTES("table = 254", "metric = 1", "fd00::/64"), ""},

	/* Not an error */
	{NET, ""},
	{"", "warning: t:1:1: found no `network`: nothing is wanted by this document\n"},
	{"[other]\nx = 1\n" NET "[network.a.http]\nbind_port = 8081\n", ""},
	{"[network.app.http]\nbind_port = 1\n[network.app2.http]\nbind_port = 2\n", ""},
	{"[network.a]\nenable_wireguard = false\nlisten_port = 1\n[network.b]\nlisten_port = 1\n"
	 "private_key_path = \"/k\"\n",
	 ""},
	{PEER ALLOW "[network.b]\ninterface = \"wg1\"\nmetric = 5\n[[network.b.peers]]\n"
		    "public_key = " K1 "\n" ALLOW,
	 ""},
	{PEER "allowed_ips = [\"0.0.0.0/0\", \"::/0\"]\nendpoint = \"192.0.2.1:51820\"\n", ""},
	{NET "[network.a.nodes.\"other.example\"]\nlisten_port = 5\n", ""},
};

static const char *diags_of(const char *text, struct buf *b)
{
	struct config_doc doc = {"t", CONFIG_TOML, text, strlen(text), false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;
	int r = config_read(&doc, 1, NULL, &c, &diags);

	ck_assert_int_eq(r, diags.n_errors ? -EINVAL : 0);
	ck_assert((c != NULL) == (r == 0));
	buf_reset(b);
	config_diags_write(&diags, b);
	return buf_str(b);
}

START_TEST(config_errors_table)
{
	struct buf b = BUF_INIT(0);
	bool bad = false;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *got = diags_of(cases[i].doc, &b);

		if (str_eq(got, cases[i].want))
			continue;
		printf("# of\n%s# said\n%s# wanted\n%s\n", cases[i].doc, got, cases[i].want);
		bad = true;
	}
	buf_free(&b);
	ck_assert(!bad);
}
END_TEST

/* All of a document's slips at once, in its order. */
START_TEST(config_errors_all_at_once)
{
	struct buf b = BUF_INIT(0);

	ck_assert_str_eq(
		diags_of("[network.a]\nmtu = 1\ncolour = 1\n" PEER
			 "allowed_ips = [\"10.0.0.1/8\"]\n"
			 "[[network.b.peers]]\npublic_key = 1\nallowed_ips = [\"x\"]\n",
			 &b),
		"error: t:2:7: network.a.mtu: found 1, accepted: 0 or 576 to 65535\n"
		"warning: t:3:1: network.a.colour: unknown key, ignored\n"
		"error: t:6:16: network.a.peers[0].allowed_ips[0]: found \"10.0.0.1/8\", which has "
		"bits set behind its prefix length, accepted: \"10.0.0.0/8\", if that was meant\n"
		"error: t:7:11: network.b.interface: found \"wg0\" (the default), which network a "
		"has too (t:1:10), accepted: an interface of its own for each network\n"
		"error: t:8:14: network.b.peers[0].public_key: found 1, accepted: a public key: 44 "
		"characters of base64\n"
		"error: t:9:16: network.b.peers[0].allowed_ips[0]: found \"x\", accepted: a "
		"network "
		"such as \"10.42.0.0/16\" or \"fd42:1::/48\"\n");
	buf_free(&b);
}
END_TEST

/* Of all documents, syntax included; the same network in two of them. */
START_TEST(config_errors_of_all_documents)
{
	static const char one[] = NET, two[] = "[network.a]\naddress = \"10.0.0.9/24\"\n",
			  three[] = "x = = 1\n";
	struct config_doc docs[] = {{"1.toml", CONFIG_TOML, one, sizeof(one) - 1, false},
				    {"2.toml", CONFIG_TOML, two, sizeof(two) - 1, false},
				    {"3.toml", CONFIG_TOML, three, sizeof(three) - 1, false}};
	_cleanup_config_diags_ struct config_diags diags = {0};
	struct config *c = NULL;

	ck_assert_int_eq(config_read(docs, 3, NULL, &c, &diags), -EINVAL);
	ck_assert_ptr_null(c);
	ck_assert_uint_eq(diags.n, 2);
	ck_assert_str_eq(
		diags.items[0].text,
		"2.toml:1:10: network.a: found a second network of this name (the first at "
		"1.toml:1:10), accepted: each name once in all documents");
	ck_assert(str_starts(diags.items[1].text, "3.toml:1:5: "));
}
END_TEST

/* Errors are kept when warnings have filled their share, and counted beyond the bound. */
START_TEST(config_errors_bounded)
{
	struct buf doc = BUF_INIT(0), b = BUF_INIT(0);

	buf_adds(&doc, NET);
	for (int i = 0; i < 300; i++)
		buf_addf(&doc, "unknown%d = 1\n", i);
	buf_adds(&doc, "dns = [");
	for (int i = 0; i < 300; i++)
		buf_addf(&doc, "%d,", i);
	buf_adds(&doc, "]\n");

	struct config_doc d = {"t", CONFIG_TOML, doc.data, doc.len, false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	struct config *c = NULL;
	ck_assert_int_eq(config_read(&d, 1, NULL, &c, &diags), -EINVAL);
	ck_assert_uint_eq(diags.n, CONFIG_MAX_DIAGS);
	ck_assert_uint_eq(diags.n_errors, 300);
	ck_assert_uint_eq(diags.n_warnings, 300);
	ck_assert(diags.truncated);
	config_diags_write(&diags, &b);
	ck_assert(str_ends(buf_str(&b), "and 500 more\n"));
	ck_assert(strstr(buf_str(&b), "error: ") != NULL);
	buf_free(&b);
	buf_free(&doc);
}
END_TEST

/* A key that was put into any string of the model is never repeated, whole or in part. */
START_TEST(config_errors_never_show_keys)
{
	static const char secret[] = "QNc7Zs0HkyWm3bVg1oTqLx5Ej8RdPf2Au6BiSh9KwXY=";
	static const char *const keys[] = {"enable_wireguard",
					   "interface",
					   "address",
					   "mtu",
					   "endpoint",
					   "private_key",
					   "private_key_path",
					   "private_key_env",
					   "private_key_secret",
					   "table",
					   "dns",
					   "dns_search",
					   "backend",
					   "readiness",
					   "on_delete",
					   "peers",
					   "nodes",
					   "unknown",
					   "privateKey",
					   "presharedKey"};
	struct buf b = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		for (int cut = 0; cut < 4; cut++) {
			char doc[256];
			const char *got;

			snprintf(doc, sizeof(doc), "[network.a]\n%s = \"%.*s\"\n", keys[i],
				 44 - cut, secret);
			got = diags_of(doc, &b);
			for (size_t at = 0; at + 6 <= strlen(secret); at++) {
				char part[7] = {0};

				memcpy(part, secret + at, 6);
				ck_assert_msg(!strstr(got, part), "%s: %s", keys[i], got);
			}
		}
	}
	buf_free(&b);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("config_errors", config_errors_table, config_errors_all_at_once,
			  config_errors_of_all_documents, config_errors_bounded,
			  config_errors_never_show_keys);
}

UNIT_MAIN(suite)
