/*
 * lib/agent's wanted: documents and keys, whole or not at all; keys that are generated once.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/desired.h"
#include "agent/wanted.h"
#include "config/amend.h"
#include "base/buf.h"
#include "base/str.h"
#include "crypto/crypto.h"
#include "fault.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
#define KEY_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="
#define KEY_C "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM="

static char dir[64], state[96];
static struct config_diags diags;

static void setup(void)
{
	crypto_init();
	strcpy(dir, "/tmp/hm-wanted-XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(state, sizeof(state), "%s/state", dir);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
	config_diags_clear(&diags);
}

static void put(const char *name, const char *text, mode_t mode)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	chmod(path, mode);
}

static const char *only; /* network */

/* '@' in the text stands for the directory. */
static void expand(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == '@')
			buf_adds(b, dir);
		else
			buf_addc(b, *text);
	}
}

/* As whoever puts it in force: nothing in *ret where anything is wrong. */
static int load(const char *text, bool dry, struct agent_wanted **ret)
{
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct agent_wanted_env env = {.state_dir = state, .only = only};

	expand(&b, text);
	struct config_doc doc = {"t.toml", CONFIG_TOML, buf_str(&b), b.len, false};
	config_diags_clear(&diags);
	int r = agent_wanted_read(&doc, 1, &env, dry, &w, &diags);
	if (r == 0 && diags.n_errors)
		r = -EINVAL;
	if (r == 0)
		*ret = mem_steal(&w);
	return r;
}

static const struct agent_wanted_env keys_env = {.state_dir = state};

static const char *findings(void)
{
	static char out[4096];
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	config_diags_write(&diags, &b);
	snprintf(out, sizeof(out), "%s", buf_str(&b));
	return out;
}

#define NET                                                                                        \
	"[network.n]\n"                                                                            \
	"address = '10.0.0.1/24'\n"
#define PEER(key)                                                                                  \
	"[[network.n.peers]]\n"                                                                    \
	"public_key = '" key "'\n"                                                                 \
	"allowed_ips = ['10.1.0.0/24']\n"

