/*
 * Theory of operation. Events (events.k8s.io/v1) are told to people by `kubectl describe` and
 * `kubectl events`; they are hints and must never cost the cluster much. So:
 *
 *   - one table of at most MAX_ENTRIES is the queue and the memory at once: an entry is an Event
 *     that is to be created, or that was and may be repeated;
 *   - the same reason and note about the same object within FORGET of its last time is counted
 *     in the entry's series, and the series is told by one patch in PATCH_EVERY at most;
 *   - new Events are paid for from a bucket of BURST tokens, one of which comes back every REFILL;
 *   - one request is under way at a time, so their order is kept.
 *
 *   kube_event ──> entry ──POST──> created ──same again──> count ──PATCH (series)──> created
 *
 * A failed request is tried again after a delay (no answer, 401, 429, 5xx), up to MAX_ATTEMPTS;
 * any other refusal drops the entry. A patch that finds its Event expired (404; API servers keep
 * them for an hour) makes a new one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

#define SEC          NS_PER_SEC
#define MAX_ENTRIES  64
#define MAX_ATTEMPTS 8
#define FORGET       (600 * SEC)
#define PATCH_EVERY  (30 * SEC)
#define BURST        20
#define REFILL       (15 * SEC)
#define MAX_NOTE     1024 /* with the NUL; the API's bound is 1 KiB */
#define MAX_ID_NAME  200  /* of a name that has 253: the Event's own has the same bound */

struct entry {
	struct list node; /* oldest first */
	char *api_version, *kind, *ns, *name, *uid, *reason, *action, *note;
	bool warning;
	char id[254]; /* metadata.name of the Event */
	struct wall first, last;
	struct mono seen, patched;
	unsigned count, told; /* times it happened; times the API server knows of */
	unsigned attempts;
};

struct kube_events {
	struct kube_client *client;
	char *instance;
	struct list entries;
	unsigned n_entries;
	unsigned tokens;
	struct mono refilled, retry_at;
	struct event *timer;
	struct kube_call *call;
	struct entry *sending; /* the entry that `call` is about */
	unsigned sending_count;
	struct kube_events_stats stats;
};

static void entry_free(struct entry *en)
{
	if (!en)
		return;
	free(en->api_version);
	free(en->kind);
	free(en->ns);
	free(en->name);
	free(en->uid);
	free(en->reason);
	free(en->action);
	free(en->note);
	free(en);
}

