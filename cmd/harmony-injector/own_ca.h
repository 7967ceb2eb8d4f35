/*
 * The injector's own certificate authority, shared by its replicas: see own_ca.c.
 */
#ifndef INJECTOR_OWN_CA_H
#define INJECTOR_OWN_CA_H

#include "injector.h"

struct metrics;
struct own_ca;

/* Borrowed for its life. */
struct own_ca_options {
	const char *kubeconfig;   /* NULL: in-cluster, or the user's */
	const char *secret;       /* "NAMESPACE/NAME" or "NAME": CA, certificate and their keys */
	const char *lease;        /* in the same namespace; NULL: named as the Secret */
	const char *webhook;      /* MutatingWebhookConfiguration that trusts the CA */
	const char *const *names; /* of the server */
	size_t n_names;
	int64_t ca_secs, cert_secs;
};

/* Its facts. `cert`: a certificate to serve with from now on (borrowed). `trusted`: the webhook has
 * the CA; told once. `why`: all that is wrong now, lines for people, "" for nothing. */
struct own_ca_ops {
	void (*cert)(void *arg, SSL_CTX *ctx);
	void (*trusted)(void *arg);
	void (*why)(void *arg, const char *lines);
};

int own_ca_new(struct event_base *base, const struct own_ca_options *opts,
	       const struct own_ca_ops *ops, void *arg, struct metrics *m, struct own_ca **ret,
	       struct err *e);
void own_ca_release(struct own_ca *c); /* the end is near: another replica may take over */
void own_ca_free(struct own_ca *c);

#endif
