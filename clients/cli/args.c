/* Arguments and help, from the table of commands. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#include "base/banned.h"

enum { GLOBAL_OPTIONS = 5, HELP = 4, LONG_BASE = 256 };

static const struct cli_option globals[] = {
    {"json", 0, NULL, "print JSON for programs", NULL},
    {"url", 0, "URL", "the gateway (default: CYXWIZ_GATEWAY_URL, else the client file)", NULL},
    {"token", 0, "KEY", "an API key (default: CYXWIZ_TOKEN, else the client file)", NULL},
    {"ca", 0, "FILE",
     "authority of the gateway's certificate, PEM (default: CYXWIZ_GATEWAY_CA, else the client "
     "file, else the system's)",
     NULL},
    {"help", 'h', NULL, "this text", NULL},
    {0}};

static size_t options_count(const struct cli_option *options)
{
    size_t n = 0;
    while (options && options[n].name)
        n++;
    return n;
}

/* "job submit x" matches "job submit"; the number of words it took, 0 for no match. */
static int match_words(const char *words, int argc, char **argv)
{
    int taken = 0;
    while (*words) {
        size_t length = strcspn(words, " ");
        if (taken >= argc || strlen(argv[taken]) != length ||
            strncmp(argv[taken], words, length) != 0)
            return 0;
        taken++;
        words += length + (words[length] == ' ');
    }
    return taken;
}

static const struct cli_command *find_command(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < cli_commands_count; i++) {
        int words = match_words(cli_commands[i].words, argc, argv);
        if (words > 0) {
            *ret_words = words;
            return &cli_commands[i];
        }
    }
    return NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
    for (size_t i = 0; i < options_count(cli->command->options); i++)
        if (strcmp(cli->command->options[i].name, name) == 0)
            return cli->values[i];
    return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = choices; at && *at;) {
        size_t word = strcspn(at, " ");
        if (word == length && strncmp(at, value, length) == 0)
            return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

static void fill_getopt(const struct cli_option *from, size_t count, int base, struct option *to,
                        char *letters, size_t *n_letters)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (struct option){.name = from[i].name,
                                .has_arg = from[i].metavar ? required_argument : no_argument,
                                .val = base + (int)i};
        if (from[i].letter) {
            letters[(*n_letters)++] = from[i].letter;
            if (from[i].metavar)
                letters[(*n_letters)++] = ':';
        }
    }
}

static int index_of_letter(const struct cli_option *options, size_t count, int letter)
{
    for (size_t i = 0; i < count; i++)
        if (options[i].letter && options[i].letter == letter)
            return (int)i;
    return -1;
}

static enum cyx_status take_global(struct cli *cli, int index, bool *ret_help)
{
    if (index == 0)
        cli->json = true;
    else if (index == 1)
        cli->url_option = optarg;
    else if (index == 2)
        cli->token_option = optarg;
    else if (index == 3)
        cli->ca_option = optarg;
    else
        *ret_help = true;
    return CYX_OK;
}

static enum cyx_status take_option(struct cli *cli, int found, bool *ret_help, const char *spelt,
                                   struct cyx_error *err)
{
    const struct cli_option *options = cli->command->options;
    size_t count = options_count(options);
    if (found == '?' || found == ':')
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "%s %s; `cyxwiz %s --help` lists the options",
                             found == ':' ? "a value is missing behind" : "there is no option",
                             spelt, cli->command->words);
    if (found >= LONG_BASE + (int)count)
        return take_global(cli, found - LONG_BASE - (int)count, ret_help);
    if (found == 'h')
        return take_global(cli, HELP, ret_help);
    int index = found >= LONG_BASE ? found - LONG_BASE : index_of_letter(options, count, found);
    cli->values[index] = options[index].metavar ? optarg : "";
    if (options[index].choices && !is_choice(options[index].choices, optarg))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "--%s is one of: %s; not %s",
                             options[index].name, options[index].choices, optarg);
    return CYX_OK;
}