static void entry_drop(struct kube_events *ev, struct entry *en)
{
	list_del(&en->node);
	ev->n_entries--;
	entry_free(en);
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* How much of it is told. */
static size_t note_len(const char *s)
{
	size_t n = strlen(s);

	if (n >= MAX_NOTE)
		for (n = MAX_NOTE - 1; n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80; n--)
			; /* not within a character */
	return n;
}

/* NAME.TIME as client-go names them, made unique among the nodes by random bits. */
static void make_id(struct entry *en)
{
	size_t n = strnlen(en->name, MAX_ID_NAME);

	while (n > 0 && (en->name[n - 1] == '.' || en->name[n - 1] == '-'))
		n--; /* before our own '.' it would be no name */
	snprintf(en->id, sizeof(en->id), "%.*s.%llx%08x", (int)n, en->name,
		 (unsigned long long)en->first.ns, kube_random(NULL));
}

static struct entry *entry_new(const struct kube_ref *about, bool warning, const char *reason,
			       const char *action, const char *note)
{
	struct entry *en = calloc(1, sizeof(*en));

	if (!en)
		return NULL;
	list_init(&en->node);
	en->api_version = strdup(or_empty(about->api_version));
	en->kind = strdup(or_empty(about->kind));
	en->ns = strdup(or_empty(about->ns));
	en->name = strdup(or_empty(about->name));
	en->uid = strdup(or_empty(about->uid));
	en->reason = strdup(reason);
	en->action = strdup(action);
	en->note = mem_dup_str(note, note_len(note));
	en->warning = warning;
	en->count = 1;
	en->first = en->last = wall_now();
	if (!en->api_version || !en->kind || !en->ns || !en->name || !en->uid || !en->reason ||
	    !en->action || !en->note) {
		entry_free(en);
		return NULL;
	}
	make_id(en);
	return en;
}

static struct entry *find_same(struct kube_events *ev, const struct kube_ref *about, bool warning,
			       const char *reason, const char *note)
{
	size_t n = note_len(note);

	list_for_each (en, &ev->entries, struct entry, node) {
		if (en->warning == warning && str_eq(en->reason, reason) &&
		    strncmp(en->note, note, n) == 0 && en->note[n] == '\0' &&
		    str_eq(en->kind, or_empty(about->kind)) &&
		    str_eq(en->name, or_empty(about->name)) &&
		    str_eq(en->ns, or_empty(about->ns)) && str_eq(en->uid, or_empty(about->uid)))
			return en;
	}
	return NULL;
}

static void forget_old(struct kube_events *ev, struct mono now)
{
	list_for_each_safe (en, &ev->entries, struct entry, node) {
		if (en != ev->sending && en->told == en->count &&
		    mono_since(now, en->seen) > FORGET)
			entry_drop(ev, en);
	}
}

/* When the table is full, what was told longest ago goes first. */
static bool make_room(struct kube_events *ev)
{
	if (ev->n_entries < MAX_ENTRIES)
		return true;
	list_for_each (en, &ev->entries, struct entry, node) {
		if (en != ev->sending && en->told == en->count) {
			entry_drop(ev, en);
			return true;
		}
	}
	return false;
}

static bool take_token(struct kube_events *ev, struct mono now)
{
	int64_t n = mono_since(now, ev->refilled) / REFILL;

	if (n > 0) {
		ev->tokens = n >= BURST - ev->tokens ? BURST : ev->tokens + (unsigned)n;
		ev->refilled = mono_add(ev->refilled, n * REFILL);
	}
	if (ev->tokens == 0)
		return false;
	ev->tokens--;
	return true;
}

/* ---- The two requests ---- */

static const char *event_namespace(const struct entry *en)
{
	return en->ns[0] ? en->ns : "default"; /* the API's rule for objects without a namespace */
}

static void add_member(struct buf *b, const char *name, const char *value)
{
	buf_addf(b, ",\"%s\":", name);
	json_quote(b, value);
}

static void build_post(const struct kube_events *ev, const struct entry *en, struct buf *path,
		       struct buf *body)
{
	char time[TIME_RFC3339_LEN];

	buf_addf(path, "/apis/events.k8s.io/v1/namespaces/%s/events", event_namespace(en));
	buf_adds(body, "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{");
	buf_addf(body, "\"name\":\"%s\"", en->id);
	add_member(body, "namespace", event_namespace(en));
	buf_addf(body, "},\"eventTime\":\"%s\",\"type\":\"%s\"", time_rfc3339(en->first, time),
		 en->warning ? "Warning" : "Normal");
	add_member(body, "reportingController", "harmony-agent");
	add_member(body, "reportingInstance", ev->instance);
	add_member(body, "action", en->action);
	add_member(body, "reason", en->reason);
	add_member(body, "note", en->note);
	buf_adds(body, ",\"regarding\":{\"kind\":");
	json_quote(body, en->kind);
	add_member(body, "apiVersion", en->api_version);
	add_member(body, "name", en->name);
	if (en->ns[0])
		add_member(body, "namespace", en->ns);
	if (en->uid[0])
		add_member(body, "uid", en->uid);
	buf_adds(body, "}}");
}

static void build_patch(const struct entry *en, struct buf *path, struct buf *body)
{
	char time[TIME_RFC3339_LEN];

	buf_addf(path, "/apis/events.k8s.io/v1/namespaces/%s/events/%s", event_namespace(en),
		 en->id);
	buf_addf(body, "{\"series\":{\"count\":%u,\"lastObservedTime\":\"%s\"}}", en->count,
		 time_rfc3339(en->last, time));
}

static void pump(struct kube_events *ev);

static void on_answer(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_events *ev = arg;
	struct entry *en = ev->sending;
	struct mono now = mono_now();
	bool patch = en->told > 0;

	ev->call = NULL;
	ev->sending = NULL;
	if ((s->http >= 200 && s->http < 300) || (s->http == 409 && !patch)) {
		ev->stats.sent += !patch;
		ev->stats.error[0] = '\0';
		en->told = ev->sending_count;
		en->patched = now;
		en->attempts = 0;
	} else if (s->http == 404 && patch) {
		en->told = 0;
		en->count = 1;
		en->first = en->last;
		make_id(en);
	} else {
		bool again = s->http == 0 || s->http == 401 || s->http == 429 || s->http >= 500;

		snprintf(ev->stats.error, sizeof(ev->stats.error), "%s", s->message);
		if (again && ++en->attempts < MAX_ATTEMPTS) {
			ev->retry_at =
				mono_add(now, kube_retry_delay(en->attempts - 1, s->retry_after));
		} else {
			ev->stats.failed++;
			entry_drop(ev, en);
		}
	}
	pump(ev);
}

static bool is_due(const struct entry *en, struct mono now)
{
	return en->told == 0 ||
	       (en->count > en->told && mono_since(now, en->patched) >= PATCH_EVERY);
}

static void send_entry(struct kube_events *ev, struct entry *en)
{
	_cleanup_buf_ struct buf path = BUF_INIT(1024), body = BUF_INIT(16384);
	struct err e = {.msg = "out of memory"};
	bool patch = en->told > 0;
	int r = -ENOMEM;

	if (patch)
		build_patch(en, &path, &body);
	else
		build_post(ev, en, &path, &body);
	if (!buf_error(&path) && !buf_error(&body)) {
		const struct kube_request req = {
			.method = patch ? "PATCH" : "POST",
			.path = path.data,
			.content_type = patch ? "application/merge-patch+json" : NULL,
			.body = body.data,
			.body_len = body.len,
		};
		r = kube_client_send(ev->client, &req, on_answer, ev, &ev->call, &e);
	}
	if (r < 0) {
		memcpy(ev->stats.error, e.msg, sizeof(ev->stats.error));
		ev->stats.failed++;
		entry_drop(ev, en);
		return;
	}
	ev->sending = en;
	/* A POST tells of the first time only. */
	ev->sending_count = patch ? en->count : 1;
}

/* Sends what is due, or arms the timer for when something will be. */
static void pump(struct kube_events *ev)
{
	struct mono now = mono_now();
	int64_t next = INT64_MAX;

	if (ev->call)
		return;
	forget_old(ev, now);
	if (mono_before(now, ev->retry_at)) {
		kube_timer_in(ev->timer, mono_since(ev->retry_at, now));
		return;
	}
	list_for_each_safe (en, &ev->entries, struct entry, node) {
		if (is_due(en, now)) {
			send_entry(ev, en);
			if (ev->call)
				return;
		} else if (en->count > en->told) {
			int64_t in = PATCH_EVERY - mono_since(now, en->patched);

			next = in < next ? in : next;
		}
	}
	if (next != INT64_MAX)
		kube_timer_in(ev->timer, next);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	pump(arg);
}

int kube_events_new(struct kube_client *c, const char *instance, struct kube_events **ret,
		    struct err *e)
{
	struct kube_events *ev = calloc(1, sizeof(*ev));

	if (!ev)
		return err_sys(e, -ENOMEM, "events");
	ev->client = c;
	list_init(&ev->entries);
	ev->tokens = BURST;
	ev->refilled = mono_now();
	ev->instance = strdup(instance);
	ev->timer = evtimer_new(c->base, on_timer, ev);
	if (!ev->instance || !ev->timer) {
		kube_events_free(ev);
		return err_sys(e, -ENOMEM, "events");
	}
	*ret = ev;
	return 0;
}

void kube_events_free(struct kube_events *ev)
{
	if (!ev)
		return;
	kube_call_cancel(ev->call);
	list_for_each_safe (en, &ev->entries, struct entry, node)
		entry_drop(ev, en);
	if (ev->timer)
		event_free(ev->timer);
	free(ev->instance);
	free(ev);
}

void kube_event(struct kube_events *ev, const struct kube_ref *about, bool warning,
		const char *reason, const char *action, const char *note)
{
	struct mono now = mono_now();

	forget_old(ev, now);
	struct entry *en = find_same(ev, about, warning, reason, note);
	if (en) {
		en->count++;
		en->last = wall_now();
		ev->stats.repeated++;
	} else {
		bool ok = kube_is_name(or_empty(about->name)) &&
			  (!about->ns || !about->ns[0] || kube_is_namespace(about->ns)) &&
			  make_room(ev) && take_token(ev, now);

		en = ok ? entry_new(about, warning, reason, action, note) : NULL;
		if (!en) {
			ev->stats.dropped++;
			return;
		}
		list_add(&ev->entries, &en->node);
		ev->n_entries++;
	}
	en->seen = now;
	/* Also where the timer waits for something that is due later. */
	if (!ev->call)
		kube_timer_in(ev->timer, 0);
}

void kube_events_get_stats(const struct kube_events *ev, struct kube_events_stats *ret)
{
	*ret = ev->stats;
}
