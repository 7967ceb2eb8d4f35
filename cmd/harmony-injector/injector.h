/*
 * The injector's servers: reviews by TLS, health and metrics in plain HTTP.
 */
#ifndef INJECTOR_H
#define INJECTOR_H

#include "http/tls.h"
#include "inject/inject.h"

enum { EXIT_OK = 0, EXIT_USAGE = 2, EXIT_SYSTEM = 3 };

struct event_base;
struct injector;

struct injector_options {
	struct inject_settings settings;
	const char *listen; /* reviews */
	const char *health; /* NULL: none */
};

/* The options are borrowed for its life. */
int injector_new(struct event_base *base, const struct injector_options *opts,
		 struct injector **ret, struct err *e);
/* For connections from now on; needed before injector_listen. */
void injector_use_certificate(struct injector *j, SSL_CTX *ctx);
bool injector_certificate_ended(const struct injector *j); /* of the one in use */
int injector_listen(struct injector *j, struct err *e);
int injector_listen_health(struct injector *j, struct err *e);
/* Ready from now on; until then /readyz says why it is not. */
void injector_ready(struct injector *j);
/* What may be the reason that it is not, for people: lines, "" for none. Copied. */
void injector_explain(struct injector *j, const char *why);
struct metrics *injector_metrics(struct injector *j);
/* Not ready any more; each answer ends its connection. */
void injector_drain(struct injector *j);
void injector_free(struct injector *j);

#endif
