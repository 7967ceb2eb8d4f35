/*
 * Where the API server is, and who we are: a pod's mount, or a kubeconfig.
 *
 * A kubeconfig (API reference, client.authentication and "Organizing Cluster Access Using
 * kubeconfig Files") is three lists of named things: contexts name a cluster and a user. The YAML
 * reader gives a tree with positions, so that a message can say where the fault stands.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "config/yaml.h"
#include "kube/kube_priv.h"

#define MAX_KUBECONFIG ((size_t)1 << 20)

static void source_free(struct kube_source *s)
{
	if (s->data)
		mem_wipe(s->data, strlen(s->data));
	free(s->data);
	free(s->file);
}

void kube_config_free(struct kube_config *c)
{
	if (!c)
		return;
	free(c->server);
	free(c->ns);
	free(c->proxy);
	free(c->tls_name);
	source_free(&c->ca);
	source_free(&c->cert);
	source_free(&c->key);
	source_free(&c->token);
	free(c);
}

/* ---- In a pod ---- */

static char *join(const char *dir, const char *name)
{
	char *s;

	if (name[0] == '/' || !dir || dir[0] == '\0')
		return strdup(name);
	return asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s;
}

static int read_namespace(const char *dir, char **ret, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_free_ char *path = join(dir, "namespace");

	if (!path)
		return err_sys(e, -ENOMEM, "namespace");
	int r = kube_read_file(path, 1024, &b, e);
	if (r < 0)
		return r;
	while (b.len > 0 && strchr(" \t\r\n", b.data[b.len - 1]))
		b.data[--b.len] = '\0';
	if (!kube_is_namespace(buf_str(&b)))
		return err_set(e, -EINVAL, "%s: not a namespace's name", path);
	*ret = strdup(b.data);
	return *ret ? 0 : err_sys(e, -ENOMEM, "%s", path);
}

int kube_config_in_cluster(const char *dir, struct kube_config **ret, struct err *e)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	uint64_t n;

	if (!host || !*host || !port || !*port)
		return err_set(e, -ENOENT,
			       "not in a pod: KUBERNETES_SERVICE_HOST and "
			       "KUBERNETES_SERVICE_PORT are not set");
	if (str_to_u64(port, strlen(port), 1, 65535, &n) < 0)
		return err_set(e, -EINVAL,
			       "found KUBERNETES_SERVICE_PORT=\"%.20s\", accepted: 1 "
			       "to 65535",
			       port);
	if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-") !=
	    strlen(host))
		return err_set(e, -EINVAL,
			       "found KUBERNETES_SERVICE_HOST=\"%.80s\", accepted: an "
			       "address or a host name",
			       host);
	if (!dir)
		dir = KUBE_IN_CLUSTER_DIR;

	_cleanup_kube_config_ struct kube_config *c = calloc(1, sizeof(*c));
	bool v6 = strchr(host, ':');
	if (!c)
		return err_sys(e, -ENOMEM, "in-cluster configuration");
	if (asprintf(&c->server, "https://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
		     (unsigned)n) < 0)
		c->server = NULL;
	c->ca.file = join(dir, "ca.crt");
	c->token.file = join(dir, "token");
	if (!c->server || !c->ca.file || !c->token.file)
		return err_sys(e, -ENOMEM, "in-cluster configuration");
	int r = read_namespace(dir, &c->ns, e);
	if (r < 0)
		return r;
	*ret = mem_steal(&c);
	return 0;
}

/* ---- kubeconfig ---- */

/* What is at hand while one kubeconfig is read. */
struct reader {
	const char *dir;
	struct err *e;
};

/* A value that is there, or NULL. */
static const struct cfg_value *member(const struct cfg_value *table, const char *key)
{
	const struct cfg_entry *en =
		table && table->type == CFG_TABLE ? cfg_table_find(table, key) : NULL;

	return en && en->value->type != CFG_NULL ? en->value : NULL;
}

static int wrong_type(const struct reader *rd, const struct cfg_value *v, const char *key,
		      const char *accepted)
{
	return err_set(rd->e, -EINVAL, "line %u: %s: found a value of type %s, accepted: %s",
		       v->pos.line, key, cfg_type_name(v->type), accepted);
}

/* A string member; *ret stays NULL where there is none, or an empty one. */
static int get_string(const struct reader *rd, const struct cfg_value *table, const char *key,
		      const char **ret)
{
	const struct cfg_value *v = member(table, key);

	if (!v)
		return 0;
	if (v->type != CFG_STRING)
		return wrong_type(rd, v, key, "a string");
	if (strlen(v->str) != v->len)
		return err_set(rd->e, -EINVAL, "line %u: %s: a NUL within", v->pos.line, key);
	if (v->len)
		*ret = v->str;
	return 0;
}

static int copy_string(const struct reader *rd, const struct cfg_value *table, const char *key,
		       char **ret)
{
	const char *s = NULL;
	int r = get_string(rd, table, key, &s);

	if (r < 0 || !s)
		return r;
	*ret = strdup(s);
	return *ret ? 0 : err_sys(rd->e, -ENOMEM, "kubeconfig");
}