START_TEST(test_key_is_generated_once)
{
	struct agent_wanted *a = NULL, *b = NULL;
	char path[128];
	struct stat st;

	ck_assert_msg(load(NET PEER(KEY_A), false, &a) == 0, "%s", findings());
	ck_assert(a->networks[0].generated);
	ck_assert(!key_is_zero(&a->networks[0].public_key));
	snprintf(path, sizeof(path), "%s/n.key", state);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(st.st_size, 45);
	ck_assert_int_eq(stat(state, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(load(NET PEER(KEY_A), false, &b), 0);
	ck_assert(key_eq(&a->networks[0].public_key, &b->networks[0].public_key));
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 1);
	/* Clamped, as a private key of X25519 is. */
	const uint8_t *k = a->networks[0].keys.private_key->b;
	ck_assert_uint_eq(k[0] & 7, 0);
	ck_assert_uint_eq(k[31] & 0xc0, 0x40);
	agent_wanted_free(a);
	agent_wanted_free(b);
}
END_TEST

START_TEST(test_dry_run_generates_nothing)
{
	struct agent_wanted *w = NULL;

	ck_assert_int_eq(load(NET PEER(KEY_A), true, &w), 0);
	ck_assert(key_is_zero(w->networks[0].keys.private_key));
	ck_assert_int_eq(access(state, F_OK), -1);
	agent_wanted_free(w);
}
END_TEST

/* Eight at once: one key, and no other file. */
START_TEST(test_race)
{
	struct key keys[8];
	pid_t pids[8];
	int fds[2];
	char command[160];

	ck_assert_int_eq(pipe(fds), 0);
	for (size_t i = 0; i < 8; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct agent_wanted *w = NULL;

			if (load(NET PEER(KEY_A), false, &w) < 0)
				_exit(1);
			_exit(write(fds[1], &w->networks[0].public_key, KEY_LEN) != KEY_LEN);
		}
	}
	for (size_t i = 0; i < 8; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(read(fds[0], &keys[i], KEY_LEN), KEY_LEN);
		ck_assert(key_eq(&keys[i], &keys[0]));
	}
	snprintf(command, sizeof(command), "[ $(ls -A '%s') = n.key ]", state);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(test_own_key_as_peer)
{
	struct agent_wanted *w = NULL;
	struct key private_key, public_key;
	char text[1024], k[KEY_BASE64];

	put("a.key", KEY_C "\n", 0600);
	ck_assert_int_eq(key_from_base64(KEY_C, &private_key), 0);
	crypto_x25519_public(&private_key, &public_key);
	snprintf(text, sizeof(text),
		 NET "private_key_path = '@/a.key'\n"
		     "[[network.n.peers]]\npublic_key = '%s'\nallowed_ips = ['10.1.0.0/24']\n",
		 key_to_base64(&public_key, k));
	ck_assert_int_eq(load(text, false, &w), -EINVAL);
	ck_assert_ptr_null(w);
	ck_assert_ptr_nonnull(strstr(findings(), "t.toml:"));
	ck_assert_ptr_nonnull(strstr(findings(), "own"));
}
END_TEST

START_TEST(test_all_findings_at_once)
{
	struct agent_wanted *w = NULL;

	put("open.key", KEY_C "\n", 0644);
	put("bad.key", "AAAASECRET\n", 0600);
	ck_assert_int_eq(load(NET "private_key_path = '@/none.key'\n" PEER(
				      KEY_A) "preshared_key_path = '@/open.key'\n"
					     "[network.m]\naddress = '10.3.0.1/24'\n"
					     "interface = 'wg1'\n"
					     "private_key_path = '@/bad.key'\n",
			      false, &w),
			 -EINVAL);
	ck_assert_ptr_null(w);
	ck_assert_uint_eq(diags.n_errors, 3);
	ck_assert_ptr_nonnull(strstr(findings(), "none.key"));
	ck_assert_ptr_nonnull(strstr(findings(), "open.key"));
	ck_assert_ptr_nonnull(strstr(findings(), "bad.key"));
	ck_assert_ptr_null(strstr(findings(), "SECRET"));
}
END_TEST

/* As check --keys and the agent do. */
static const char *all_findings(const char *text, const char *network)
{
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	struct agent_wanted_env env = {.state_dir = state, .only = network};
	struct config_doc docs[] = {{"a.toml", CONFIG_TOML, text, strlen(text), false},
				    {"b.toml", CONFIG_TOML, "[network.z", 10, false}};

	config_diags_clear(&diags);
	/* The second document is none: only where a network is looked for that may be in it. */
	ck_assert_int_eq(agent_wanted_read(docs, network ? 2 : 1, &env, false, &w, &diags), 0);
	ck_assert_int_eq(agent_desired_check(w->config, &(struct agent_desired_env){0}, &diags), 0);
	return findings();
}

#define OTHER                                                                                      \
	"[network.m]\ninterface = 'wg1'\naddress = '10.3.0.1/24'\n"                                \
	"[[network.m.peers]]\npublic_key = '" KEY_B "'\nallowed_ips = ['0.0.0.0/0']\n"

/* Values, keys and what the machine cannot hold, in the order of the document. */
START_TEST(test_all_kinds_of_findings_at_once)
{
	ck_assert_str_eq(
		all_findings("[network.n]\nguard = true\nmtu = 10\n"
			     "private_key_path = '/nonexistent/n'\n" PEER(
				     KEY_A) "preshared_key_path = '/nonexistent/psk'\n"
					    "persistent_keepalive_secs = -1\n",
			     NULL),
		"error: a.toml:1:10: network.n: found a guard, which --no-nft leaves no place for\n"
		"error: a.toml:3:7: network.n.mtu: found 10, accepted: 0 or 576 to 65535\n"
		"error: a.toml:4:20: network.n.private_key_path: key file /nonexistent/n: No such "
		"file or directory\n"
		"error: a.toml:8:22: network.n.peers[\"AAAAAAAA\"].preshared_key_path: key file "
		"/nonexistent/psk: No such file or directory\n"
		"error: a.toml:9:29: network.n.peers[0].persistent_keepalive_secs: found -1, "
		"accepted: 0 to 65535\n");
	/* No key is made for what is refused. */
	ck_assert_int_eq(access(state, F_OK), -1);
}
END_TEST

/* One slip is one finding: nothing is told that only follows from another. */
START_TEST(test_nothing_is_told_twice)
{
	static const char default_route[] = "[[network.n.peers]]\npublic_key = '" KEY_A
					    "'\nallowed_ips = ['0.0.0.0/0']\n" OTHER;
	char text[1024];

	/* A network without a key, for it was refused; a peer without one, which is not this node.
	 */
	all_findings(NET "private_key_path = 'n'\n" PEER("short"), NULL);
	ck_assert_uint_eq(diags.n_errors, 2);
	/* Default routes: refused as equal routes, or not known to clash. */
	snprintf(text, sizeof(text), NET "%s", default_route);
	ck_assert_ptr_nonnull(strstr(all_findings(text, NULL), "which network n routes too"));
	ck_assert_uint_eq(diags.n_errors, 1);
	snprintf(text, sizeof(text), NET "metric = 9\nfwmark = -1\n%s", default_route);
	ck_assert_ptr_nonnull(strstr(all_findings(text, NULL), "network.n.fwmark"));
	ck_assert_uint_eq(diags.n_errors, 1);
	snprintf(text, sizeof(text), NET "metric = 9\n%s", default_route);
	ck_assert_ptr_nonnull(strstr(all_findings(text, NULL), "a fwmark of its own"));
	/* A network that may be in the document that is none. */
	ck_assert_ptr_nonnull(strstr(all_findings(NET, "z"), "b.toml:1:"));
	ck_assert_uint_eq(diags.n_errors, 1);
}
END_TEST

START_TEST(test_state_directory)
{
	struct agent_wanted *w = NULL;

	/* A generated key that others may read is not used. */
	ck_assert_int_eq(mkdir(state, 0700), 0);
	put("state/n.key", KEY_C "\n", 0644);
	ck_assert_int_eq(load(NET, false, &w), -EINVAL);
	ck_assert_ptr_nonnull(strstr(findings(), "n.key"));
	put("state/n.key", "", 0600);
	ck_assert_int_eq(load(NET, false, &w), -EINVAL);
	/* A file where the directory should be. */
	snprintf(state, sizeof(state), "%s/file", dir);
	put("file", "", 0600);
	ck_assert_int_eq(load(NET, false, &w), -EINVAL);
	snprintf(state, sizeof(state), "%s/a/b", dir);
	ck_assert_int_eq(load(NET, false, &w), -EINVAL);
	ck_assert_ptr_nonnull(strstr(findings(), "No such file"));
	ck_assert_ptr_null(w);
}
END_TEST

START_TEST(test_one_network_only)
{
	static const char two[] = NET "[network.m]\naddress = '10.0.1.1/24'\ninterface = 'wg1'\n";
	static const char clash[] = NET "[network.m]\naddress = '10.0.1.1/24'\n";
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	struct agent_wanted *none = NULL;

	only = "n";
	ck_assert_msg(load(two, true, &w) == 0, "%s", findings());
	ck_assert_uint_eq(w->config->n_networks, 2);
	ck_assert(!w->networks[0].conf->enabled);
	ck_assert(w->networks[1].conf->enabled);
	/* Networks that cannot be up together can be so one at a time. */
	ck_assert_int_eq(load(clash, true, &none), 0);
	agent_wanted_free(mem_steal(&none));
	only = NULL;
	ck_assert_int_eq(load(clash, true, &none), -EINVAL);
	only = "k";
	ck_assert_int_eq(load(two, true, &none), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_ptr_nonnull(strstr(findings(), "--network: found \"k\""));
	only = NULL;
}
END_TEST

START_TEST(test_disabled_network_needs_no_key)
{
	struct agent_wanted *w = NULL;

	ck_assert_int_eq(
		load(NET "enable_wireguard = false\nprivate_key_path = '@/none'\n", false, &w), 0);
	ck_assert_int_eq(access(state, F_OK), -1);
	agent_wanted_free(w);
}
END_TEST

/* A key file may change without the document. */
START_TEST(test_keys_stand)
{
	struct agent_wanted *a = NULL;

	put("a.key", KEY_C "\n", 0600);
	put("b.key", KEY_B "\n", 0600);
	ck_assert_int_eq(load(NET "private_key_path = '@/a.key'\n" PEER(
				      KEY_A) "preshared_key_path = '@/b.key'\n",
			      false, &a),
			 0);
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 1);
	put("b.key", KEY_A "\n", 0600);
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 0);
	put("b.key", KEY_B "\n", 0600);
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 1);
	put("a.key", KEY_A "\n", 0600);
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 0);
	put("a.key", KEY_C "\n", 0644); /* not to be read as it is */
	ck_assert_int_eq(agent_wanted_keys_stand(a, &keys_env), 0);
	agent_wanted_free(a);
}
END_TEST

