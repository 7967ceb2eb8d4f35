/*
 * libcurl's multi interface driven by libevent, for every HTTP client of the tree. It stands
 * beside the server and below lib/kube because nothing in it knows about Kubernetes.
 *
 * A transfer is a curl easy handle that the caller has set up; it runs from http_loop_add until
 * its `done` was called or http_loop_remove. `done` comes from the event loop and from outside
 * of libcurl, so it may add, remove and free transfers, and free the loop. curl's own callbacks
 * (write, header) are inside of libcurl and may do none of that.
 */
#ifndef HTTP_CURL_LOOP_H
#define HTTP_CURL_LOOP_H

#include <curl/curl.h>

#include "base/err.h"

struct event_base;
struct http_loop;

/* Embedded in what the caller keeps about the transfer. */
struct http_transfer {
	CURL *easy; /* the caller's; its CURLOPT_PRIVATE is used by the loop */
	void (*done)(void *arg, CURLcode result);
	void *arg;
	struct http_loop *loop; /* NULL while it does not run */
};

int http_loop_new(struct event_base *base, struct http_loop **ret, struct err *e);
/* Every transfer has ended or was removed. NULL is accepted. */
void http_loop_free(struct http_loop *l);

int http_loop_add(struct http_loop *l, struct http_transfer *t, struct err *e);
/* Harmless on a transfer that does not run. */
void http_loop_remove(struct http_transfer *t);

#endif
