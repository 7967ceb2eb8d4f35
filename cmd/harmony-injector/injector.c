/*
 * POST /mutate by TLS; /livez, /readyz and /metrics beside it, on a port of their own: probes and
 * scrapes need no certificate, and whoever scrapes cannot send reviews there.
 *
 * Limits: one review is at most 10 MB, all large ones together 32 MB; beyond that the one that
 * comes most slowly is cut, and the API server's failurePolicy decides. Connections are many, since
 * an API server opens one for each pod that it admits at the same time.
 *
 * The certificate in use has an end, by which somebody (cert-manager, an admin, own_ca.c) should
 * have put another one in its place. While a tenth of its time or less is left that is told, once;
 * after it no API server takes an answer, so that the replica is not ready.
 */
#include "injector.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "http/http.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define LOOK_SECS 60 /* at most, between two looks at the clock: it may step */

struct injector {
	const struct injector_options *opts;
	struct http_server *tls, *plain;
	struct metrics *m;
	struct metrics_series *verdicts[INJECT_REFUSED + 1], *invalid, *seconds, *not_after_seconds;
	struct wall not_before, not_after; /* of the certificate in use; never before the first */
	struct event *look;                /* at how much of its time is left */
	bool told_ending, ready, draining;
	char why[4 * ERR_MSG_MAX]; /* injector_explain's */
};

static const char *const verdict_names[] = {
	[INJECT_PATCHED] = "injected",
	[INJECT_ALREADY] = "already",
	[INJECT_SKIPPED] = "skipped",
	[INJECT_REFUSED] = "refused",
};

static void tell(const struct inject_outcome *o, int64_t ns)
{
	const char *verdict = verdict_names[o->verdict];

	if (o->verdict == INJECT_REFUSED)
		log_warn("pod refused", LOG_STR("pod", o->pod), LOG_STR("reason", o->reason));
	else
		log_info("pod reviewed", LOG_STR("pod", o->pod), LOG_STR("result", verdict),
			 LOG_STR("reason", *o->reason ? o->reason : NULL),
			 LOG_INT("microseconds", ns / 1000));
}

static void on_mutate(struct http_request *req, void *arg)
{
	struct injector *j = arg;
	struct mono from = mono_now();
	struct buf answer = BUF_INIT(0);
	struct inject_outcome o;
	struct err e = {0};
	size_t len;
	const char *text = http_request_body(req, &len);
	int r = inject_review(&j->opts->settings, text, len, &answer, &o, &e);
	int64_t ns = mono_since(mono_now(), from);

	metrics_observe(j->seconds, (double)ns / NS_PER_SEC);
	if (r < 0) {
		metrics_inc(j->invalid);
		log_warn("no review", LOG_STR("error", e.msg));
		http_reply(req,
			   r == -ENOMEM  ? 500
			   : r == -E2BIG ? 413
					 : 400,
			   "text/plain; charset=utf-8", e.msg);
	} else {
		metrics_inc(j->verdicts[o.verdict]);
		tell(&o, ns);
		http_reply_buf(req, 200, "application/json", &answer);
	}
	buf_free(&answer);
}

static void on_livez(struct http_request *req, void *arg)
{
	http_reply(req, 200, "text/plain; charset=utf-8", "ok\n");
}

static void on_readyz(struct http_request *req, void *arg)
{
	const struct injector *j = arg;
	struct buf body = BUF_INIT(0);
	char at[TIME_RFC3339_LEN];
	bool ok = false;

	if (j->draining)
		buf_adds(&body, "ending\n");
	else if (wall_is_never(j->not_after))
		buf_addf(&body, "there is no certificate yet\n%s", j->why);
	else if (injector_certificate_ended(j))
		buf_addf(&body, "the certificate ended at %s\n%s", time_rfc3339(j->not_after, at),
			 j->why);
	else if (!j->ready)
		buf_addf(&body, "the webhook configuration does not trust the certificate yet\n%s",
			 j->why);
	else
		ok = true;
	if (ok)
		buf_adds(&body, "ok\n");
	http_reply_buf(req, ok ? 200 : 503, "text/plain; charset=utf-8", &body);
	buf_free(&body);
}

static void on_metrics(struct http_request *req, void *arg)
{
	const struct injector *j = arg;
	struct buf body = BUF_INIT(1 << 20);
	enum metrics_format format = metrics_negotiate(http_request_header(req, "accept"));

	metrics_write(j->m, format, &body);
	http_reply_buf(req, 200, metrics_content_type(format), &body);
	buf_free(&body);
}

