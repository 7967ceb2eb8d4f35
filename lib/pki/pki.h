/*
 * A certificate authority for one server: a CA, its key, and the certificate that the server shows,
 * made and renewed so that whoever trusts the bundle always trusts the server.
 *
 *     first        CA and certificate are made together: nobody has trusted anything yet
 *     renewal      of the certificate, when a third of its time is left: by the same CA
 *     rotation     of the CA, when a third of its time is left: the new one is put into the bundle
 *                  before the old one, and signs nothing until the bundle has settled where it is
 *                  read from; then the certificate is made anew by it
 *     the old CA   stays in the bundle while it is valid, since servers that have not heard of the
 *                  new certificate show one of its
 *
 * Keys are P-256, random numbers OpenSSL's. No clock, no files: time is handed in.
 */
#ifndef PKI_PKI_H
#define PKI_PKI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

/* PEM texts. Empty ones, or ones that cannot be read, are replaced by pki_advance. */
struct pki_set {
	struct buf bundle; /* CA certificates, the newest first */
	struct buf ca_key; /* of the newest */
	struct buf cert, key;
};
#define PKI_SET_INIT                                                                               \
	((struct pki_set){BUF_INIT(PKI_MAX_BYTES), BUF_INIT(PKI_MAX_BYTES),                        \
			  BUF_INIT(PKI_MAX_BYTES), BUF_INIT(PKI_MAX_BYTES)})
#define PKI_MAX_BYTES ((size_t)64 << 10)
void pki_set_clear(struct pki_set *s); /* wipes the keys; *s is as after INIT */
#define _cleanup_pki_set_ _cleanup_(pki_set_clear)

struct pki_policy {
	const char *ca_name;      /* begins the CAs' common names */
	const char *const *names; /* DNS names and IP addresses of the server; at least one */
	size_t n_names;
	int64_t ca_secs, cert_secs; /* how long each is valid */
};

struct pki_change {
	bool ca;      /* a new CA was made */
	bool cert;    /* a new certificate was made */
	bool bundle;  /* the bundle is another one: with `ca`, or since a CA has expired */
	char why[96]; /* of `ca` or `cert`, for people: "the certificate ends in 4h0m" */
};

/* What is due, done to *s. `settled`: the bundle of *s stands where the clients read it, and has
 * for long enough. A certificate that is of no use is made anew at once, whether settled or not.
 * -EINVAL for a policy that cannot be met (a name that is neither), -ENOMEM, -EIO (OpenSSL). On
 * failure *s is as it was. */
int pki_advance(struct pki_set *s, const struct pki_policy *p, struct wall now, bool settled,
		struct pki_change *ret, struct err *e);

/* When the newest CA and the certificate end; never (0) where there is none. */
void pki_ends(const struct pki_set *s, struct wall *ret_ca, struct wall *ret_cert);

/* A DNS name in small letters, or an IP address. */
bool pki_is_name(const char *s);

#endif
