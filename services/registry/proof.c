#include "proof.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int64_t cyx_proof_next_ms(const struct cyx_proof_settings *settings, double random, int64_t now_ms)
{
    double mean = (double)settings->interval_ms, wait = -log(1 - random) * mean;
    return now_ms + (int64_t)fmin(fmax(wait, mean / 100), mean * 4);
}

static void refute(struct cyx_registry_proof *proof, const char *code, const char *message)
{
    proof->state = CYX_REFUTED;
    snprintf(proof->code, sizeof(proof->code), "%s", code);
    snprintf(proof->message, sizeof(proof->message), "%s", message);
}

static bool is_real(const struct cyx_registry_device *device)
{
    return !device->is_software;
}

/* A GPU's memory is its own; the CPU's is shared, and was tried a little alone. */
static bool has_memory(const struct cyx_registry_device *device, const struct cyx_proof_told *told)
{
    const double least = 128.0 * 1024 * 1024;
    double claimed = 0.7 * (double)device->memory_bytes;
    bool own = strcmp(device->backend, "vulkan") == 0 && is_real(device);
    return (double)told->memory_bytes >= (own ? claimed : fmin(claimed, least)) &&
           told->memory_bytes >= told->memory_tried_bytes / 10 * 9;
}

static void judge_answer(const struct cyx_proof_outcome *outcome,
                         struct cyx_registry_device *device, bool *ret_may_pass)
{
    struct cyx_registry_proof *proof = &device->proof;
    const struct cyx_proof_told *told = &outcome->told;
    double work = (double)outcome->task.rows * cyx_proof_row_flops(&outcome->task.size);
    double told_ms = work / told->products_flops_per_second * 1000;
    double took_ms = outcome->elapsed_ms > 1 ? (double)outcome->elapsed_ms : 1;
    double speed = work / took_ms * 1000;
    char message[CYX_REGISTRY_PROOF_MESSAGE];
    if (outcome->wrong) {
        refute(proof, "wrong-product", outcome->wrong);
    } else if (!has_memory(device, told)) {
        snprintf(message, sizeof(message),
                 "claims %.1f GiB of memory; its benchmark could hold %.1f GiB",
                 (double)device->memory_bytes / 0x1p30, (double)told->memory_bytes / 0x1p30);
        refute(proof, "memory", message);
    } else if (took_ms > told_ms * CYX_PROOF_LATENESS + CYX_PROOF_GRACE_MS) {
        snprintf(message, sizeof(message),
                 "claims %.3g GFLOP/s; its answer came after %.1f s, that is %.3g GFLOP/s",
                 told->products_flops_per_second / 1e9, took_ms / 1000, speed / 1e9);
        *ret_may_pass = true;
        refute(proof, "too-slow", message);
    } else {
        proof->state = CYX_PROVED;
        proof->code[0] = proof->message[0] = '\0';
    }
    proof->flops_per_second = outcome->wrong ? 0 : speed;
    proof->products_flops_per_second = told->products_flops_per_second;
    proof->convolutions_flops_per_second = told->convolutions_flops_per_second;
    proof->bandwidth_bytes_per_second = told->bandwidth_bytes_per_second;
    proof->memory_bytes = told->memory_bytes;
    proof->memory_tried_bytes = told->memory_tried_bytes;
}

static void judge_silence(const struct cyx_proof_settings *settings,
                          const struct cyx_proof_outcome *outcome, struct cyx_registry_proof *proof)
{
    char message[CYX_REGISTRY_PROOF_MESSAGE];
    if (outcome->end == CYX_PROOF_FAILED) {
        refute(proof, "benchmark-failed",
               outcome->reason ? outcome->reason : "its benchmark failed");
        return;
    }
    snprintf(message, sizeof(message), "did not answer its benchmark within %.0f s%s%s",
             (double)settings->deadline_ms / 1000,
             outcome->outdated && *outcome->outdated ? ": " : "",
             outcome->outdated ? outcome->outdated : "");
    refute(proof, "no-answer", message);
}

