/*
 * Theory of operation. Two watches (the Secret, the ConfigMap; either may be missing) keep copies
 * of their objects' entries: documents (names that end in .toml, .yaml, .json) and, from the
 * Secret, everything else as key material for private_key_secret and preshared_key_secret.
 *
 * "Synced" means that both were answered for. Until then the configuration is not read, since
 * half of it would look like a removal of the other half. A node that boots while the API server
 * is away would wait for ever: so the last accepted entries are kept on disk (0600), and are
 * taken when the server has not answered within CACHE_AFTER. They are taken as a whole, beside
 * what one of the two watches may have brought: two halves of different age are no configuration.
 *
 *     waiting ── both answered ──────────────> synced (live)
 *        └──── CACHE_AFTER, cache is there ──> synced (from cache) ── both answered ──> live
 *
 * An object that is deleted leaves its last entries behind, marked as gone, and so does one that
 * comes with a value that cannot be read, marked with the error. Its documents are marked, too, so
 * that each network in them is kept or removed as it says, and a restart of the API server with an
 * empty store is not the end of all tunnels. On disk the mark is an entry with a name that no
 * object's entry can have.
 */
#include "agent/source_kube.h"
#include "agent/agent.h"
#include "agent/cache.h"
#include "base/secret.h"
#include "base/str.h"
#include "log/log.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_AFTER_SECS 10
#define DOC_NAME_MAX     1024
#define GONE             "/gone"

struct watched {
	struct agent_source_kube *owner;
	enum kube_kind kind;
	char *ns, *name; /* NULL name: not watched */
	struct kube_watch *watch;
	struct agent_entries entries; /* of the object as it was last seen and understood */
	struct agent_entries cached;  /* from disk, in force while `from_cache` */
	char *uid;                    /* NULL: never seen */
	bool gone;                    /* the API server says that there is none */
	bool cached_gone;             /* or said so when `cached` was written */
	struct err error;             /* why the newest is not what `entries` are; "" if they are */
	char told[ERR_MSG_MAX];       /* what was last logged of the watch's errors */
};

struct agent_source_kube {
	struct kube_client *client;
	struct kube_events *events;
	struct kube_publish *publish;
	struct kube_gate *gate;
	struct kube_taint *taint;
	/* What was last logged of their errors. */
	char gate_told[ERR_MSG_MAX], taint_told[ERR_MSG_MAX];
	const char *node, *taint_key; /* of the options */
	struct watched secret, configmap;
	struct config_secrets secrets;
	struct event *cache_timer;
	char *cache_path;
	bool from_cache;
	void (*changed)(void *arg);
	void *arg;
};

static bool is_answered(const struct watched *w)
{
	return !w->name || (w->watch && kube_watch_get_state(w->watch)->synced);
}

static bool is_live(const struct agent_source_kube *s)
{
	return is_answered(&s->secret) && is_answered(&s->configmap);
}

bool agent_source_kube_synced(const struct agent_source_kube *s)
{
	return s->from_cache || is_live(s);
}

/* --- what the watches say --- */

static const char *kind_name(const struct watched *w)
{
	return w->kind == KUBE_SECRET ? "secret" : "configmap";
}

static int take_entry(void *arg, const char *key, const char *data, size_t len, struct err *e)
{
	return agent_entries_add(arg, key, data, len) < 0 ? err_set(e, -ENOMEM, "out of memory")
							  : 0;
}

static void tell(struct agent_source_kube *s)
{
	if (!is_live(s))
		return;
	/* Both copies are the server's now. */
	s->from_cache = false;
	if (s->cache_timer)
		event_del(s->cache_timer);
	s->changed(s->arg);
}