static int copy_path(const struct reader *rd, const struct cfg_value *table, const char *key,
		     char **ret)
{
	const char *s = NULL;
	int r = get_string(rd, table, key, &s);

	if (r < 0 || !s)
		return r;
	*ret = join(rd->dir, s);
	return *ret ? 0 : err_sys(rd->e, -ENOMEM, "kubeconfig");
}

/* KEY-data (base64) wins over KEY (a file), as in kubectl. */
static int get_source(const struct reader *rd, const struct cfg_value *table, const char *data_key,
		      const char *file_key, struct kube_source *ret)
{
	struct buf b = BUF_INIT(0);
	const char *s = NULL;
	int r = get_string(rd, table, data_key, &s);

	if (r < 0)
		return r;
	if (!s)
		return copy_path(rd, table, file_key, &ret->file);
	r = kube_base64(s, strlen(s), &b);
	if (r == 0 && (b.len == 0 || memchr(b.data, '\0', b.len)))
		r = -EINVAL;
	if (r == 0)
		ret->data = mem_steal(&b.data);
	buf_wipe(&b);
	if (r == -ENOMEM)
		return err_sys(rd->e, r, "kubeconfig");
	return r < 0 ? err_set(rd->e, r, "line %u: %s: not base64 of a PEM text",
			       member(table, data_key)->pos.line, data_key)
		     : 0;
}

static int get_bool(const struct reader *rd, const struct cfg_value *table, const char *key,
		    bool *ret)
{
	const struct cfg_value *v = member(table, key);

	if (!v)
		return 0;
	if (v->type != CFG_BOOL)
		return wrong_type(rd, v, key, "true or false");
	*ret = v->boolean;
	return 0;
}

/* The element `name` of the list `list`, and in it the table `what`: clusters, cluster. */
static int find_named(const struct reader *rd, const struct cfg_value *doc, const char *list,
		      const char *what, const char *name, const struct cfg_value **ret)
{
	const struct cfg_value *l = member(doc, list);

	if (l && l->type != CFG_ARRAY)
		return wrong_type(rd, l, list, "a list");
	for (size_t i = 0; l && i < l->n_items; i++) {
		const char *s = NULL;
		int r = get_string(rd, l->items[i], "name", &s);

		if (r < 0)
			return r;
		if (!s || !str_eq(s, name))
			continue;
		*ret = member(l->items[i], what);
		if (!*ret || (*ret)->type != CFG_TABLE)
			return err_set(rd->e, -EINVAL, "%s \"%s\" has no \"%s\"", list, name, what);
		return 0;
	}
	return err_set(rd->e, -EINVAL, "there is no \"%s\" among the %s", name, list);
}

/* "https://host[:port][/path]", nothing that an URL parser may read in two ways. */
static int check_server(const struct reader *rd, char *s)
{
	const char *rest = str_starts(s, "https://")  ? s + 8
			   : str_starts(s, "http://") ? s + 7
						      : "";
	size_t len = strlen(s);

	if (rest[0] == '\0' || rest[0] == '/' || strpbrk(rest, "@?# \t\r\n\\\"") || len > 1024)
		return err_set(rd->e, -EINVAL,
			       "found server \"%.100s\", accepted: "
			       "https://HOST:PORT",
			       s);
	for (const char *p = rest; *p; p++)
		if (*p < '!' || *p > '~')
			return err_set(rd->e, -EINVAL,
				       "the server's address has characters that "
				       "are not ASCII");
	while (len > 0 && s[len - 1] == '/')
		s[--len] = '\0';
	return 0;
}

static int read_cluster(const struct reader *rd, const struct cfg_value *t, struct kube_config *c)
{
	int r = copy_string(rd, t, "server", &c->server);

	if (r == 0 && !c->server)
		r = err_set(rd->e, -EINVAL, "the cluster has no server");
	if (r == 0)
		r = check_server(rd, c->server);
	if (r == 0)
		r = copy_string(rd, t, "proxy-url", &c->proxy);
	if (r == 0)
		r = copy_string(rd, t, "tls-server-name", &c->tls_name);
	if (r == 0 && c->tls_name && !kube_is_name(c->tls_name))
		r = err_set(rd->e, -EINVAL,
			    "tls-server-name: found \"%.100s\", accepted: a host "
			    "name",
			    c->tls_name);
	if (r == 0)
		r = get_bool(rd, t, "insecure-skip-tls-verify", &c->insecure);
	if (r == 0)
		r = get_source(rd, t, "certificate-authority-data", "certificate-authority",
			       &c->ca);
	if (r == 0 && c->insecure && (c->ca.data || c->ca.file))
		r = err_set(rd->e, -EINVAL,
			    "insecure-skip-tls-verify beside a certificate "
			    "authority: one of them is meant");
	return r;
}

