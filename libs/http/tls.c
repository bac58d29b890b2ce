#include "http/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { CHAIN_LIMIT = 16 };

struct pair {
    struct pair *older;
    gnutls_pcert_st chain[CHAIN_LIMIT];
    unsigned length; /* of the chain that was read */
    gnutls_privkey_t key;
};

struct cyx_tls {
    _Atomic(struct pair *) current;
    pthread_mutex_t lock; /* one renews at a time */
};

static _Thread_local struct cyx_tls *entered;

static void pair_destroy(struct pair *self)
{
    for (unsigned i = 0; i < self->length; i++)
        gnutls_pcert_deinit(&self->chain[i]);
    if (self->key)
        gnutls_privkey_deinit(self->key);
    free(self);
}

static gnutls_datum_t datum(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
}

/* Whether the key is the certificate's: GnuTLS judges that where both are set together. */
static int check_pair(const gnutls_datum_t *certificate, const gnutls_datum_t *key)
{
    gnutls_certificate_credentials_t both = NULL;
    int code = gnutls_certificate_allocate_credentials(&both);
    if (code < 0)
        return code;
    code = gnutls_certificate_set_x509_key_mem(both, certificate, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    return code;
}

static int read_pair(struct pair *self, const gnutls_datum_t *certificate,
                     const gnutls_datum_t *key)
{
    unsigned length = CHAIN_LIMIT;
    int code = check_pair(certificate, key);
    if (code >= 0)
        code = gnutls_pcert_list_import_x509_raw(self->chain, &length, certificate,
                                                 GNUTLS_X509_FMT_PEM, 0);
    if (code >= 0) {
        self->length = length;
        code = gnutls_privkey_init(&self->key);
    }
    return code >= 0 ? gnutls_privkey_import_x509_raw(self->key, key, GNUTLS_X509_FMT_PEM, NULL, 0)
                     : code;
}

static enum cyx_status make_pair(const char *certificate, const char *key, struct pair **ret_pair,
                                 struct cyx_error *ret_error)
{
    if (!certificate || !key)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "a TLS certificate needs its private key, and the key it");
    const gnutls_datum_t texts[2] = {datum(certificate), datum(key)};
    struct pair *made = calloc(1, sizeof(*made));
    if (!made)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a certificate");
    int code = read_pair(made, &texts[0], &texts[1]);
    if (code < 0) {
        pair_destroy(made);
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "the TLS certificate and its key cannot be used: %s; give both as "
                             "PEM, made for each other",
                             gnutls_strerror(code));
    }
    *ret_pair = made;
    return CYX_OK;
}

enum cyx_status cyx_tls_create(const char *certificate, const char *key, struct cyx_tls **ret_tls,
                               struct cyx_error *ret_error)
{
    struct pair *pair = NULL;
    enum cyx_status status = make_pair(certificate, key, &pair, ret_error);
    if (status != CYX_OK)
        return status;
    struct cyx_tls *self = calloc(1, sizeof(*self));
    if (!self) {
        pair_destroy(pair);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a certificate");
    }
    pthread_mutex_init(&self->lock, NULL);
    atomic_init(&self->current, pair);
    *ret_tls = self;
    return CYX_OK;
}

void cyx_tls_destroy(struct cyx_tls *self)
{
    if (!self)
        return;
    for (struct pair *pair = atomic_load(&self->current); pair;) {
        struct pair *older = pair->older;
        pair_destroy(pair);
        pair = older;
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

enum cyx_status cyx_tls_renew(struct cyx_tls *self, const char *certificate, const char *key,
                              struct cyx_error *ret_error)
{
    struct pair *pair = NULL;
    enum cyx_status status = make_pair(certificate, key, &pair, ret_error);
    if (status != CYX_OK || !pair)
        return status;
    pthread_mutex_lock(&self->lock);
    pair->older = atomic_load(&self->current);
    atomic_store(&self->current, pair);
    pthread_mutex_unlock(&self->lock);
    return CYX_OK;
}

void cyx_tls_enter(struct cyx_tls *self)
{
    entered = self;
}

int cyx_tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                     const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                     gnutls_pcert_st **ret_chain, unsigned *ret_length, gnutls_privkey_t *ret_key)
{
    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    if (!entered)
        return -1;
    struct pair *pair = atomic_load(&entered->current);
    *ret_chain = pair->chain;
    *ret_length = pair->length;
    *ret_key = pair->key;
    return 0;
}