static void on_changed(void *arg, struct json_object *object)
{
	struct watched *w = arg;
	struct agent_entries entries = {0};
	struct kube_meta meta;
	struct err e = {0};
	bool first = !w->uid || w->gone || w->error.msg[0];

	kube_object_meta(object, &meta);
	free(w->uid);
	w->uid = strdup(meta.uid);
	w->gone = false;
	if (kube_object_each(w->kind, object, take_entry, &entries, &e) < 0) {
		agent_entries_clear(&entries);
		err_set(&w->error, -EINVAL, "%s %s/%s: %s", kind_name(w), w->ns, w->name, e.msg);
		tell(w->owner);
		return;
	}
	w->error.msg[0] = '\0';
	/* Somebody's label on the object is no news. */
	if (!first && agent_entries_equal(&entries, &w->entries)) {
		agent_entries_clear(&entries);
		return;
	}
	agent_entries_clear(&w->entries);
	w->entries = entries;
	tell(w->owner);
}

static void on_deleted(void *arg)
{
	struct watched *w = arg;

	w->gone = true;
	w->error.msg[0] = '\0';
	tell(w->owner);
}

/* The same but for numbers, which are times, ports and versions of another attempt. */
static bool same_words(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	for (;;) {
		a += strspn(a, digits);
		b += strspn(b, digits);
		if (*a != *b)
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static void on_state(void *arg, const struct kube_watch_state *state)
{
	struct watched *w = arg;

	if (state->error[0] && !same_words(state->error, w->told)) {
		log_warn("the API server is not heard", LOG_STR("kind", kind_name(w)),
			 LOG_STR("name", w->name), LOG_STR("error", state->error));
		snprintf(w->told, sizeof(w->told), "%s", state->error);
	} else if (state->connected && w->told[0]) {
		log_info("the API server is heard again", LOG_STR("kind", kind_name(w)),
			 LOG_STR("name", w->name));
		w->told[0] = '\0';
	}
	/* An object that is not there is an answer too, and the only notice of it. */
	if (state->synced && !state->exists && !w->gone && !w->uid) {
		w->gone = true;
		tell(w->owner);
	}
}

static const struct kube_watch_ops watch_ops = {
	.changed = on_changed, .deleted = on_deleted, .state = on_state};

/* --- what the configuration is read from --- */

static const struct agent_entries *in_force(const struct watched *w)
{
	return w->owner->from_cache ? &w->cached : &w->entries;
}

static bool is_gone(const struct watched *w)
{
	return w->owner->from_cache ? w->cached_gone : w->gone;
}

static void doc_name(const struct watched *w, const char *key, char ret[static DOC_NAME_MAX])
{
	snprintf(ret, DOC_NAME_MAX, "%s %s/%s key %s", kind_name(w), w->ns, w->name, key);
}

static int add_docs(const struct watched *w, struct agent_docs *ret, struct err *e)
{
	const struct agent_entries *entries = in_force(w);

	for (size_t i = 0; i < entries->n; i++) {
		const struct agent_entry *entry = &entries->items[i];
		char name[DOC_NAME_MAX];

		if (!kube_key_is_document(entry->key))
			continue;
		doc_name(w, entry->key, name);
		int r = agent_docs_add(ret, name, entry->data, entry->len);
		if (r < 0)
			return err_set(e, r, "out of memory");
		ret->items[ret->n - 1].gone = is_gone(w);
	}
	return 0;
}

int agent_source_kube_docs(const struct agent_source_kube *s, struct agent_docs *ret, struct err *e)
{
	const struct watched *both[] = {&s->configmap, &s->secret};
	const size_t before = ret->n;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(both) && r == 0; i++) {
		if (both[i]->error.msg[0] && !s->from_cache)
			r = err_set(e, -EINVAL, "%s", both[i]->error.msg);
		else
			r = add_docs(both[i], ret, e);
	}
	if (r < 0)
		return r;
	agent_docs_sort(ret);
	/* Nothing at all is a slip (another name for the entry), not a wish for no networks; and
	 * of what is not there, nothing follows. */
	if (ret->n == before) {
		if (s->secret.gone || s->configmap.gone)
			return err_set(e, -EAGAIN, "the objects do not exist");
		return err_set(
			e, -ENODATA,
			"no entry of the Secret or ConfigMap is a document: found none named "
			"*.toml, *.yaml or *.json");
	}
	return 0;
}

static int get_secret(void *arg, const char *name, const char **ret_text, size_t *ret_len,
		      struct err *e)
{
	struct agent_source_kube *s = arg;
	struct watched *w = &s->secret;

	if (!w->name)
		return err_set(e, -ENOENT, "no Secret is watched (--kube-secret)");
	struct agent_entries *entries = s->from_cache ? &w->cached : &w->entries;
	for (size_t i = 0; i < entries->n; i++) {
		struct agent_entry *entry = &entries->items[i];

		if (str_eq(entry->key, name)) {
			entry->asked_for = true;
			*ret_text = entry->data;
			*ret_len = entry->len;
			return 0;
		}
	}
	if (w->gone && !s->from_cache)
		return err_set(e, -ENOENT, "Secret %s/%s does not exist", w->ns, w->name);
	return err_set(e, -ENOENT, "Secret %s/%s has no entry \"%s\"", w->ns, w->name, name);
}

const struct config_secrets *agent_source_kube_secrets(struct agent_source_kube *s)
{
	return &s->secrets;
}

/* --- what is not there --- */

bool agent_source_kube_is_gone(const struct agent_source_kube *s, const char *doc)
{
	const struct watched *both[] = {&s->configmap, &s->secret};
	char name[DOC_NAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		for (size_t j = 0; both[i]->gone && j < both[i]->entries.n; j++) {
			doc_name(both[i], both[i]->entries.items[j].key, name);
			if (str_eq(name, doc))
				return true;
		}
	}
	return false;
}

bool agent_source_kube_missing(const struct agent_source_kube *s, struct buf *why)
{
	const struct watched *both[] = {&s->configmap, &s->secret};
	size_t before = why->len;

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		const struct watched *w = both[i];

		if (!w->name)
			continue;
		if (w->gone)
			buf_addf(why, "%s %s/%s does not exist\n", kind_name(w), w->ns, w->name);
		else if (!is_answered(w) && w->told[0])
			buf_addf(why, "waiting for the API server: %s\n", w->told);
		else if (!is_answered(w))
			buf_addf(why, "waiting for the API server: %s %s/%s\n", kind_name(w), w->ns,
				 w->name);
	}
	return why->len > before;
}