/* It works, and says so: fine, but not for ever. */
static void put_off(const struct cyx_proof_settings *settings, int64_t now_ms,
                    struct cyx_registry_proof *proof)
{
    proof->due_ms = now_ms + settings->retry_ms;
    if (proof->state == CYX_PROVED &&
        now_ms - proof->at_ms > CYX_PROOF_STALE * settings->interval_ms)
        refute(proof, "stale", "has put its benchmark off for too long: it was always busy");
}

void cyx_proof_judge(const struct cyx_proof_settings *settings,
                     const struct cyx_proof_outcome *outcome, double random, int64_t now_ms,
                     struct cyx_registry_device *device)
{
    enum { DOUBLINGS = 7 };
    struct cyx_registry_proof *proof = &device->proof, before = device->proof;
    bool may_pass = outcome->end != CYX_PROOF_ANSWERED;
    if (outcome->end == CYX_PROOF_BUSY) {
        put_off(settings, now_ms, proof);
        return;
    }
    if (outcome->end == CYX_PROOF_ANSWERED)
        judge_answer(outcome, device, &may_pass);
    else
        judge_silence(settings, outcome, proof);
    proof->at_ms = now_ms;
    if (proof->state == CYX_PROVED) {
        proof->failures = 0;
        proof->due_ms = cyx_proof_next_ms(settings, random, now_ms);
        return;
    }
    if (may_pass && before.state == CYX_PROVED && before.failures == 0)
        *proof = before;
    int64_t doubled = before.failures < DOUBLINGS ? before.failures : DOUBLINGS;
    proof->failures = before.failures + 1;
    proof->due_ms = now_ms + settings->retry_ms * (INT64_C(1) << doubled);
}

void cyx_proof_carry(const struct cyx_registry_node *before, int64_t now_ms,
                     struct cyx_registry_node *after)
{
    for (size_t i = 0; i < after->n_devices; i++) {
        struct cyx_registry_device *device = &after->devices[i];
        device->proof = (struct cyx_registry_proof){.due_ms = now_ms};
        for (size_t j = 0; before && j < before->n_devices; j++)
            if (cyx_registry_same_device(&before->devices[j], device))
                device->proof = before->devices[j].proof;
    }
}

const struct cyx_registry_device *cyx_proof_due(const struct cyx_registry_node *node,
                                                int64_t now_ms)
{
    const struct cyx_registry_device *best = NULL;
    for (size_t i = 0; i < node->n_devices; i++) {
        const struct cyx_registry_device *device = &node->devices[i];
        if (device->proof.due_ms > now_ms)
            continue;
        if (!best || (is_real(device) && !is_real(best)) ||
            (is_real(device) == is_real(best) && device->proof.due_ms < best->proof.due_ms))
            best = device;
    }
    return best;
}

int64_t cyx_proof_due_ms(const struct cyx_registry_node *node)
{
    int64_t due_ms = INT64_MAX;
    for (size_t i = 0; i < node->n_devices; i++)
        if (node->devices[i].proof.due_ms < due_ms)
            due_ms = node->devices[i].proof.due_ms;
    return due_ms;
}

const char *cyx_proof_closes(const struct cyx_registry_node *node, struct cyx_registry_why *ret_why)
{
    const struct cyx_registry_device *pending = NULL;
    for (size_t i = 0; i < node->n_devices; i++) {
        const struct cyx_registry_device *device = &node->devices[i];
        if (device->proof.state == CYX_REFUTED) {
            snprintf(ret_why->code, sizeof(ret_why->code), "%s", device->proof.code);
            snprintf(ret_why->message, sizeof(ret_why->message), "%.80s (%s %lld) %s", device->name,
                     device->backend, (long long)device->index, device->proof.message);
            return "unproven";
        }
        if (device->proof.state == CYX_UNPROVED && is_real(device) && !pending)
            pending = device;
    }
    if (!pending)
        return "";
    snprintf(ret_why->code, sizeof(ret_why->code), "not-yet");
    snprintf(ret_why->message, sizeof(ret_why->message), "%.80s (%s %lld) is being benchmarked",
             pending->name, pending->backend, (long long)pending->index);
    return "proving";
}
