/* cyxwiz node show: one node, what it offers, what it is doing, how it fared, why it is silent. */
#include <string.h>

#include "cli.h"
#include "contract/message.h"

#include "base/banned.h"

static void line(const char *name, const char *value)
{
    if (*value)
        printf("%-14s %s\n", name, value);
}

/* "3.20 GiB of 16.0 GiB"; "" where the total is not known. */
static void part_of(double used, double total, char *ret_text, size_t size)
{
    char of_used[CLI_AMOUNT_BYTES], of_total[CLI_AMOUNT_BYTES];
    *ret_text = '\0';
    if (total <= 0)
        return;
    cli_format_bytes((int64_t)used, of_used);
    cli_format_bytes((int64_t)total, of_total);
    snprintf(ret_text, size, "%s of %s", of_used, of_total);
}

/* `in_word` and `out_word` say which way: "read", "written". */
static void print_rates(const char *name, const json_t *system, const char *in, const char *in_word,
                        const char *out, const char *out_word)
{
    char first[CLI_AMOUNT_BYTES], second[CLI_AMOUNT_BYTES], text[128];
    if (!json_object_get(system, in))
        return;
    cli_format_bytes((int64_t)cli_number(system, in), first);
    cli_format_bytes((int64_t)cli_number(system, out), second);
    snprintf(text, sizeof(text), "%s/s %s, %s/s %s", first, in_word, second, out_word);
    line(name, text);
}

static void print_gpu(const json_t *gpu)
{
    char memory[80], text[256];
    int length = 0;
    part_of(cli_number(gpu, "memory_used_bytes"), cli_number(gpu, "memory_total_bytes"), memory,
            sizeof(memory));
    length = snprintf(text, sizeof(text), "%.96s", cli_text(gpu, "name"));
    if (json_object_get(gpu, "busy_percent"))
        length += snprintf(text + length, sizeof(text) - (size_t)length, ", busy %.0f %%",
                           cli_number(gpu, "busy_percent"));
    if (*memory)
        length += snprintf(text + length, sizeof(text) - (size_t)length, ", memory %.60s", memory);
    if (json_object_get(gpu, "power_watts"))
        length += snprintf(text + length, sizeof(text) - (size_t)length, ", %.0f W",
                           cli_number(gpu, "power_watts"));
    if (json_object_get(gpu, "temperature_celsius"))
        snprintf(text + length, sizeof(text) - (size_t)length, ", %.0f °C",
                 cli_number(gpu, "temperature_celsius"));
    line("gpu", text);
}

static void print_system(const json_t *node)
{
    const json_t *system = json_object_get(node, "system"), *gpu;
    char text[128];
    size_t i;
    snprintf(text, sizeof(text), "%.0f %% of %.0f processors, load %.2f",
             cli_number(node, "cpu_percent"), cli_number(node, "cpus"),
             cli_number(system, "load_average"));
    line("cpu", text);
    part_of(cli_number(node, "memory_used_bytes"), cli_number(node, "host_memory_bytes"), text,
            sizeof(text));
    line("memory", text);
    double free_bytes = cli_number(system, "disk_free_bytes"),
           total_bytes = cli_number(system, "disk_total_bytes");
    part_of(total_bytes - free_bytes, total_bytes, text, sizeof(text));
    line("disk", text);
    print_rates("disk traffic", system, "disk_read_bytes_per_second", "read",
                "disk_write_bytes_per_second", "written");
    print_rates("network", system, "network_receive_bytes_per_second", "in",
                "network_send_bytes_per_second", "out");
    if (json_object_get(system, "power_watts")) {
        snprintf(text, sizeof(text), "%.0f W", cli_number(system, "power_watts"));
        line("power", text);
    }
    json_array_foreach(json_object_get(system, "gpus"), i, gpu) print_gpu(gpu);
    const json_t *sandbox = json_object_get(system, "sandbox");
    if (json_is_object(sandbox)) {
        snprintf(text, sizeof(text), "%.30s, system calls %.30s, limits by %.30s",
                 cli_text(sandbox, "walls"), cli_text(sandbox, "system_calls"),
                 cli_text(sandbox, "limits"));
        line("sandbox", text);
    }
}

/* What its benchmark showed; what the registry itself timed comes first. */
static void print_proof(const json_t *proof)
{
    char memory[CLI_AMOUNT_BYTES];
    const char *state = cli_text(proof, "state"), *message = cli_text(proof, "message");
    if (*message)
        printf("%-14s %s: %s\n", "", state, message);
    if (!(cli_number(proof, "products_flops_per_second") > 0))
        return;
    cli_format_bytes((int64_t)cli_number(proof, "memory_bytes"), memory);
    printf("%-14s %s %s: %.3g GFLOP/s; it says %.3g in products, %.3g in convolutions, %.3g GB/s, "
           "held %s\n",
           "", *message ? "benchmark" : state, cli_text(proof, "at"),
           cli_number(proof, "flops_per_second") / 1e9,
           cli_number(proof, "products_flops_per_second") / 1e9,
           cli_number(proof, "convolutions_flops_per_second") / 1e9,
           cli_number(proof, "bandwidth_bytes_per_second") / 1e9, memory);
}