static int read_user(const struct reader *rd, const struct cfg_value *t, struct kube_config *c)
{
	static const char *const refused[] = {"exec", "auth-provider", "username", "password",
					      "as",   "as-uid",        "as-groups"};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		const struct cfg_value *v = member(t, refused[i]);

		if (v)
			return err_set(rd->e, -ENOTSUP,
				       "line %u: the user has \"%s\", which is not supported; "
				       "accepted: client-certificate and client-key (or -data), "
				       "token, tokenFile",
				       v->pos.line, refused[i]);
	}
	r = get_source(rd, t, "client-certificate-data", "client-certificate", &c->cert);
	if (r == 0)
		r = get_source(rd, t, "client-key-data", "client-key", &c->key);
	if (r == 0 && (!c->cert.data && !c->cert.file) != (!c->key.data && !c->key.file))
		r = err_set(rd->e, -EINVAL,
			    "the user has a client certificate or a client key "
			    "without the other");
	/* The file wins over the text, as in kubectl. */
	if (r == 0)
		r = copy_path(rd, t, "tokenFile", &c->token.file);
	if (r == 0 && !c->token.file)
		r = copy_string(rd, t, "token", &c->token.data);
	return r;
}

static int read_context(const struct reader *rd, const struct cfg_value *doc, const char *context,
			struct kube_config *c)
{
	const struct cfg_value *t = NULL, *cluster = NULL, *user = NULL;
	const char *cluster_name = NULL, *user_name = NULL;
	int r = context ? 0 : get_string(rd, doc, "current-context", &context);

	if (r == 0 && !context)
		r = err_set(rd->e, -EINVAL, "there is no current-context");
	if (r == 0)
		r = find_named(rd, doc, "contexts", "context", context, &t);
	if (r == 0)
		r = get_string(rd, t, "cluster", &cluster_name);
	if (r == 0)
		r = get_string(rd, t, "user", &user_name);
	if (r == 0)
		r = copy_string(rd, t, "namespace", &c->ns);
	if (r == 0 && !c->ns && !(c->ns = strdup("default")))
		r = err_sys(rd->e, -ENOMEM, "kubeconfig");
	if (r == 0 && !kube_is_namespace(c->ns))
		r = err_set(rd->e, -EINVAL, "context \"%s\": not a namespace's name: \"%.70s\"",
			    context, c->ns);
	if (r == 0 && !cluster_name)
		r = err_set(rd->e, -EINVAL, "context \"%s\" names no cluster", context);
	if (r == 0)
		r = find_named(rd, doc, "clusters", "cluster", cluster_name, &cluster);
	if (r == 0 && user_name)
		r = find_named(rd, doc, "users", "user", user_name, &user);
	if (r == 0)
		r = read_cluster(rd, cluster, c);
	if (r == 0)
		r = read_user(rd, user, c);
	return r;
}

int kube_config_parse(const char *text, size_t len, const char *dir, const char *context,
		      struct kube_config **ret, struct err *e)
{
	_cleanup_cfg_value_ struct cfg_value *doc = NULL;
	struct err own;
	const struct reader rd = {.dir = dir, .e = e ? e : &own};
	struct cfg_pos pos = {0};

	int r = yaml_parse(text, len, &doc, &pos, rd.e);
	if (r < 0)
		return r; /* the message begins with line and column */
	if (doc->type != CFG_TABLE)
		return err_set(e, -EINVAL, "found a document of type %s, accepted: a Config",
			       cfg_type_name(doc->type));

	_cleanup_kube_config_ struct kube_config *c = calloc(1, sizeof(*c));
	if (!c)
		return err_sys(e, -ENOMEM, "kubeconfig");
	r = read_context(&rd, doc, context, c);
	if (r < 0)
		return r;
	*ret = mem_steal(&c);
	return 0;
}

int kube_config_load(const char *path, const char *context, struct kube_config **ret, struct err *e)
{
	struct buf b = BUF_INIT(0);
	int r = kube_read_file(path, MAX_KUBECONFIG, &b, e);

	if (r < 0)
		return r;
	const char *slash = strrchr(path, '/');
	char *dir = slash ? mem_dup_str(path, (size_t)(slash - path) + 1) : strdup("");
	struct err why;
	r = dir ? kube_config_parse(buf_str(&b), b.len, dir, context, ret, &why)
		: err_sys(&why, -ENOMEM, "kubeconfig");
	if (r < 0)
		r = err_set(e, r, "%s: %s", path, why.msg);
	free(dir);
	buf_wipe(&b);
	return r;
}

int kube_config_find(const char *path, const char *context, struct kube_config **ret, struct err *e)
{
	const char *env = getenv("KUBECONFIG"), *home = getenv("HOME");

	if (path)
		return kube_config_load(path, context, ret, e);
	if (getenv("KUBERNETES_SERVICE_HOST") && !context)
		return kube_config_in_cluster(NULL, ret, e);
	if (env && *env) {
		if (strchr(env, ':'))
			return err_set(e, -ENOTSUP, "KUBECONFIG names several files; name one");
		return kube_config_load(env, context, ret, e);
	}
	if (!home || !*home)
		return err_set(e, -ENOENT, "neither in a pod, nor KUBECONFIG, nor HOME is set");

	_cleanup_free_ char *file = join(home, ".kube/config");
	if (!file)
		return err_sys(e, -ENOMEM, "kubeconfig");
	return kube_config_load(file, context, ret, e);
}