/* How many arguments the words of "MODEL INPUT...", "SPEC", "[ID]" ask for. */
static void count_arguments(const char *wanted, int *ret_least, int *ret_most)
{
    int least = 0, most = 0;
    while (*wanted) {
        size_t length = strcspn(wanted, " ");
        least += *wanted != '[';
        most++;
        if (length > 3 && strncmp(wanted + length - 3, "...", 3) == 0)
            most = INT_MAX;
        wanted += length + (wanted[length] == ' ');
    }
    *ret_least = least;
    *ret_most = most;
}

static enum cyx_status take_arguments(struct cli *cli, int argc, char **argv, struct cyx_error *err)
{
    const char *wanted = cli->command->arguments;
    int least = 0, most = 0;
    count_arguments(wanted, &least, &most);
    if (argc < least) {
        const char *missing = wanted;
        for (int i = 0; i < argc; i++)
            missing += strcspn(missing, " ") + 1;
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%.*s is missing: cyxwiz %s %s",
                             (int)strcspn(missing, ". "), missing, cli->command->words, wanted);
    }
    if (argc > most)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "one argument too many: %s", argv[most]);
    cli->arguments = (const char *const *)argv;
    cli->n_arguments = (size_t)argc;
    return CYX_OK;
}

enum cyx_status cli_whole_number(struct cli *cli, const char *name, int64_t min, int64_t max,
                                 int64_t *ret_value, struct cyx_error *err)
{
    const char *text = cli_value(cli, name);
    if (!text)
        return CYX_OK;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || value < min || value > max) {
        cli->usage = true;
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "--%s wants a whole number from %" PRId64 " to %" PRId64 ", not %s",
                             name, min, max, text);
    }
    *ret_value = value;
    return CYX_OK;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* The first command of the group that `word` names; NULL when it names none. */
static const struct cli_command *find_group(const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i < cli_commands_count; i++)
        if (strncmp(cli_commands[i].words, word, length) == 0 &&
            cli_commands[i].words[length] == ' ')
            return &cli_commands[i];
    return NULL;
}

/* What does not begin with a command: help, a group alone, or a mistake. */
static enum cyx_status no_command(struct cli *cli, int argc, char **argv, bool *ret_help,
                                  struct cyx_error *err)
{
    if (argc == 0) {
        *ret_help = true;
        return CYX_OK;
    }
    if (is_help(argv[0]) && argc > 1) { /* help job, help job list */
        int words = 0;
        cli->command = find_command(argc - 1, argv + 1, &words);
        *ret_help = cli->command != NULL;
        return cli->command ? CYX_OK
                            : no_command(cli, 2, (char *[]){argv[1], argv[0]}, ret_help, err);
    }
    const struct cli_command *first = find_group(argv[0]);
    if (is_help(argv[0]) || (first && argc > 1 && is_help(argv[1]))) {
        cli->group = first ? argv[0] : NULL;
        *ret_help = true;
        return CYX_OK;
    }
    if (first)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "`cyxwiz %s` wants one more word, as in `cyxwiz %s`", argv[0],
                             first->words);
    return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                         "there is no command %s; `cyxwiz --help` lists them", argv[0]);
}

/* The options before the command; how many words they took, the program's name among them. */
static enum cyx_status take_leading(struct cli *cli, int argc, char **argv, int *ret_taken,
                                    bool *ret_help, struct cyx_error *err)
{
    struct option longs[GLOBAL_OPTIONS + 1] = {0};
    char letters[2 * GLOBAL_OPTIONS + 4] = "+:"; /* +: stop at the first word that is none */
    size_t n_letters = 2;
    int found;
    fill_getopt(globals, GLOBAL_OPTIONS, LONG_BASE, longs, letters, &n_letters);
    optind = 0; /* glibc: begin anew, with this string's rules */
    while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (found == '?' || found == ':')
            return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%s %s; `cyxwiz --help` lists them",
                                 found == ':' ? "a value is missing behind"
                                              : "there is no such option before a command:",
                                 argv[optind - 1]);
        take_global(cli, found == 'h' ? HELP : found - LONG_BASE, ret_help);
    }
    *ret_taken = optind;
    return CYX_OK;
}

