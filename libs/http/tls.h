/*
 * Private to libs/http: the certificate that a server shows, which may be changed while it serves. Each handshake takes the
 * one of that moment; those that were replaced stay until the server goes, since a handshake may be at work with them.
 *
 * GnuTLS asks for a certificate without saying on whose behalf; a thread of libmicrohttpd's accepts and serves connections of
 * one server alone, so it is noted for the thread (cyx_tls_enter) when it accepts.
 */
#ifndef CYX_HTTP_TLS_H
#define CYX_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "base/status.h"

struct cyx_tls;

/* PEM texts, the chain behind the certificate; copied. CYX_ERR_INVALID when they do not go together. */
enum cyx_status cyx_tls_create(const char *certificate, const char *key, struct cyx_tls **ret_tls,
                               struct cyx_error *ret_error);
void cyx_tls_destroy(struct cyx_tls *self);

/* Others for the handshakes to come; on failure nothing is changed. Any thread. */
enum cyx_status cyx_tls_renew(struct cyx_tls *self, const char *certificate, const char *key,
                              struct cyx_error *ret_error);

/* This thread's handshakes are those of a server with this certificate. */
void cyx_tls_enter(struct cyx_tls *self);

/* For GnuTLS: a gnutls_certificate_retrieve_function2. */
int cyx_tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                     const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                     gnutls_pcert_st **ret_chain, unsigned *ret_length, gnutls_privkey_t *ret_key);

#endif
