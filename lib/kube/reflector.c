/*
 * Theory of operation. What client-go calls a Reflector: a list tells what there is at one
 * version, a watch from that version tells every change after it, and whatever goes wrong leads
 * back to one of the two. The rules are client-go's, less the initial-events form of the watch
 * ("watch-list"): it spares the server large lists, and a list of one named object is not large.
 *
 *      START      listed                    200
 *   IDLE ───> LIST ────────────> WATCH ────────────────> STREAM ──┐ ordinary end:
 *             │  ^                │ ^ ^                    │  │ ^  │ watch again at once
 *      failed │  │ timer   failed │ │ └────────────────────┼──┘ └──┘ object, bookmark
 *             v  │                v │ timer                │
 *          LIST_WAIT           WATCH_WAIT <────────────────┘ cut, early end, silence, deadline
 *             ^                   │
 *             └───────────────────┴── from WATCH and STREAM: 410, too large a version, and every
 *                                     other answer that is not 401 or 429
 *
 *   first list                    resourceVersion=0: the server's cache is good enough
 *   list after a watch's 410      at the last version seen; refused with 410 or "too large": with
 *                                 none (a quorum read), at once
 *   refused, cut, 429             the same watch again after the backoff; no list
 *   401                           the same request again at once (as with 410); no list
 *   410, ERROR event of 410       list at once (again within 30 s: after the backoff)
 *   other status, unreadable line list after the backoff
 *   ordinary end                  the stream lived for LIVED_WELL and was closed in good order
 *   RENEW                         a new connection now, from the last version; no list
 *
 * Times: the backoff is 0.8 s doubled to 30 s, plus up to as much again at random; Retry-After is
 * obeyed where it is longer (429 and 5xx, up to RETRY_AFTER_MAX); a stream that was healthy for
 * two minutes clears it. A watch asks for 5 to 10 minutes, at random so that nodes do not come
 * together; it is given up 30 s after that even if the server does not end it. A server sends
 * bookmarks about once a minute; a stream that has brought one and then is silent for SILENCE is
 * dead (a proxy can keep a connection alive whose server is gone). That a server has stopped
 * answering at all is noticed sooner, by probe.c.
 *
 * An input that the state does not expect is late news of a request that was given up, and is
 * ignored: the table says which are expected.
 */
#include "kube/reflector.h"

#include <assert.h>
#include <string.h>

#define SEC NS_PER_SEC

#define BACKOFF_FIRST   (SEC * 8 / 10)
#define BACKOFF_MAX     (30 * SEC)
#define RETRY_AFTER_MAX (300u)
#define HEALTHY         (120 * SEC)
#define LIVED_WELL      (30 * SEC)
#define ANSWER_WITHIN   (35 * SEC) /* a list's end or a watch's status line */
#define WATCH_SLACK     (30 * SEC)
#define SILENCE         (150 * SEC)
#define WATCH_MIN_SECS  300u
#define WATCH_SPAN_SECS 301u

#define BIT(x) (1u << (x))

static const struct {
	const char *name;
	unsigned inputs; /* expected in this state */
	unsigned next;   /* states that may follow */
} table[KUBE_REFLECTOR_N_STATES] = {
	[KUBE_REFLECTOR_IDLE] = {"idle", BIT(KUBE_REFLECTOR_START), BIT(KUBE_REFLECTOR_LIST)},
	[KUBE_REFLECTOR_LIST] = {"list",
				 BIT(KUBE_REFLECTOR_LISTED) | BIT(KUBE_REFLECTOR_FAILED) |
					 BIT(KUBE_REFLECTOR_TIMER),
				 BIT(KUBE_REFLECTOR_LIST) | BIT(KUBE_REFLECTOR_LIST_WAIT) |
					 BIT(KUBE_REFLECTOR_WATCH)},
	[KUBE_REFLECTOR_LIST_WAIT] = {"list-wait",
				      BIT(KUBE_REFLECTOR_TIMER) | BIT(KUBE_REFLECTOR_RENEW),
				      BIT(KUBE_REFLECTOR_LIST)},
	[KUBE_REFLECTOR_WATCH] = {"watch",
				  BIT(KUBE_REFLECTOR_OPENED) | BIT(KUBE_REFLECTOR_FAILED) |
					  BIT(KUBE_REFLECTOR_ENDED) | BIT(KUBE_REFLECTOR_TIMER) |
					  BIT(KUBE_REFLECTOR_RENEW),
				  BIT(KUBE_REFLECTOR_STREAM) | BIT(KUBE_REFLECTOR_WATCH) |
					  BIT(KUBE_REFLECTOR_WATCH_WAIT) |
					  BIT(KUBE_REFLECTOR_LIST) | BIT(KUBE_REFLECTOR_LIST_WAIT)},
	[KUBE_REFLECTOR_STREAM] = {"stream",
				   BIT(KUBE_REFLECTOR_OBJECT) | BIT(KUBE_REFLECTOR_BOOKMARK) |
					   BIT(KUBE_REFLECTOR_FAILED) | BIT(KUBE_REFLECTOR_ENDED) |
					   BIT(KUBE_REFLECTOR_TIMER) | BIT(KUBE_REFLECTOR_RENEW),
				   BIT(KUBE_REFLECTOR_WATCH) | BIT(KUBE_REFLECTOR_WATCH_WAIT) |
					   BIT(KUBE_REFLECTOR_LIST) |
					   BIT(KUBE_REFLECTOR_LIST_WAIT)},
	[KUBE_REFLECTOR_WATCH_WAIT] = {"watch-wait",
				       BIT(KUBE_REFLECTOR_TIMER) | BIT(KUBE_REFLECTOR_RENEW),
				       BIT(KUBE_REFLECTOR_WATCH)},
};