static enum cyx_status take_own(struct cli *cli, int argc, char **argv, bool *ret_help,
                                struct cyx_error *err)
{
    struct option longs[CLI_OPTIONS_LIMIT + GLOBAL_OPTIONS + 1] = {0};
    char letters[2 * (CLI_OPTIONS_LIMIT + GLOBAL_OPTIONS) + 4] = ":";
    size_t n_letters = 1, count = options_count(cli->command->options);
    enum cyx_status status = CYX_OK;
    int found;
    fill_getopt(cli->command->options, count, LONG_BASE, longs, letters, &n_letters);
    fill_getopt(globals, GLOBAL_OPTIONS, LONG_BASE + (int)count, longs + count, letters,
                &n_letters);
    optind = 0;
    while (status == CYX_OK && (found = getopt_long(argc, argv, letters, longs, NULL)) != -1)
        status = take_option(cli, found, ret_help, argv[optind - 1], err);
    if (status == CYX_OK && !*ret_help)
        status = take_arguments(cli, argc - optind, argv + optind, err);
    return status;
}

enum cyx_status cli_parse(struct cli *cli, int argc, char **argv, bool *ret_help,
                          struct cyx_error *err)
{
    int taken = 1, words = 0;
    opterr = 0;
    enum cyx_status status = take_leading(cli, argc, argv, &taken, ret_help, err);
    if (status != CYX_OK || *ret_help)
        return status;
    cli->command = find_command(argc - taken, argv + taken, &words);
    if (!cli->command)
        return no_command(cli, argc - taken, argv + taken, ret_help, err);
    taken += words - 1; /* getopt passes over one word, as over a program's name */
    return take_own(cli, argc - taken, argv + taken, ret_help, err);
}

static void print_options(const struct cli_option *options)
{
    for (size_t i = 0; i < options_count(options); i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s%c%s --%s %s", options[i].letter ? "-" : " ",
                 options[i].letter ? options[i].letter : ' ', options[i].letter ? "," : " ",
                 options[i].name, options[i].metavar ? options[i].metavar : "");
        printf("  %-24s %s\n", left, options[i].help);
    }
}

static void print_commands(const char *group)
{
    size_t length = group ? strlen(group) : 0;
    for (size_t i = 0; i < cli_commands_count; i++) {
        char left[48];
        if (group && (strncmp(cli_commands[i].words, group, length) != 0 ||
                      cli_commands[i].words[length] != ' '))
            continue;
        snprintf(left, sizeof(left), "%s %s", cli_commands[i].words, cli_commands[i].arguments);
        printf("  %-28s %s\n", left, cli_commands[i].summary);
    }
}

static void print_command_help(const struct cli_command *command)
{
    printf("usage: cyxwiz %s%s%s%s\n\n%s.\n\n", command->words, *command->arguments ? " " : "",
           command->arguments, command->options ? " [options]" : "", command->summary);
    if (command->details)
        printf("%s\n", command->details);
    print_options(command->options);
    print_options(globals);
    printf("\nExample:\n  %s\n", command->example);
}

void cli_print_help(const struct cli *cli)
{
    if (cli->command) {
        print_command_help(cli->command);
        return;
    }
    if (cli->group) {
        printf("usage: cyxwiz %s COMMAND [options]\n\n", cli->group);
        print_commands(cli->group);
        printf("\nExample:\n  %s\n", find_group(cli->group)->example);
        return;
    }
    printf("CyxWiz: train neural networks, here or on the network.\n\nusage: cyxwiz COMMAND "
           "[options]\n\n");
    print_commands(NULL);
    printf("\nEvery command takes --json, --help, --url, --token and --ca. Examples:\n\n"
           "  cyxwiz data fetch fashion-mnist\n"
           "  cyxwiz train docs/examples/fashion-cnn.json\n"
           "  cyxwiz job submit docs/examples/fashion-cnn.json --watch\n\n"
           "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 away, 6 not "
           "valid, 130 "
           "interrupted.\n");
}
