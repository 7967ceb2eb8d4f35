/*
 * Theory of operation. Loading is all or nothing: read the documents, resolve every key
 * reference, generate the key of a network that names none, derive public keys, and check that
 * no network has itself as a peer. Findings of all steps are collected, so that one look shows
 * everything that has to be mended.
 *
 * A generated key stands in STATE_DIR/NETWORK.key, base64 and a newline, mode 0600. It is
 * written to a temporary file in the same directory, synced, and linked into place without
 * overwriting: of two agents that race, both end up with the same key.
 */
#include "agent/wanted.h"
#include "config/amend.h"
#include "base/secret.h"
#include "base/str.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Makes the directory, too. */
static int write_key(const char *dir, const char *path, const struct key *k, struct err *e)
{
	char tmp[PATH_MAX], text[KEY_BASE64 + 1];
	int r, n = snprintf(tmp, sizeof(tmp), "%s/.key-XXXXXX", dir);

	if (n < 0 || (size_t)n >= sizeof(tmp))
		return err_set(e, -ENAMETOOLONG, "state directory %s: the path is too long", dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_sys(e, -errno, "state directory %s", dir);
	_cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC); /* 0600 */
	if (fd < 0)
		return err_sys(e, -errno, "state directory %s: no key file can be made", dir);
	key_to_base64(k, text);
	text[KEY_BASE64 - 1] = '\n';
	r = write_all(fd, text, KEY_BASE64);
	mem_wipe(text, sizeof(text));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && link(tmp, path) < 0 && errno != EEXIST)
		r = -errno;
	unlink(tmp);
	return r < 0 ? err_sys(e, r, "%s: the generated key could not be kept", path) : 0;
}

static int generate_key(const char *dir, const char *path, struct err *e)
{
	_cleanup_secret_ struct key *k = secret_new();

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	if (getrandom(k->b, KEY_LEN, 0) != KEY_LEN)
		return err_sys(e, -errno, "random bytes for a key");
	crypto_x25519_clamp(k);
	return write_key(dir, path, k, e);
}

static int own_key_path(const char *dir, const char *network, char ret[static PATH_MAX],
			struct err *e)
{
	int n = snprintf(ret, PATH_MAX, "%s/%s.key", dir, network);

	return n < 0 || n >= PATH_MAX
		       ? err_set(e, -ENAMETOOLONG, "state directory %s: the path is too long", dir)
		       : 0;
}

/* The network's own key from the state directory, generated on first use. */
static int own_key(const char *dir, const char *network, bool dry, struct key **ret, struct err *e)
{
	char path[PATH_MAX];
	int r = own_key_path(dir, network, path, e);

	if (r < 0)
		return r;
	if (strchr(network, '/'))
		return err_set(
			e, -EINVAL,
			"network \"%s\": no key can be generated for a name with '/': name one "
			"by private_key_path",
			network);

	struct config_keyref ref = {.path = path};
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		if (dry) {
			*ret = secret_new();
			return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
		}
		r = generate_key(dir, path, e);
		if (r < 0)
			return r;
	}
	return config_resolve_key(&ref, NULL, ret, e);
}

static int load_network(struct agent_wanted_network *wn, const struct agent_wanted_env *env,
			bool dry, struct config_diags *diags)
{
	const struct config_network *n = wn->conf;
	struct err e = {0};
	int r;

	if (!n->enabled)
		return 0;
	r = config_resolve_keys(n, env->secrets, &wn->keys, diags);
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	if (!wn->keys.private_key && n->flawed)
		return 0; /* it may be that which was refused */
	if (!wn->keys.private_key) {
		if (!env->state_dir)
			r = err_set(
				&e, -EINVAL,
				"no private key: accepted are private_key_path, private_key_env, "
				"private_key_secret");
		else
			r = own_key(env->state_dir, n->name, dry, &wn->keys.private_key, &e);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			return config_diag_network(diags, n, "%s", e.msg);
		wn->generated = true;
	}
	if (!key_is_zero(wn->keys.private_key))
		crypto_x25519_public(wn->keys.private_key, &wn->public_key);
	else if (n->flawed)
		return 0; /* nor is a peer whose key was refused this node */
	for (size_t i = 0; i < wn->keys.n_preshared; i++)
		wn->preshared |= wn->keys.preshared[i] != NULL;
	r = config_check_own_key(n, &wn->public_key, diags);
	return r == -EINVAL ? 0 : r;
}

int agent_wanted_check_only(const struct config *c, const char *only, struct config_diags *diags)
{
	char text[ERR_MSG_MAX], shown[STR_SHOW_LEN];

	if (c->unread)
		return 0; /* it may be there */
	for (size_t i = 0; i < c->n_networks; i++)
		if (str_eq(c->networks[i].name, only))
			return 0;
	snprintf(text, sizeof(text),
		 "--network: found \"%s\", accepted: a network of the documents",
		 str_show(only, strlen(only), shown));
	return config_diag_add(diags, &(struct config_diag){.text = text});
}