typedef struct kube_reflector_command command;

static const command nothing = {.action = KUBE_REFLECTOR_NOTHING};

const char *kube_reflector_state_name(enum kube_reflector_state s)
{
	return table[s].name;
}

void kube_reflector_init(struct kube_reflector *r, uint32_t (*random)(void *arg), void *arg)
{
	*r = (struct kube_reflector){
		.deadline = KUBE_REFLECTOR_NEVER,
		.hasty = {INT64_MIN / 2},
		.random = random,
		.random_arg = arg,
	};
}

static void enter(struct kube_reflector *r, enum kube_reflector_state next, struct mono deadline)
{
	assert(table[r->state].next & BIT(next));
	r->state = next;
	r->deadline = deadline;
}

static command do_list(struct kube_reflector *r, struct mono now)
{
	enter(r, KUBE_REFLECTOR_LIST, mono_add(now, ANSWER_WITHIN));
	r->lists++;
	return (command){.action = KUBE_REFLECTOR_DO_LIST,
			 .rv = r->rv_unusable ? NULL
			       : r->rv[0]     ? r->rv
					      : "0"};
}

static command do_watch(struct kube_reflector *r, struct mono now)
{
	enter(r, KUBE_REFLECTOR_WATCH, mono_add(now, ANSWER_WITHIN));
	r->watches++;
	r->asked = now;
	r->bookmarks = false;
	r->timeout_secs = WATCH_MIN_SECS + r->random(r->random_arg) % WATCH_SPAN_SECS;
	return (command){
		.action = KUBE_REFLECTOR_DO_WATCH, .rv = r->rv, .timeout_secs = r->timeout_secs};
}

/* The next delay; the one place where the exponent grows and is cleared. */
static int64_t backoff(struct kube_reflector *r, struct mono now, unsigned retry_after)
{
	if (r->state == KUBE_REFLECTOR_STREAM && mono_since(now, r->opened) >= HEALTHY)
		r->failures = 0;

	int64_t d = BACKOFF_FIRST;
	for (unsigned i = 0; i < r->failures && d < BACKOFF_MAX; i++)
		d *= 2;
	if (d >= BACKOFF_MAX)
		d = BACKOFF_MAX;
	else
		r->failures++;
	d += (int64_t)((double)d * (r->random(r->random_arg) / 4294967296.0));

	if (retry_after > RETRY_AFTER_MAX)
		retry_after = RETRY_AFTER_MAX;
	return retry_after * SEC > d ? retry_after * SEC : d;
}

static command wait_for(struct kube_reflector *r, struct mono now, enum kube_reflector_state state,
			unsigned retry_after)
{
	int64_t delay = backoff(r, now, retry_after);

	enter(r, state, mono_add(now, delay));
	return (command){.action = KUBE_REFLECTOR_DO_WAIT};
}

/* Right away, at most once in LIVED_WELL, else after the backoff: for what a second request is
 * likely to heal, without a busy loop where it does not. The backoff of an outage that has just
 * ended does not count, since the server has answered. */
static command soon(struct kube_reflector *r, struct mono now, enum kube_reflector_state wait)
{
	if (mono_since(now, r->hasty) < LIVED_WELL)
		return wait_for(r, now, wait, 0);
	r->hasty = now;
	return wait == KUBE_REFLECTOR_LIST_WAIT ? do_list(r, now) : do_watch(r, now);
}

static unsigned obeyed_retry_after(const struct kube_reflector_input *in)
{
	return in->failure == KUBE_FAILURE_HTTP && (in->http == 429 || in->http >= 500)
		       ? in->retry_after
		       : 0;
}

static command list_failed(struct kube_reflector *r, struct mono now,
			   const struct kube_reflector_input *in)
{
	bool http = in->failure == KUBE_FAILURE_HTTP;

	r->errors++;
	if (http && (in->http == 410 || in->rv_too_large) && !r->rv_unusable) {
		r->rv_unusable = true;
		return do_list(r, now);
	}
	if (http && in->http == 401)
		return soon(r, now, KUBE_REFLECTOR_LIST_WAIT);
	return wait_for(r, now, KUBE_REFLECTOR_LIST_WAIT, obeyed_retry_after(in));
}