/* --- the cache --- */

/* The file's parts: which objects these are, then their entries. What was kept of other objects
 * is not what this agent was told to take. */
enum { PART_NAMES, PART_SECRET, PART_CONFIGMAP, N_PARTS };

static int add_name(struct agent_entries *names, const struct watched *w)
{
	char name[512];

	if (!w->name)
		return 0;
	int n = snprintf(name, sizeof(name), "%s/%s", w->ns, w->name);
	return agent_entries_add(names, kind_name(w), name, (size_t)n);
}

static int get_names(const struct agent_source_kube *s, struct agent_entries *ret)
{
	int r = add_name(ret, &s->secret);

	return r == 0 ? add_name(ret, &s->configmap) : r;
}

/* What this node has use for: documents, and the keys that they name for it. The other nodes' keys,
 * which are entries of the same Secret, are no business of this one's disk. The entries are
 * borrowed: only the list is freed. */
static int get_used(const struct watched *w, struct agent_entries *ret)
{
	ret->items = calloc(w->entries.n + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	if (w->gone)
		ret->items[ret->n++] = (struct agent_entry){.key = GONE, .data = ""};
	for (size_t i = 0; i < w->entries.n; i++)
		if (w->entries.items[i].asked_for || kube_key_is_document(w->entries.items[i].key))
			ret->items[ret->n++] = w->entries.items[i];
	return 0;
}

void agent_source_kube_accepted(struct agent_source_kube *s)
{
	struct agent_entries names = {0}, secret = {0}, configmap = {0};
	const struct agent_entries *parts[N_PARTS] = {
		[PART_NAMES] = &names,
		[PART_SECRET] = &secret,
		[PART_CONFIGMAP] = &configmap,
	};
	struct err e = {.msg = "out of memory"};

	if (s->from_cache || !s->cache_path)
		return;
	if (get_names(s, &names) < 0 || get_used(&s->secret, &secret) < 0 ||
	    get_used(&s->configmap, &configmap) < 0 ||
	    agent_cache_write(s->cache_path, parts, N_PARTS, &e) < 0)
		log_warn("last good configuration not kept on disk", LOG_STR("error", e.msg));
	agent_entries_clear(&names);
	free(secret.items);
	free(configmap.items);
}

static void take_cached(struct watched *w, struct agent_entries *part)
{
	agent_entries_clear(&w->cached);
	w->cached = *part;
	*part = (struct agent_entries){0};
	w->cached_gone = false;
	for (size_t i = 0; i < w->cached.n; i++)
		w->cached_gone |= str_eq(w->cached.items[i].key, GONE);
}

static int read_cache(struct agent_source_kube *s, struct err *e)
{
	struct agent_entries names = {0}, parts[N_PARTS] = {{0}};
	int r = get_names(s, &names);

	if (r < 0)
		r = err_set(e, r, "out of memory");
	else
		r = agent_cache_read(s->cache_path, parts, N_PARTS, e);
	if (r == 0 && !agent_entries_equal(&names, &parts[PART_NAMES]))
		r = err_set(e, -ESTALE, "%s: kept from other objects than these", s->cache_path);
	if (r == 0) {
		take_cached(&s->secret, &parts[PART_SECRET]);
		take_cached(&s->configmap, &parts[PART_CONFIGMAP]);
	}
	for (size_t i = 0; i < N_PARTS; i++)
		agent_entries_clear(&parts[i]);
	agent_entries_clear(&names);
	return r;
}

bool agent_source_kube_use_kept(struct agent_source_kube *s, bool use)
{
	struct err e = {0};

	if (use && s->cache_path && read_cache(s, &e) < 0)
		log_debug("nothing on disk", LOG_STR("error", e.msg));
	s->from_cache = use && s->cache_path && !e.msg[0];
	return s->from_cache;
}

static void on_cache_timer(evutil_socket_t fd, short what, void *arg)
{
	struct agent_source_kube *s = arg;
	struct err e = {0};

	if (is_live(s))
		return;
	if (read_cache(s, &e) < 0) {
		log_warn("no answer from the API server, and no configuration of an earlier start",
			 LOG_STR("error", e.msg));
		return;
	}
	log_warn("no answer from the API server: the last good configuration is taken from disk");
	s->from_cache = true;
	s->changed(s->arg);
}

/* --- Events and the published state --- */

/* The agent's own pod, when its manifest tells. */
static void event_of_pod(struct agent_source_kube *s, bool warning, const char *reason,
			 const char *note)
{
	struct kube_ref pod = {
		.api_version = "v1",
		.kind = "Pod",
		.ns = getenv("POD_NAMESPACE"),
		.name = getenv("POD_NAME"),
		.uid = getenv("POD_UID"),
	};

	if (pod.ns && pod.ns[0] && pod.name && pod.name[0] && pod.uid)
		kube_event(s->events, &pod, warning, reason, "Reconcile", note);
}

void agent_source_kube_event(struct agent_source_kube *s, bool warning, const char *reason,
			     const char *note)
{
	const struct watched *w = s->configmap.uid || !s->secret.uid ? &s->configmap : &s->secret;

	if (!w->name)
		w = w == &s->secret ? &s->configmap : &s->secret;
	struct kube_ref about = {
		.api_version = "v1",
		.kind = w->kind == KUBE_SECRET ? "Secret" : "ConfigMap",
		.ns = w->ns,
		.name = w->name,
		.uid = w->uid ? w->uid : "",
	};

	if (!s->events)
		return;
	kube_event(s->events, &about, warning, reason, "Reconcile", note);
	/* Why the pod is not ready, and that it is so no more, where `kubectl describe pod` shows
	 * it: what a probe of HTTP answers is not shown there. */
	if (warning || str_eq(reason, "PeerUp"))
		event_of_pod(s, warning, reason, note);
}

void agent_source_kube_publish(struct agent_source_kube *s, const struct kube_node_state *state)
{
	struct err e = {0};

	if (s->publish && kube_publish_set(s->publish, state, &e) < 0)
		log_warn("state not published", LOG_STR("error", e.msg));
}

static void warn_once(const char *what, const char *error, char told[static ERR_MSG_MAX])
{
	if (error[0] && !same_words(error, told))
		log_warn(what, LOG_STR("error", error));
	snprintf(told, ERR_MSG_MAX, "%s", error);
}

void agent_source_kube_ready(struct agent_source_kube *s, bool ready, const char *why)
{
	if (s->gate) {
		kube_gate_set(s->gate, ready, why);
		warn_once("pods are not told of the tunnel", kube_gate_error(s->gate),
			  s->gate_told);
	}
	if (s->taint) {
		kube_taint_set(s->taint, ready);
		warn_once("the node's taint is not removed", kube_taint_error(s->taint),
			  s->taint_told);
	}
}

static void on_taint_removed(void *arg)
{
	struct agent_source_kube *s = arg;
	char note[640];

	log_info("taint removed", LOG_STR("node", s->node), LOG_STR("key", s->taint_key));
	snprintf(note, sizeof(note), "taint %s removed from node %s: its tunnels are up",
		 s->taint_key, s->node);
	agent_source_kube_event(s, false, "TaintRemoved", note);
}

void agent_source_kube_status(const struct agent_source_kube *s, struct agent_kube_status *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->has_secret = s->secret.watch != NULL;
	ret->has_configmap = s->configmap.watch != NULL;
	if (ret->has_secret)
		ret->secret = *kube_watch_get_state(s->secret.watch);
	if (ret->has_configmap)
		ret->configmap = *kube_watch_get_state(s->configmap.watch);
	ret->from_cache = s->from_cache;
	kube_client_get_stats(s->client, &ret->client);
	if (s->events)
		kube_events_get_stats(s->events, &ret->events);
}

/* --- life --- */

/* "NS/NAME" or "NAME" in the client's namespace. */
static int split_name(const char *spec, const char *own_ns, char **ret_ns, char **ret_name,
		      struct err *e)
{
	const char *slash = strchr(spec, '/');

	if (slash && (slash == spec || !slash[1] || strchr(slash + 1, '/')))
		return err_set(e, -EINVAL, "\"%s\": accepted are NAMESPACE/NAME and NAME", spec);
	*ret_ns = slash ? mem_dup_str(spec, (size_t)(slash - spec)) : strdup(own_ns);
	*ret_name = strdup(slash ? slash + 1 : spec);
	return *ret_ns && *ret_name ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int watch_object(struct agent_source_kube *s, struct watched *w, enum kube_kind kind,
			const char *spec, struct err *e)
{
	w->owner = s;
	w->kind = kind;
	if (!spec)
		return 0;
	int r = split_name(spec, kube_client_namespace(s->client), &w->ns, &w->name, e);
	if (r < 0)
		return r;
	return kube_watch_new(s->client, kind, w->ns, w->name, &watch_ops, w, &w->watch, e);
}

static int open_publish(struct agent_source_kube *s, const struct agent_options *opts,
			struct err *e)
{
	_cleanup_free_ char *ns = NULL, *name = NULL;

	if (!opts->kube_publish)
		return 0;
	if (!opts->node)
		return err_set(e, -EINVAL, "--kube-publish needs the node's name (--node-name)");
	int r = split_name(opts->kube_publish, kube_client_namespace(s->client), &ns, &name, e);
	return r < 0 ? r : kube_publish_new(s->client, ns, name, opts->node, &s->publish, e);
}

static int open_gate(struct agent_source_kube *s, const struct agent_options *opts, struct err *e)
{
	if (!opts->kube_gate)
		return 0;
	if (!opts->node)
		return err_set(e, -EINVAL, "--kube-gate needs the node's name (--node-name)");
	return kube_gate_new(s->client, opts->node, &s->gate, e);
}

static int open_taint(struct agent_source_kube *s, const struct agent_options *opts, struct err *e)
{
	if (!opts->kube_taint)
		return 0;
	if (!opts->node)
		return err_set(e, -EINVAL, "--kube-taint needs the node's name (--node-name)");
	s->node = opts->node;
	s->taint_key = opts->kube_taint;
	return kube_taint_new(s->client, opts->node, opts->kube_taint, on_taint_removed, s,
			      &s->taint, e);
}

static int open_cache(struct agent_source_kube *s, struct event_base *base,
		      const struct agent_options *opts, struct err *e)
{
	char path[PATH_MAX];

	if (!opts->state_dir)
		return 0;
	snprintf(path, sizeof(path), "%s/last-good", opts->state_dir);
	s->cache_path = strdup(path);
	s->cache_timer = evtimer_new(base, on_cache_timer, s);
	if (!s->cache_path || !s->cache_timer)
		return err_set(e, -ENOMEM, "out of memory");
	evtimer_add(s->cache_timer, &(struct timeval){.tv_sec = CACHE_AFTER_SECS});
	return 0;
}

int agent_source_kube_new(struct event_base *base, const struct agent_options *opts,
			  void (*changed)(void *arg), void *arg, struct agent_source_kube **ret,
			  struct err *e)
{
	_cleanup_(agent_source_kube_free_p) struct agent_source_kube *s = calloc(1, sizeof(*s));
	struct kube_config *config;
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->changed = changed;
	s->arg = arg;
	s->secrets = (struct config_secrets){.get = get_secret, .arg = s};
	if ((r = kube_config_find(opts->kubeconfig, NULL, &config, e)) < 0)
		return r;
	if ((r = kube_client_new(base, config, &s->client, e)) < 0)
		return r;
	if ((r = kube_events_new(s->client, opts->node ? opts->node : "harmony-agent", &s->events,
				 e)) < 0 ||
	    (r = open_publish(s, opts, e)) < 0 || (r = open_gate(s, opts, e)) < 0 ||
	    (r = open_taint(s, opts, e)) < 0 || (r = open_cache(s, base, opts, e)) < 0 ||
	    (r = watch_object(s, &s->secret, KUBE_SECRET, opts->kube_secret, e)) < 0 ||
	    (r = watch_object(s, &s->configmap, KUBE_CONFIGMAP, opts->kube_configmap, e)) < 0)
		return r;
	*ret = mem_steal(&s);
	return 0;
}

static void watched_free(struct watched *w)
{
	kube_watch_free(w->watch);
	agent_entries_clear(&w->entries);
	agent_entries_clear(&w->cached);
	free(w->ns);
	free(w->name);
	free(w->uid);
}

void agent_source_kube_free(struct agent_source_kube *s)
{
	if (!s)
		return;
	if (s->cache_timer)
		event_free(s->cache_timer);
	watched_free(&s->secret);
	watched_free(&s->configmap);
	kube_publish_free(s->publish);
	kube_gate_free(s->gate);
	kube_taint_free(s->taint);
	kube_events_free(s->events);
	kube_client_free(s->client);
	free(s->cache_path);
	free(s);
}
