/*
 * Keys are read into a buffer on the stack that is wiped, checked as text, and decoded straight
 * into a slot. A message tells the reference and what is wrong, by lengths and modes only.
 */
#include "config/keys.h"
#include "base/buf.h"
#include "base/secret.h"
#include "base/str.h"
#include "config/model_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One key in base64 with white space around it. `from` is "key file /path" or the like. */
static int decode(const char *text, size_t len, const char *from, struct key **ret, struct err *e)
{
	_cleanup_secret_ struct key *slot = secret_new();
	char one[KEY_BASE64];
	int r;

	if (!slot)
		return err_set(e, -ENOMEM, "no memory for a key");
	while (len > 0 && is_space(text[0]))
		text++, len--;
	while (len > 0 && is_space(text[len - 1]))
		len--;
	if (len == 0)
		return err_set(e, -EINVAL, "%s is empty, accepted: a key: 44 characters of base64",
			       from);
	if (len != KEY_BASE64 - 1)
		return err_set(e, -EINVAL,
			       "%s holds %zu characters (not shown), accepted: a key: 44 "
			       "characters of base64",
			       from, len);
	memcpy(one, text, len);
	one[len] = '\0';
	r = key_from_base64(one, slot);
	mem_wipe(one, sizeof(one));
	if (r < 0)
		return err_set(e, -EINVAL,
			       "%s holds 44 characters (not shown) that are not base64 of 32 bytes",
			       from);
	if (key_is_zero(slot))
		return err_set(e, -EINVAL,
			       "%s holds the all-zero key, accepted: a key made by "
			       "wg genkey or wg genpsk",
			       from);
	*ret = mem_steal(&slot);
	return 0;
}

/* A pod's fsGroup gives its group the right to read every Secret that is mounted (0400 becomes
 * 0440), whatever defaultMode says. Where nobody can write, and root owns it, that is what its
 * pod's maker has asked for. */
static bool is_open_to_others(int fd, const struct stat *st)
{
	struct statvfs fs;

	if ((st->st_mode & 077) == 0)
		return false;
	return (st->st_mode & 077) != 040 || st->st_uid != 0 || fstatvfs(fd, &fs) < 0 ||
	       !(fs.f_flag & ST_RDONLY);
}

/* Opened without blocking: a FIFO in the file's place must not stop the agent. */
static int open_key(const char *path, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 && errno == EACCES)
		return err_set(e, -EACCES,
			       "key file %s: permission denied, accepted: a file of the agent's "
			       "own user (it keeps no CAP_DAC_OVERRIDE)",
			       path);
	if (fd < 0)
		return err_sys(e, -errno, "key file %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, "key file %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "key file %s is not a regular file", path);
	if (is_open_to_others(fd, &st))
		return err_set(e, -EPERM,
			       "key file %s has mode %04o, open to group or others, accepted: 0600 "
			       "or 0400 (chmod go= on the file; defaultMode: 0400 on a Secret's "
			       "volume)",
			       path, (unsigned)(st.st_mode & 07777));
	if (st.st_size > CONFIG_KEY_FILE_MAX)
		return err_set(e, -EINVAL, "key file %s has %lld bytes, accepted: one key", path,
			       (long long)st.st_size);
	return mem_steal_fd(&fd);
}

int config_key_read(int fd, const char *from, struct key **ret, struct err *e)
{
	char text[CONFIG_KEY_FILE_MAX + 1];
	size_t n = 0;
	ssize_t got;
	int r;

	do {
		got = read(fd, text + n, sizeof(text) - n);
		if (got > 0)
			n += (size_t)got;
	} while ((got > 0 && n < sizeof(text)) || (got < 0 && errno == EINTR));
	if (got < 0)
		r = err_sys(e, -errno, "%s", from);
	else if (n > CONFIG_KEY_FILE_MAX)
		r = err_set(e, -EINVAL, "%s holds more than %d bytes, accepted: one key", from,
			    CONFIG_KEY_FILE_MAX);
	else
		r = decode(text, n, from, ret, e);
	mem_wipe(text, sizeof(text));
	return r;
}

static int from_file(const char *path, struct key **ret, struct err *e)
{
	_cleanup_close_ int fd = open_key(path, e);
	char from[512];

	if (fd < 0)
		return fd;
	snprintf(from, sizeof(from), "key file %s", path);
	return config_key_read(fd, from, ret, e);
}

static int from_env(const char *name, struct key **ret, struct err *e)
{
	const char *text = getenv(name);
	char from[512];

	if (!text)
		return err_set(e, -ENOENT, "environment variable %s is not set", name);
	snprintf(from, sizeof(from), "environment variable %s", name);
	return decode(text, strlen(text), from, ret, e);
}