static command watch_failed(struct kube_reflector *r, struct mono now,
			    const struct kube_reflector_input *in)
{
	r->errors++;
	if (in->failure == KUBE_FAILURE_NETWORK)
		return wait_for(r, now, KUBE_REFLECTOR_WATCH_WAIT, 0);
	if (in->failure == KUBE_FAILURE_GARBAGE)
		return wait_for(r, now, KUBE_REFLECTOR_LIST_WAIT, 0);
	if (in->rv_too_large) {
		/* The server is behind what was seen: restored from a backup, most likely. */
		r->rv_unusable = true;
		return soon(r, now, KUBE_REFLECTOR_LIST_WAIT);
	}
	switch (in->http) {
	case 410: return soon(r, now, KUBE_REFLECTOR_LIST_WAIT);
	case 401: return soon(r, now, KUBE_REFLECTOR_WATCH_WAIT);
	case 429: return wait_for(r, now, KUBE_REFLECTOR_WATCH_WAIT, obeyed_retry_after(in));
	default: return wait_for(r, now, KUBE_REFLECTOR_LIST_WAIT, obeyed_retry_after(in));
	}
}

static command failed(struct kube_reflector *r, struct mono now,
		      const struct kube_reflector_input *in)
{
	return r->state == KUBE_REFLECTOR_LIST ? list_failed(r, now, in) : watch_failed(r, now, in);
}

static command listed(struct kube_reflector *r, struct mono now, const char *rv)
{
	static const struct kube_reflector_input garbage = {.failure = KUBE_FAILURE_GARBAGE};

	if (!rv || rv[0] == '\0' || strlen(rv) >= sizeof(r->rv))
		return list_failed(r, now, &garbage);
	strcpy(r->rv, rv);
	r->rv_unusable = false;
	r->listed = true;
	return do_watch(r, now);
}

static void set_stream_deadline(struct kube_reflector *r)
{
	struct mono end = mono_add(r->asked, r->timeout_secs * SEC + WATCH_SLACK);
	struct mono silence = mono_add(r->heard, SILENCE);

	r->deadline = r->bookmarks && mono_before(silence, end) ? silence : end;
}

static command opened(struct kube_reflector *r, struct mono now)
{
	r->opened = r->heard = now;
	enter(r, KUBE_REFLECTOR_STREAM, KUBE_REFLECTOR_NEVER);
	set_stream_deadline(r);
	return nothing;
}

static command heard(struct kube_reflector *r, struct mono now,
		     const struct kube_reflector_input *in)
{
	static const struct kube_reflector_input garbage = {.failure = KUBE_FAILURE_GARBAGE};

	if (!in->rv || in->rv[0] == '\0' || strlen(in->rv) >= sizeof(r->rv))
		return watch_failed(r, now, &garbage);
	strcpy(r->rv, in->rv);
	r->heard = now;
	r->bookmarks |= in->type == KUBE_REFLECTOR_BOOKMARK;
	set_stream_deadline(r);
	return nothing;
}

static command ended(struct kube_reflector *r, struct mono now)
{
	if (r->state == KUBE_REFLECTOR_STREAM && mono_since(now, r->opened) >= LIVED_WELL) {
		if (mono_since(now, r->opened) >= HEALTHY)
			r->failures = 0;
		return do_watch(r, now);
	}
	r->errors++;
	return wait_for(r, now, KUBE_REFLECTOR_WATCH_WAIT, 0);
}

static command timer(struct kube_reflector *r, struct mono now)
{
	static const struct kube_reflector_input timed_out = {.failure = KUBE_FAILURE_NETWORK};

	if (mono_before(now, r->deadline))
		return nothing;
	switch (r->state) {
	case KUBE_REFLECTOR_LIST_WAIT: return do_list(r, now);
	case KUBE_REFLECTOR_WATCH_WAIT: return do_watch(r, now);
	default: return failed(r, now, &timed_out);
	}
}

static command renew(struct kube_reflector *r, struct mono now)
{
	return r->state == KUBE_REFLECTOR_LIST_WAIT ? do_list(r, now) : do_watch(r, now);
}

struct kube_reflector_command kube_reflector_step(struct kube_reflector *r, struct mono now,
						  const struct kube_reflector_input *in)
{
	if (!(table[r->state].inputs & BIT(in->type)))
		return nothing;
	switch (in->type) {
	case KUBE_REFLECTOR_START: return do_list(r, now);
	case KUBE_REFLECTOR_LISTED: return listed(r, now, in->rv);
	case KUBE_REFLECTOR_OPENED: return opened(r, now);
	case KUBE_REFLECTOR_OBJECT:
	case KUBE_REFLECTOR_BOOKMARK: return heard(r, now, in);
	case KUBE_REFLECTOR_FAILED: return failed(r, now, in);
	case KUBE_REFLECTOR_ENDED: return ended(r, now);
	case KUBE_REFLECTOR_TIMER: return timer(r, now);
	case KUBE_REFLECTOR_RENEW: return renew(r, now);
	case KUBE_REFLECTOR_N_INPUTS: break;
	}
	return nothing;
}