static int add_metrics(struct injector *j, struct err *e)
{
	const struct metrics_desc reviews = {.type = METRICS_COUNTER,
					     .name = "harmony_injector_reviews_total",
					     .help = "Reviews answered, by result.",
					     .labels = METRICS_LABELS("result")};
	const struct metrics_desc seconds = {
		.type = METRICS_HISTOGRAM,
		.name = "harmony_injector_review_seconds",
		.help = "Time from a whole review to its answer.",
		.unit = "seconds",
		METRICS_BUCKETS(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)};
	const struct metrics_desc not_after = {
		.type = METRICS_GAUGE,
		.name = "harmony_injector_certificate_not_after_timestamp_seconds",
		.help = "When the certificate in use ends.",
		.unit = "seconds"};
	struct metrics_family *f;
	int r;

	if ((r = metrics_add_family(j->m, &reviews, &f, e)) < 0 ||
	    (r = metrics_add_single(j->m, &seconds, &j->seconds, e)) < 0 ||
	    (r = metrics_add_single(j->m, &not_after, &j->not_after_seconds, e)) < 0 ||
	    (r = http_process_metrics(j->m, e)) < 0)
		return r;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(j->verdicts); i++)
		r = metrics_add_series(f, METRICS_LABELS(verdict_names[i]), &j->verdicts[i], e);
	return r < 0 ? r : metrics_add_series(f, METRICS_LABELS("invalid"), &j->invalid, e);
}

static int add_routes(struct injector *j)
{
	if (http_server_route(j->tls, "/mutate", HTTP_POST, on_mutate, j) < 0 ||
	    http_server_route(j->plain, "/livez", HTTP_GET, on_livez, j) < 0 ||
	    http_server_route(j->plain, "/readyz", HTTP_GET, on_readyz, j) < 0 ||
	    http_server_route(j->plain, "/metrics", HTTP_GET, on_metrics, j) < 0)
		return -ENOMEM;
	return 0;
}

/* --- the certificate --- */

static void look_at_certificate(struct injector *j)
{
	int64_t left = j->not_after.ns - wall_now().ns;
	int64_t wait = left - (j->not_after.ns - j->not_before.ns) / 10;
	char at[TIME_RFC3339_LEN];

	if (j->told_ending)
		return;
	if (wait <= 0) {
		log_warn("the certificate ends soon, and no other one is there",
			 LOG_STR("at", time_rfc3339(j->not_after, at)),
			 LOG_INT("seconds_left", left / NS_PER_SEC));
		j->told_ending = true;
		return;
	}
	wait = wait / NS_PER_MSEC + 1;
	if (wait > LOOK_SECS * 1000)
		wait = LOOK_SECS * 1000;
	event_add(j->look, &(struct timeval){wait / 1000, wait % 1000 * 1000});
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	look_at_certificate(arg);
}

void injector_use_certificate(struct injector *j, SSL_CTX *ctx)
{
	struct wall not_after = http_tls_not_after(ctx);

	http_server_tls(j->tls, ctx);
	/* Read again without a change: what was told stays told. */
	j->told_ending = j->told_ending && not_after.ns == j->not_after.ns;
	j->not_before = http_tls_not_before(ctx);
	j->not_after = not_after;
	metrics_set(j->not_after_seconds, (double)not_after.ns / NS_PER_SEC);
	look_at_certificate(j);
}

bool injector_certificate_ended(const struct injector *j)
{
	return !wall_is_never(j->not_after) && wall_now().ns >= j->not_after.ns;
}

/* --- its life --- */

int injector_new(struct event_base *base, const struct injector_options *opts,
		 struct injector **ret, struct err *e)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;
	struct injector *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_set(e, -ENOMEM, "out of memory");
	limits.max_conns = 1024;
	limits.max_body = INJECT_MAX_BYTES;
	limits.max_bodies = (size_t)32 << 20;
	limits.gzip_min = 0;
	/* Longer than the API server's (90 s, net/http's default): who closes first loses the
	 * review that crosses it, which no API server asks again. */
	limits.idle_ms = 120000;
	j->opts = opts;
	j->look = evtimer_new(base, on_look, j);
	j->m = metrics_new();
	j->tls = http_server_new(base, &limits);
	j->plain = http_server_new(base, NULL);
	if (!j->look || !j->m || !j->tls || !j->plain || add_routes(j) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	else
		r = add_metrics(j, e);
	if (r < 0) {
		injector_free(j);
		return r;
	}
	*ret = j;
	return 0;
}

int injector_listen(struct injector *j, struct err *e)
{
	int r = http_server_bind(j->tls, j->opts->listen, e);

	if (r < 0)
		return r;
	log_info("listening for reviews", LOG_INT("port", http_server_port(j->tls, 0)));
	return 0;
}

int injector_listen_health(struct injector *j, struct err *e)
{
	int r;

	if (!j->opts->health)
		return 0;
	r = http_server_bind(j->plain, j->opts->health, e);
	if (r < 0)
		return r;
	log_info("listening for probes", LOG_INT("port", http_server_port(j->plain, 0)));
	return 0;
}

void injector_ready(struct injector *j)
{
	j->ready = true;
}

void injector_explain(struct injector *j, const char *why)
{
	snprintf(j->why, sizeof(j->why), "%s", why);
}

struct metrics *injector_metrics(struct injector *j)
{
	return j->m;
}

void injector_drain(struct injector *j)
{
	j->draining = true;
	http_server_drain(j->tls);
}

void injector_free(struct injector *j)
{
	if (!j)
		return;
	if (j->look)
		event_free(j->look);
	http_server_free(j->tls);
	http_server_free(j->plain);
	metrics_free(j->m);
	free(j);
}