static int from_secret(const char *name, const struct config_secrets *secrets, struct key **ret,
		       struct err *e)
{
	const char *text = NULL;
	char from[512];
	size_t len = 0;
	int r;

	if (!secrets)
		return err_set(e, -ENOENT,
			       "Secret entry %s: no Secret is watched, accepted: a key file or "
			       "variable, or a Kubernetes Secret as a source",
			       name);
	r = secrets->get(secrets->arg, name, &text, &len, e);
	if (r == -ENOENT)
		return err_set(e, r, "the Secret has no entry %s", name);
	if (r < 0)
		return r;
	snprintf(from, sizeof(from), "Secret entry %s", name);
	return decode(text, len, from, ret, e);
}

int config_resolve_key(const struct config_keyref *ref, const struct config_secrets *secrets,
		       struct key **ret, struct err *e)
{
	if (ref->path)
		return from_file(ref->path, ret, e);
	if (ref->env)
		return from_env(ref->env, ret, e);
	if (ref->secret)
		return from_secret(ref->secret, secrets, ret, e);
	*ret = NULL;
	return 0;
}

void config_keys_clear(struct config_keys *k)
{
	secret_free(k->private_key);
	for (size_t i = 0; i < k->n_preshared; i++)
		secret_free(k->preshared[i]);
	free(k->preshared);
	*k = (struct config_keys){0};
}

/* A finding about a network that was read before: its document's name, its place, its path. */
static int add_diag(const struct config_network *n, const struct config_peer *p, const char *key,
		    struct cfg_pos pos, const char *msg, struct config_diags *diags)
{
	struct buf b = BUF_INIT(0);
	struct config_diag diag = {.doc = n->doc, .pos = pos};
	char name[CONFIG_FOUND_LEN];
	int r;

	config_put_place(&b, n->source, pos);
	buf_addf(&b, ": network.%s.", n->name);
	if (p)
		buf_addf(&b, "peers[%s].", config_found_text(p->name, strlen(p->name), name));
	buf_addf(&b, "%s: %s", key, msg);
	diag.text = (char *)buf_str(&b);
	r = buf_error(&b);
	if (r == 0)
		r = config_diag_add(diags, &diag);
	buf_free(&b);
	return r;
}

/* 0, or -ENOMEM; what is wrong with the reference goes to diags. */
static int resolve(const struct config_network *n, const struct config_peer *p,
		   const struct config_secrets *secrets, struct key **ret,
		   struct config_diags *diags)
{
	const struct config_keyref *ref = p ? &p->preshared : &n->private_key;
	struct err e = {0};
	char key[32];
	int r = config_resolve_key(ref, secrets, ret, &e);

	if (r == 0 || r == -ENOMEM)
		return r;
	snprintf(key, sizeof(key), "%s_key_%s", p ? "preshared" : "private",
		 ref->path  ? "path"
		 : ref->env ? "env"
			    : "secret");
	return add_diag(n, p, key, ref->pos, e.msg, diags);
}

int config_resolve_keys(const struct config_network *n, const struct config_secrets *secrets,
			struct config_keys *ret, struct config_diags *diags)
{
	_cleanup_config_keys_ struct config_keys keys = {0};
	size_t errors = diags->n_errors;
	int r;

	keys.preshared = calloc(n->n_peers + 1, sizeof(*keys.preshared));
	if (!keys.preshared)
		return -ENOMEM;
	keys.n_preshared = n->n_peers;
	r = resolve(n, NULL, secrets, &keys.private_key, diags);
	for (size_t i = 0; r == 0 && i < n->n_peers; i++)
		r = resolve(n, &n->peers[i], secrets, &keys.preshared[i], diags);
	if (r < 0)
		return r;
	if (diags->n_errors > errors)
		return -EINVAL;
	config_keys_clear(ret);
	*ret = keys;
	keys = (struct config_keys){0};
	return 0;
}

int config_check_own_key(const struct config_network *n, const struct key *own,
			 struct config_diags *diags)
{
	for (size_t lo = 0, hi = n->n_peers; lo < hi;) {
		size_t mid = lo + (hi - lo) / 2;
		const struct config_peer *p = &n->peers[mid];
		int c = key_cmp(own, &p->public_key), r;

		if (c == 0) {
			r = add_diag(
				n, p, "public_key", p->pos,
				"found this node's own public key, accepted: the keys of other "
				"nodes",
				diags);
			return r < 0 ? r : -EINVAL;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return 0;
}