static void print_device(const json_t *device)
{
    char memory[CLI_AMOUNT_BYTES], text[256];
    cli_format_bytes((int64_t)cli_number(device, "memory_bytes"), memory);
    snprintf(text, sizeof(text), "%.16s: %.128s, %s%s", cli_text(device, "backend"),
             cli_text(device, "name"), memory,
             json_is_true(json_object_get(device, "is_software")) ? ", in software" : "");
    line("device", text);
    print_proof(json_object_get(device, "proof"));
}

/* ---- health ---- */

static void show_record(const json_t *record)
{
    const char *what;
    json_t *count;
    if (!json_is_object(record))
        return;
    printf("%-14s %.2f", "reputation", cli_number(record, "reputation"));
    json_object_foreach(json_object_get(record, "outcomes"), what, count)
        printf(", %s %lld", what, (long long)json_integer_value(count));
    printf("\n");
}

/* What keeps it from work, the gravest first. */
static void show_trouble(const json_t *node)
{
    const json_t *silent = json_object_get(node, "silent"), *drain = json_object_get(node, "drain");
    const json_t *revoked = json_object_get(node, "revoked"), *window;
    const json_t *unproven = json_object_get(node, "unproven");
    size_t i;
    if (json_is_object(revoked))
        printf("%-14s %s: %s\n", "revoked", cli_text(revoked, "at"), cli_text(revoked, "reason"));
    if (json_is_object(silent))
        printf("%-14s since %s (%s)\n%-14s %s\n", "SILENT", cli_text(silent, "since"),
               cli_text(silent, "code"), "", cli_text(silent, "message"));
    if (json_is_object(unproven))
        printf("%-14s %s\n",
               strcmp(cli_text(unproven, "code"), "not-yet") == 0 ? "proving" : "UNPROVEN",
               cli_text(unproven, "message"));
    if (json_is_object(drain))
        printf("%-14s since %s by %s %s\n", "drained", cli_text(drain, "since"),
               strcmp(cli_text(drain, "by"), "node") == 0 ? "the node itself" : "an operator",
               cli_text(drain, "reason"));
    json_array_foreach(json_object_get(node, "maintenance"), i, window)
        printf("%-14s %s to %s %s (%s)\n", i ? "" : "maintenance", cli_text(window, "starts_at"),
               cli_text(window, "ends_at"), cli_text(window, "reason"), cli_text(window, "id"));
}

static void show_health(const json_t *node)
{
    const json_t *beat = json_object_get(node, "heartbeat"), *key = json_object_get(node, "key");
    double part = cyx_message_number_of(json_object_get(node, "uptime"), "part");
    char percent[CLI_PERCENT_BYTES];
    printf("%-14s %s of 30 days\n", "uptime", cli_percent(part, percent));
    printf("%-14s last %s, %.1f s apart, deviating %.1f s; missed after %.1f s\n", "heartbeat",
           cli_text(node, "last_heartbeat_at"), cli_number(beat, "gap_ms") / 1000,
           cli_number(beat, "deviation_ms") / 1000, cli_number(beat, "deadline_ms") / 1000);
    if (json_is_object(key))
        printf("%-14s %s since %s%s\n", "key", cli_text(key, "public_key"), cli_text(key, "since"),
               json_is_true(json_object_get(key, "rotation_wanted")) ? ", a new one is wanted"
                                                                     : "");
}

static void show_events(const json_t *events)
{
    size_t i;
    const json_t *event;
    json_array_foreach(events, i, event)
        printf("%-14s %s  %-9s %s\n", i ? "" : "history", cli_text(event, "at"),
               cli_text(event, "kind"), cli_text(event, "reason"));
}

enum cyx_status cli_node_show(struct cli *cli, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *node = NULL;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    const json_t *device;
    size_t i;
    cyx_buf_puts(&path, "/api/v1/nodes/");
    cli_append_part(&path, cli->arguments[0]);
    enum cyx_status status = cli_call(cli, "GET", path.data, NULL, &node, err);
    if (status != CYX_OK)
        return status;
    if (cli->json) {
        cli_print_json(node);
        return CYX_OK;
    }
    char text[64];
    line("node", cli_text(node, "id"));
    line("name", cli_text(node, "name"));
    printf("%-14s %s since %s\n", "status", cli_text(node, "status"),
           cli_text(node, "status_since"));
    show_trouble(node);
    line("version", cli_text(node, "version"));
    line("OUTDATED", cli_text(node, "outdated"));
    line("price an hour", cli_text(node, "price_per_hour"));
    line("region", cli_text(node, "region"));
    snprintf(text, sizeof(text), "%.0f running, %.0f images/s", cli_number(node, "running_jobs"),
             cli_number(node, "images_per_second"));
    line("jobs", text);
    json_array_foreach(json_object_get(node, "devices"), i, device) print_device(device);
    print_system(node);
    show_record(json_object_get(node, "record"));
    show_health(node);
    show_events(json_object_get(node, "events"));
    return CYX_OK;
}
