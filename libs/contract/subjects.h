/*
 * Names of everything that travels over NATS: streams, subjects, headers, limits. One copy for all
 * parts; docs/contracts/platform.md says what each message holds.
 *
 * The formatting helpers write into a buffer that the caller owns and give CYX_ERR_INVALID (and an
 * empty string) for an id that is not a UUID, so that no foreign text ever becomes a part of a
 * subject. Pure: any thread.
 *
 *     char subject[CYX_SUBJECT_BYTES];
 *     if (cyx_subject_node(subject, node_id, CYX_NODE_OFFER) != CYX_OK) …
 */
#ifndef CYX_CONTRACT_SUBJECTS_H
#define CYX_CONTRACT_SUBJECTS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/id.h"
#include "base/status.h"

enum {
    CYX_SUBJECT_BYTES = 128,         /* the longest subject and its NUL */
    CYX_REQUEST_TIMEOUT_MS = 5000,   /* unless a call says otherwise */
    CYX_OFFER_TIMEOUT_MS = 5000,     /* no accept within this: the job is queued again */
    CYX_HEARTBEAT_DEFAULT_MS = 2000, /* CYXWIZ_HEARTBEAT_MS */
    CYX_HEARTBEATS_MISSED = 5,       /* a node is offline, a lease lost, after so many */
    CYX_LIST_DEFAULT = 50,           /* `limit` of a list when none is given */
    CYX_LIST_LIMIT = 200,            /* the largest `limit` */
};

/* Streams */
#define CYX_STREAM_EVENTS "CYX_EVT"
#define CYX_STREAM_JOBS "CYX_JOB"
#define CYX_EVENTS_ALL "cyx.evt.>"
#define CYX_JOBS_ALL "cyx.job.>"

/* Request and reply; the queue group of a service is its name. What a node asks ends with the node's id, since its
 * credential lets it publish nothing else: `cyx.svc.scheduler.accept.<node>`, served as ….accept.* */
#define CYX_FROM_NODE ".*"
#define CYX_SVC_REGISTRY "registry"
#define CYX_SVC_REGISTRY_ENROL "cyx.svc.registry.enrol"
#define CYX_SVC_REGISTRY_PROVE "cyx.svc.registry.prove"
#define CYX_SVC_REGISTRY_TOKEN "cyx.svc.registry.token"
#define CYX_SVC_REGISTRY_JOIN "cyx.svc.registry.join"
#define CYX_SVC_REGISTRY_RENEW "cyx.svc.registry.renew"
#define CYX_SVC_REGISTRY_REVOKE "cyx.svc.registry.revoke"
#define CYX_SVC_REGISTRY_ROTATE "cyx.svc.registry.rotate"
#define CYX_SVC_REGISTRY_DRAIN "cyx.svc.registry.drain"
#define CYX_SVC_REGISTRY_MAINTENANCE "cyx.svc.registry.maintenance"
#define CYX_SVC_REGISTRY_LIST "cyx.svc.registry.list"
#define CYX_SVC_REGISTRY_GET "cyx.svc.registry.get"
#define CYX_SVC_REGISTRY_GANG "cyx.svc.registry.gang"

#define CYX_SVC_SCHEDULER "scheduler"
#define CYX_SVC_SCHEDULER_SUBMIT "cyx.svc.scheduler.submit"
#define CYX_SVC_SCHEDULER_QUOTE "cyx.svc.scheduler.quote"
#define CYX_SVC_SCHEDULER_QUOTA "cyx.svc.scheduler.quota"
#define CYX_SVC_SCHEDULER_GET "cyx.svc.scheduler.get"
#define CYX_SVC_SCHEDULER_LIST "cyx.svc.scheduler.list"
#define CYX_SVC_SCHEDULER_USES "cyx.svc.scheduler.uses"
#define CYX_SVC_SCHEDULER_CANCEL "cyx.svc.scheduler.cancel"
#define CYX_SVC_SCHEDULER_NODE "cyx.svc.scheduler.node"
#define CYX_SVC_SCHEDULER_ACCEPT "cyx.svc.scheduler.accept"
#define CYX_SVC_SCHEDULER_PROGRESS "cyx.svc.scheduler.progress"
#define CYX_SVC_SCHEDULER_FINISH "cyx.svc.scheduler.finish"
#define CYX_SVC_SCHEDULER_GANG "cyx.svc.scheduler.gang"