#define FIRST NET "private_key_path = '@/a.key'\n" PEER(KEY_A) "preshared_key_path = '@/b.key'\n"
#define SECOND(ip)                                                                                 \
	"[[network.n.peers]]\nname = 'b'\npublic_key = '" KEY_B "'\nallowed_ips = ['" ip "']\n"

/* From one text to the other: 1 where it was amended, with each key beside its peer. */
static int amended(const char *was, const char *now)
{
	struct config_amendment am;
	struct agent_wanted *w = NULL;
	_cleanup_buf_ struct buf x = BUF_INIT(0), y = BUF_INIT(0);
	int r = 0;

	ck_assert_msg(load(was, false, &w) == 0, "%s", findings());
	expand(&x, was);
	expand(&y, now);
	struct config_doc docs[] = {{"t.toml", CONFIG_TOML, buf_str(&x), x.len, false},
				    {"t.toml", CONFIG_TOML, buf_str(&y), y.len, false}};
	ck_assert_int_eq(config_amendment_read(w->config, &docs[0], &docs[1], &am), 0);
	if (agent_wanted_can_amend(w, &am)) {
		ck_assert_int_eq(agent_wanted_amend(w, &am), 0);
		ck_assert_uint_eq(w->networks[0].keys.n_preshared, w->config->networks[0].n_peers);
		ck_assert_int_eq(agent_wanted_keys_stand(w, &keys_env), 1);
		r = 1;
	}
	config_amendment_clear(&am);
	agent_wanted_free(w);
	return r;
}