int agent_wanted_read(const struct config_doc *docs, size_t n_docs,
		      const struct agent_wanted_env *env, bool dry, struct agent_wanted **ret,
		      struct config_diags *diags)
{
	_cleanup_agent_wanted_ struct agent_wanted *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	int r = config_read_anyway(docs, n_docs, env->node, env->only, &w->config, diags);
	if (r == -ENOMEM)
		return r;
	/* What is refused anyway leaves no new key behind. */
	dry |= r < 0;
	if (env->only && (r = agent_wanted_check_only(w->config, env->only, diags)) < 0)
		return r;
	w->networks = calloc(w->config->n_networks + 1, sizeof(*w->networks));
	if (!w->networks)
		return -ENOMEM;
	for (size_t i = 0; i < w->config->n_networks; i++) {
		w->networks[i].conf = &w->config->networks[i];
		r = load_network(&w->networks[i], env, dry, diags);
		if (r < 0)
			return r;
	}
	config_diags_sort(diags);
	*ret = mem_steal(&w);
	return 0;
}

bool agent_wanted_restore_keys(const struct agent_wanted *w, const struct agent_wanted_env *env)
{
	char path[PATH_MAX];
	bool any = false;

	for (size_t i = 0; env->state_dir && i < w->config->n_networks; i++) {
		const struct agent_wanted_network *wn = &w->networks[i];

		if (!wn->generated ||
		    own_key_path(env->state_dir, wn->conf->name, path, NULL) < 0 ||
		    access(path, F_OK) == 0 || errno != ENOENT)
			continue;
		any |= write_key(env->state_dir, path, wn->keys.private_key, NULL) == 0;
	}
	return any;
}

static bool same_key(const struct key *a, const struct key *b)
{
	return a && b ? key_eq(a, b) : a == b;
}

int agent_wanted_keys_stand(const struct agent_wanted *w, const struct agent_wanted_env *env)
{
	bool stand = true;

	for (size_t i = 0; stand && i < w->config->n_networks; i++) {
		const struct agent_wanted_network *old = &w->networks[i];
		struct config_network alone = *old->conf;
		struct agent_wanted_network now = {.conf = old->preshared ? old->conf : &alone};
		_cleanup_config_diags_ struct config_diags diags = {0};
		int r;

		alone.n_peers = 0;
		r = load_network(&now, env, false, &diags);
		stand = r == 0 && diags.n_errors == 0 &&
			same_key(now.keys.private_key, old->keys.private_key);
		for (size_t j = 0; stand && j < now.keys.n_preshared; j++)
			stand = same_key(now.keys.preshared[j], old->keys.preshared[j]);
		config_keys_clear(&now.keys);
		if (r == -ENOMEM)
			return r;
	}
	return stand;
}

/* The preshared keys of the peers that stay, each beside its peer, in an array of the new length.
 * NULL when memory has run out. */
static struct key **moved_keys(const struct agent_wanted_network *wn,
			       const struct config_amendment *a)
{
	const struct config_network *n = wn->conf;
	struct key **keys = calloc(n->n_peers - a->n_gone + a->n_come + 1, sizeof(*keys));
	size_t gone = 0, come = 0, to = 0;

	for (size_t i = 0; keys && i < n->n_peers; i++) {
		if (gone < a->n_gone && a->gone_at[gone] == i) {
			gone++;
			continue;
		}
		while (come < a->n_come &&
		       key_cmp(&a->come[come].public_key, &n->peers[i].public_key) < 0)
			come++, to++;
		keys[to++] = wn->keys.preshared[i];
	}
	return keys;
}

bool agent_wanted_can_amend(const struct agent_wanted *w, const struct config_amendment *a)
{
	const struct agent_wanted_network *wn = &w->networks[a->network];

	if (!wn->conf->enabled)
		return false; /* it has no keys */
	for (size_t i = 0; i < a->n_gone; i++)
		if (wn->keys.preshared[a->gone_at[i]])
			return false;
	for (size_t i = 0; i < a->n_come; i++)
		if (config_keyref_is_set(&a->come[i].preshared) ||
		    key_eq(&a->come[i].public_key, &wn->public_key))
			return false;
	return true;
}

int agent_wanted_amend(struct agent_wanted *w, struct config_amendment *a)
{
	struct agent_wanted_network *wn = &w->networks[a->network];
	size_t n = wn->keys.n_preshared - a->n_gone + a->n_come;
	struct key **keys = moved_keys(wn, a);
	int r = keys ? config_amend(w->config, a) : -ENOMEM;

	if (r < 0) {
		free(keys);
		return r;
	}
	free(wn->keys.preshared);
	wn->keys.preshared = keys;
	wn->keys.n_preshared = n;
	return 0;
}

void agent_wanted_free(struct agent_wanted *w)
{
	if (!w)
		return;
	for (size_t i = 0; w->networks && i < w->config->n_networks; i++)
		config_keys_clear(&w->networks[i].keys);
	free(w->networks);
	config_free(w->config);
	free(w);
}
