/*
 * An API server of a test's own, in the same process and on the same loop as the client that asks
 * it: handlers of lib/http stand for it, on loopback and without TLS.
 */
#ifndef KUBEAPI_H
#define KUBEAPI_H

#include "http/http.h"
#include "json/json.h"
#include "kube/kube.h"

struct kubeapi {
	struct event_base *base;
	struct http_server *server;
	struct kube_client *client; /* its namespace is "vpn" */
};

void kubeapi_start(struct kubeapi *api);
void kubeapi_end(struct kubeapi *api); /* after all that was made from its client */

/* Turns the loop until `done` says so, for twenty seconds at most; whether it did. */
bool kubeapi_until(struct kubeapi *api, bool (*done)(void *arg), void *arg);
/* Turns the loop for so long: for what must not happen. */
void kubeapi_for(struct kubeapi *api, unsigned ms);
/* Turns the loop until the client has seen the end of `n` requests in all, and for a moment longer;
 * how many they were by then. */
unsigned kubeapi_requests(struct kubeapi *api, unsigned n);
/* Whether connections made from now on are cut, without an answer, as a POST or PATCH comes. */
void kubeapi_mute(struct kubeapi *api, bool on);

/* The request's body as an object, the caller's. */
struct json_object *kubeapi_body(struct http_request *req);
/* A Status object with that code. */
void kubeapi_fail(struct http_request *req, int code);

#endif
