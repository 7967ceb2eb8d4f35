/*
 * What the files of lib/kube share: credentials, one HTTP transfer, status objects, small texts.
 */
#ifndef KUBE_KUBE_PRIV_H
#define KUBE_KUBE_PRIV_H

#include <event2/event.h>

#include "base/buf.h"
#include "base/list.h"
#include "http/curl_loop.h"
#include "json/json.h"
#include "kube/kube.h"

#define KUBE_MAX_DEPTH 64

/* No certificate bundle or token is longer. */
#define KUBE_MAX_CREDENTIAL ((size_t)1 << 20)

/* ---- credential.c: the contents of a kube_source, kept current ---- */

struct kube_credential {
	const struct kube_config *config;
	struct kube_client_stats *stats;
	struct event *timer, *notify;
	int notify_fd; /* inotify, -1 where there is none: the timer does it alone */
	/* Current contents; empty: none. Wiped when replaced. */
	struct buf ca, cert, key, token;
	void (*changed)(void *arg); /* CA, certificate or key: old connections are not to be used */
	void *arg;
};

/* All files must be readable now. */
int kube_credential_init(struct kube_credential *c, struct event_base *base,
			 const struct kube_config *config, struct kube_client_stats *stats,
			 void (*changed)(void *arg), void *arg, struct err *e);
void kube_credential_done(struct kube_credential *c);
/* The server answered 401: what the file says now is used from here on. */
void kube_credential_rejected(struct kube_credential *c);

/* A whole file of at most `max` bytes. -E2BIG beyond. *ret is filled only on success. */
int kube_read_file(const char *path, size_t max, struct buf *ret, struct err *e);

/* ---- transfer.c: one HTTP transfer with our credentials ---- */

struct kube_transfer {
	struct http_transfer http; /* http.easy NULL: not made */
	struct kube_client *client;
	struct curl_slist *headers, *connect_to;
	char error[CURL_ERROR_SIZE];
};

struct kube_transfer_opts {
	const char *method, *path, *content_type;
	const char *body; /* copied */
	size_t body_len;
	unsigned timeout_secs; /* 0: none (a stream) */
	bool own_connection;   /* a new one, not used again */
	curl_write_callback write;
	curl_write_callback header; /* may be NULL */
	void (*done)(void *arg, CURLcode result);
	void *arg;
};

int kube_transfer_start(struct kube_client *client, const struct kube_transfer_opts *opts,
			struct kube_transfer *t, struct err *e);
/* Ends it without `done`; harmless on one that is zeroed or has ended. */
void kube_transfer_end(struct kube_transfer *t);

/* ---- status.c: why it failed ---- */

/* Reads a Status object (an error answer, an ERROR event) into *ret; `ret->http` is from its
 * code where the object has one and `http` is 0. False where it is no Status. */
bool kube_status_from_object(struct json_object *o, struct kube_status *ret);
/* Puts "WHAT: SAID: " before the message. */
void kube_status_prefix(struct kube_status *s, const char *what, const char *said);
/* The outcome of a transfer: its HTTP status, Retry-After, and the Status object in the body
 * (NULL: none). `what` begins the message. Notes a 401 with the credentials. */
void kube_status_of_transfer(struct kube_transfer *t, CURLcode result, struct json_object *body,
			     const char *what, struct kube_status *ret);

/* ---- client.c ---- */

struct kube_client {
	struct event_base *base;
	struct kube_config *config;
	struct http_loop *loop;
	struct kube_credential credential;
	struct kube_client_stats stats;
	struct list users; /* struct kube_user: the open watches */
	struct list calls;
	struct event *probe_timer;
	struct kube_call *probe_call;
};

/* A watch, as the client sees it. Both only note the fact and wake the watch. */
struct kube_user {
	struct list node;
	bool streaming; /* asks for signs of life */
	void (*renew)(struct kube_user *u);
	void (*lost)(struct kube_user *u);
};

/* ---- probe.c: whether the API server answers at all ---- */

int kube_probe_init(struct kube_client *c, struct err *e);
void kube_probe_done(struct kube_client *c);
/* A stream has opened: begins if it is the first. */
void kube_probe_wanted(struct kube_client *c);

/* ---- object.c ---- */

const char *kube_kind_resource(enum kube_kind kind); /* "secrets" */
/* Overwrites the values of a Secret's data where they are. */
void kube_object_wipe(struct json_object *o);

/* ---- text.c ---- */

/* RFC 1123 subdomain (253) and label (63), as the API server checks names. */
bool kube_is_name(const char *s);
bool kube_is_namespace(const char *s);
/* Percent-encodes what is not unreserved (RFC 3986, 2.3). */
void kube_add_escaped(struct buf *b, const char *s);
/* Decodes base64 into *ret, which is reserved once for the whole (so that nothing is left behind
 * when it is wiped). White space is skipped. -EINVAL, -ENOMEM; *ret is emptied on failure. */
int kube_base64(const char *s, size_t len, struct buf *ret);
/* 32 random bits for jitter, in the form that the reflector takes. */
uint32_t kube_random(void *unused);
/* 0.8 s doubled to 30 s with up to 100% jitter, for requests that are not the reflector's. */
int64_t kube_retry_delay(unsigned attempt, unsigned retry_after);
/* Arms a timer, at once for a delay that is not positive. */
void kube_timer_in(struct event *timer, int64_t ns);

#endif