#define CYX_SVC_PAYMENTS "payments"
#define CYX_SVC_PAYMENTS_BALANCE "cyx.svc.payments.balance"
#define CYX_SVC_PAYMENTS_STATEMENT "cyx.svc.payments.statement"
#define CYX_SVC_PAYMENTS_JOB "cyx.svc.payments.job"

#define CYX_SVC_MARKETPLACE "marketplace"
#define CYX_SVC_MARKETPLACE_LIST "cyx.svc.marketplace.list"
#define CYX_SVC_MARKETPLACE_GET "cyx.svc.marketplace.get"

/* Domain events (stream CYX_EVT) */
#define CYX_EVT_ACCOUNT_CREATED "cyx.evt.account.created"
#define CYX_EVT_NODE_ALL "cyx.evt.node.*"
#define CYX_EVT_NODE_ONLINE "cyx.evt.node.online"
#define CYX_EVT_NODE_OFFLINE "cyx.evt.node.offline"
#define CYX_EVT_NODE_SILENT "cyx.evt.node.silent"
#define CYX_EVT_JOB_ALL "cyx.evt.job.*"
#define CYX_EVT_JOB_QUEUED "cyx.evt.job.queued"
#define CYX_EVT_JOB_ASSIGNED "cyx.evt.job.assigned"
#define CYX_EVT_JOB_RUNNING "cyx.evt.job.running"
#define CYX_EVT_JOB_COMPLETED "cyx.evt.job.completed"
#define CYX_EVT_JOB_FAILED "cyx.evt.job.failed"
#define CYX_EVT_JOB_CANCELLED "cyx.evt.job.cancelled"
#define CYX_EVT_PAYMENT_ALL "cyx.evt.payment.*"
#define CYX_EVT_PAYMENT_HELD "cyx.evt.payment.held"
#define CYX_EVT_PAYMENT_REFUSED "cyx.evt.payment.refused"
#define CYX_EVT_PAYMENT_SETTLED "cyx.evt.payment.settled"

/* Last parts of cyx.node.<id>.… and cyx.job.<id>.… */
#define CYX_NODE_HEARTBEAT "heartbeat"
#define CYX_NODE_OFFER "offer"
#define CYX_NODE_CANCEL "cancel"
#define CYX_NODE_ROTATE "rotate"
#define CYX_NODE_CHALLENGE "challenge"
#define CYX_NODE_LEAVING "leaving"
#define CYX_NODE_LEAVING_ALL "cyx.node.*.leaving"
#define CYX_NODE_HEARTBEAT_ALL "cyx.node.*.heartbeat"
#define CYX_JOB_METRICS "metrics"
#define CYX_JOB_LOG "log"
#define CYX_JOB_STATE "state"
#define CYX_JOB_STATE_ALL "cyx.job.*.state"
/* Behind metrics and log stands who tells: a node's id, or this word for a service, which no node may use. */
#define CYX_FROM_SERVICE "service"

/* Headers */
#define CYX_HEADER_REQUEST_ID "Cyx-Request-Id"
#define CYX_HEADER_ACCOUNT "Cyx-Account"
#define CYX_HEADER_TRACEPARENT "traceparent"
#define CYX_HEADER_MESSAGE_ID "Nats-Msg-Id"

/* "cyx.<room>.<id>.<last>" with the id in lower case; `last` may be "*" or ">". */
static inline enum cyx_status cyx_subject_format(char ret_subject[CYX_SUBJECT_BYTES],
                                                 const char *room, const char *id, const char *last)
{
    ret_subject[0] = '\0';
    if (!id || !cyx_id_valid(id) || !last)
        return CYX_ERR_INVALID;
    int n = snprintf(ret_subject, CYX_SUBJECT_BYTES, "cyx.%s.%s.%s", room, id, last);
    if (n < 0 || n >= CYX_SUBJECT_BYTES) {
        ret_subject[0] = '\0';
        return CYX_ERR_INVALID;
    }
    for (char *c = ret_subject; *c; c++)
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c + ('a' - 'A'));
    return CYX_OK;
}

