/* The `cyxwiz` command: reads the arguments, runs one command, turns its error into a sentence and an exit code. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/version.h"
#include "cli.h"

#include "base/banned.h"

volatile sig_atomic_t cli_interrupted;
atomic_bool cli_cancel;

static void on_signal(int number)
{
    if (cli_interrupted)
        _Exit(128 + number); /* asked twice */
    cli_interrupted = 1;
    atomic_store(&cli_cancel, true);
}

static int exit_code(enum cyx_status status)
{
    switch (status) {
    case CYX_OK:
        return CLI_OK;
    case CYX_ERR_NOT_FOUND:
        return CLI_NOT_FOUND;
    case CYX_ERR_UNAUTHENTICATED:
    case CYX_ERR_DENIED:
        return CLI_DENIED;
    case CYX_ERR_UNAVAILABLE:
    case CYX_ERR_TIMEOUT:
        return CLI_AWAY;
    case CYX_ERR_INVALID:
    case CYX_ERR_UNSUPPORTED:
    case CYX_ERR_TOO_LARGE:
        return CLI_INVALID;
    case CYX_ERR_CANCELLED:
        return CLI_INTERRUPTED;
    default:
        return CLI_FAILED;
    }
}

static void print_error(const struct cli *cli, const struct cyx_error *err)
{
    if (cli->json) {
        json_t *body =
            json_pack("{s:{s:s, s:s, s:s}}", "error", "status", cyx_status_name(err->status),
                      "pointer", err->pointer, "message", err->message);
        json_dumpf(body, stderr, JSON_COMPACT);
        fputc('\n', stderr);
        json_decref(body);
        return;
    }
    fprintf(stderr, "cyxwiz: %s%s%s\n", err->pointer, *err->pointer ? ": " : "", err->message);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct cyx_error err = {0};
    bool help = false;
    cyx_log_set_service("cyxwiz");
    cyx_log_set_level(CYX_LOG_WARN);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("cyxwiz %s\n", cyx_version());
        return CLI_OK;
    }
    enum cyx_status status = cli_parse(&cli, argc, argv, &help, &err);
    if (status != CYX_OK || help) {
        if (status == CYX_OK)
            cli_print_help(&cli);
        else
            print_error(&cli, &err);
        return status != CYX_OK || argc < 2 ? CLI_USAGE : CLI_OK;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    status = cli.command->run(&cli, &err);
    if (cli_interrupted && status != CYX_OK)
        status = CYX_ERR_CANCELLED;
    if (status != CYX_OK && !(status == CYX_ERR_CANCELLED && !*err.message))
        print_error(&cli, &err);
    cli_close(&cli);
    if (status == CYX_OK && (fflush(stdout) != 0 || ferror(stdout)))
        return CLI_FAILED;
    if (status == CYX_ERR_INVALID && cli.usage)
        return CLI_USAGE;
    return status == CYX_OK && cli.failed ? CLI_FAILED : exit_code(status);
}