START_TEST(test_amend)
{
	put("a.key", KEY_C "\n", 0600);
	put("b.key", KEY_B "\n", 0600);
	ck_assert_int_eq(amended(FIRST, FIRST SECOND("10.2.0.0/24")), 1);
	ck_assert_int_eq(amended(FIRST SECOND("10.2.0.0/24"), FIRST), 1);
	ck_assert_int_eq(amended(FIRST SECOND("10.2.0.0/24"), FIRST SECOND("10.3.0.0/24")), 1);
	/* with the preshared key that changes hands, or is new */
	ck_assert_int_eq(amended(FIRST, NET "private_key_path = '@/a.key'\n" SECOND("10.2.0.0/24")),
			 0);
	ck_assert_int_eq(amended(FIRST SECOND("10.2.0.0/24"),
				 NET "private_key_path = '@/a.key'\n" SECOND("10.2.0.0/24")),
			 0);
	ck_assert_int_eq(
		amended(FIRST, FIRST SECOND("10.2.0.0/24") "preshared_key_path = '@/b.key'\n"), 0);
	/* a network that is off has no keys */
	ck_assert_int_eq(amended(NET "enable_wireguard = false\n" PEER(KEY_A),
				 NET "enable_wireguard = false\n" PEER(KEY_B)),
			 0);
}
END_TEST

START_TEST(test_out_of_memory)
{
	struct agent_wanted *w = NULL;
	struct config_doc doc = {"t.toml", CONFIG_TOML, NET PEER(KEY_A), strlen(NET PEER(KEY_A)),
				 false};
	struct agent_wanted_env env = {.state_dir = state};
	int r = 0;

	ck_assert_int_eq(load(NET PEER(KEY_A), false, &w), 0); /* the key is there */
	agent_wanted_free(mem_steal(&w));
	FAULT_LOOP(({
		r = agent_wanted_read(&doc, 1, &env, false, &w, &diags);
		agent_wanted_free(mem_steal(&w));
		config_diags_clear(&diags);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE_IN("agent_wanted", setup, teardown, test_key_is_generated_once,
			     test_dry_run_generates_nothing, test_race, test_own_key_as_peer,
			     test_all_findings_at_once, test_all_kinds_of_findings_at_once,
			     test_nothing_is_told_twice, test_state_directory,
			     test_one_network_only, test_disabled_network_needs_no_key,
			     test_keys_stand, test_amend, test_out_of_memory);
}

UNIT_MAIN(suite)