/* cyx.node.<id>.{heartbeat,offer,cancel} */
static inline enum cyx_status cyx_subject_node(char ret_subject[CYX_SUBJECT_BYTES],
                                               const char *node_id, const char *last)
{
    return cyx_subject_format(ret_subject, "node", node_id, last);
}

/* A node's own subject of what it asks: `stem` is CYX_SVC_SCHEDULER_ACCEPT and the like. */
static inline enum cyx_status cyx_subject_from_node(char ret_subject[CYX_SUBJECT_BYTES],
                                                    const char *stem, const char *node_id)
{
    ret_subject[0] = '\0';
    if (!node_id || !cyx_id_valid(node_id))
        return CYX_ERR_INVALID;
    int n = snprintf(ret_subject, CYX_SUBJECT_BYTES, "%s.%s", stem, node_id);
    if (n < 0 || n >= CYX_SUBJECT_BYTES) {
        ret_subject[0] = '\0';
        return CYX_ERR_INVALID;
    }
    for (char *c = ret_subject; *c; c++)
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c + ('a' - 'A'));
    return CYX_OK;
}

/* Whether the last word of `subject` is this node's id: NATS lets nobody else publish there. */
static inline bool cyx_subject_is_from(const char *subject, const char *node_id)
{
    const char *last = subject ? strrchr(subject, '.') : NULL;
    return last && node_id && strcasecmp(last + 1, node_id) == 0;
}

/* cyx.job.<id>.{metrics,log}.<who tells>, cyx.job.<id>.state */
static inline enum cyx_status cyx_subject_job(char ret_subject[CYX_SUBJECT_BYTES],
                                              const char *job_id, const char *last)
{
    return cyx_subject_format(ret_subject, "job", job_id, last);
}

/*
 * Between the members of a job of several nodes, cyx.gang.<job>.<attempt>.<from>.<to>: ranks; the attempt is its first
 * member's token. Each is let in with rights of its own for one attempt: to publish as itself, to hear what is for it.
 * More than CYX_GANG_BYTES_LIMIT is not exchanged at a meeting.
 */
#define CYX_GANG_BYTES_LIMIT (INT64_C(1) << 30)
#define CYX_GANG_CONNECTION "gang " /* the name of a member's connection begins so */

/* `from` or `to` below 0 stands for any. */
static inline enum cyx_status cyx_subject_gang(char ret_subject[CYX_SUBJECT_BYTES],
                                               const char *job_id, int64_t attempt, int from,
                                               int to)
{
    char last[64], sender[16] = "*", receiver[16] = "*";
    if (from >= 0)
        snprintf(sender, sizeof(sender), "%d", from);
    if (to >= 0)
        snprintf(receiver, sizeof(receiver), "%d", to);
    snprintf(last, sizeof(last), "%lld.%s.%s", (long long)attempt, sender, receiver);
    return cyx_subject_format(ret_subject, "gang", job_id, last);
}

/*
 * The id in "cyx.<room>.<id>.<last>", checked to be a UUID: who sent a heartbeat, which job a
 * metric tells of. False (and an empty string) for any other subject.
 */
static inline bool cyx_subject_id(const char *subject, char ret_id[CYX_ID_BYTES])
{
    ret_id[0] = '\0';
    const char *from =
        subject && strncmp(subject, "cyx.", 4) == 0 ? strchr(subject + 4, '.') : NULL;
    const char *to = from ? strchr(from + 1, '.') : NULL;
    if (!to || to - from - 1 != CYX_ID_BYTES - 1)
        return false;
    memcpy(ret_id, from + 1, CYX_ID_BYTES - 1);
    ret_id[CYX_ID_BYTES - 1] = '\0';
    if (cyx_id_valid(ret_id))
        return true;
    ret_id[0] = '\0';
    return false;
}

#endif
