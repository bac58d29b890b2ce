/* Arguments, help and completion, all from the table of commands. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#include "base/banned.h"

enum { GLOBAL_OPTIONS = 4, LONG_BASE = 256 };

static const struct cli_option globals[] = {
    {"json", 0, NULL, "print JSON for programs", NULL},
    {"url", 0, "URL", "the gateway (default: CYXWIZ_GATEWAY_URL, else the client file)", NULL},
    {"token", 0, "KEY", "an API key (default: CYXWIZ_TOKEN, else the client file)", NULL},
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
        return take_global(cli, 3, ret_help);
    int index = found >= LONG_BASE ? found - LONG_BASE : index_of_letter(options, count, found);
    cli->values[index] = options[index].metavar ? optarg : "";
    if (options[index].choices && !is_choice(options[index].choices, optarg))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "--%s is one of: %s; not %s",
                             options[index].name, options[index].choices, optarg);
    return CYX_OK;
}

static enum cyx_status take_arguments(struct cli *cli, int argc, char **argv, struct cyx_error *err)
{
    const char *wanted = cli->command->arguments;
    int most = *wanted ? 1 : 0;
    int least = *wanted && *wanted != '[' ? 1 : 0;
    if (argc < least)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%s is missing: cyxwiz %s %s", wanted,
                             cli->command->words, wanted);
    if (argc > most)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "one argument too many: %s", argv[most]);
    for (int i = 0; i < argc; i++)
        cli->arguments[i] = argv[i];
    return CYX_OK;
}

static enum cyx_status unknown_command(char **argv, struct cyx_error *err)
{
    size_t length = strlen(argv[0]);
    for (size_t i = 0; i < cli_commands_count; i++)
        if (strncmp(cli_commands[i].words, argv[0], length) == 0 &&
            cli_commands[i].words[length] == ' ')
            return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                                 "`cyxwiz %s` wants one more word, as in `cyxwiz %s`", argv[0],
                                 cli_commands[i].words);
    return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                         "there is no command %s; `cyxwiz --help` lists them", argv[0]);
}

enum cyx_status cli_parse(struct cli *cli, int argc, char **argv, bool *ret_help,
                          struct cyx_error *err)
{
    struct option longs[CLI_OPTIONS_LIMIT + GLOBAL_OPTIONS + 1] = {0};
    char letters[2 * (CLI_OPTIONS_LIMIT + GLOBAL_OPTIONS) + 4] = ":";
    size_t n_letters = 1;
    int words = 0, found;
    enum cyx_status status = CYX_OK;
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        *ret_help = true;
        return CYX_OK;
    }
    cli->command = find_command(argc - 1, argv + 1, &words);
    if (!cli->command)
        return unknown_command(argv + 1, err);
    size_t count = options_count(cli->command->options);
    fill_getopt(cli->command->options, count, LONG_BASE, longs, letters, &n_letters);
    fill_getopt(globals, GLOBAL_OPTIONS, LONG_BASE + (int)count, longs + count, letters,
                &n_letters);
    opterr = 0;
    optind = 1;
    argc -= words;
    argv += words;
    while (status == CYX_OK && (found = getopt_long(argc, argv, letters, longs, NULL)) != -1)
        status = take_option(cli, found, ret_help, argv[optind - 1], err);
    if (status == CYX_OK && !*ret_help)
        status = take_arguments(cli, argc - optind, argv + optind, err);
    return status;
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

void cli_print_help(const struct cli_command *command)
{
    if (command) {
        printf("usage: cyxwiz %s%s%s%s\n\n%s.\n\n", command->words, *command->arguments ? " " : "",
               command->arguments, command->options ? " [options]" : "", command->summary);
        print_options(command->options);
        print_options(globals);
        printf("\nExample:\n  %s\n", command->example);
        return;
    }
    printf("CyxWiz: train neural networks, here or on the network.\n\nusage: cyxwiz COMMAND "
           "[options]\n\n");
    for (size_t i = 0; i < cli_commands_count; i++) {
        char left[48];
        snprintf(left, sizeof(left), "%s %s", cli_commands[i].words, cli_commands[i].arguments);
        printf("  %-20s %s\n", left, cli_commands[i].summary);
    }
    printf("\nEvery command takes --json, --help, --url and --token. Examples:\n\n"
           "  cyxwiz data fetch fashion-mnist\n"
           "  cyxwiz train docs/examples/fashion-cnn.json\n"
           "  cyxwiz job submit docs/examples/fashion-cnn.json --watch\n\n"
           "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 away, 6 not "
           "valid, 130 "
           "interrupted.\n");
}

static void complete_bash(void)
{
    printf("_cyxwiz() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" "
           "words=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n"
           "  case \"$words\" in\n");
    for (size_t i = 0; i < cli_commands_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        printf("    '%s'*) COMPREPLY=($(compgen -f -W '--json --url --token --help", c->words);
        for (size_t k = 0; k < options_count(c->options); k++)
            printf(" --%s %s", c->options[k].name,
                   c->options[k].choices ? c->options[k].choices : "");
        printf("' -- \"$cur\"));;\n");
    }
    for (size_t i = 0; i < cli_commands_count; i++) {
        const char *space = strchr(cli_commands[i].words, ' ');
        if (!space)
            continue;
        int length = (int)(space - cli_commands[i].words);
        if (i > 0 &&
            strncmp(cli_commands[i - 1].words, cli_commands[i].words, (size_t)length + 1) == 0)
            continue;
        printf("    %.*s) COMPREPLY=($(compgen -W '", length, cli_commands[i].words);
        for (size_t k = i; k < cli_commands_count; k++)
            if (strncmp(cli_commands[k].words, cli_commands[i].words, (size_t)length + 1) == 0)
                printf("%s ", cli_commands[k].words + length + 1);
        printf("' -- \"$cur\"));;\n");
    }
    printf("    *) COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < cli_commands_count; i++)
        printf("%.*s ", (int)strcspn(cli_commands[i].words, " "), cli_commands[i].words);
    printf(
        "--help --version' -- \"$cur\"));;\n  esac\n}\ncomplete -o filenames -F _cyxwiz cyxwiz\n");
}

static void complete_fish(void)
{
    for (size_t i = 0; i < cli_commands_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        int first = (int)strcspn(c->words, " ");
        if (c->words[first] == '\0')
            printf("complete -c cyxwiz -n __fish_use_subcommand -a %s -d '%s'\n", c->words,
                   c->summary);
        else
            printf("complete -c cyxwiz -n __fish_use_subcommand -f -a %.*s\n"
                   "complete -c cyxwiz -n '__fish_seen_subcommand_from %.*s' -f -a %s -d '%s'\n",
                   first, c->words, first, c->words, c->words + first + 1, c->summary);
        for (size_t k = 0; k < options_count(c->options); k++)
            printf("complete -c cyxwiz -n '__fish_seen_subcommand_from %s' -l %s -d '%s'\n",
                   c->words[first] ? c->words + first + 1 : c->words, c->options[k].name,
                   c->options[k].help);
    }
}

enum cyx_status cli_print_completion(const char *shell, struct cyx_error *err)
{
    if (strcmp(shell, "bash") == 0) {
        complete_bash();
    } else if (strcmp(shell, "zsh") == 0) {
        printf("autoload -U +X bashcompinit && bashcompinit\n");
        complete_bash();
    } else if (strcmp(shell, "fish") == 0) {
        complete_fish();
    } else {
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "completion is for bash, zsh or fish, not %s", shell);
    }
    return CYX_OK;
}

enum cyx_status cli_completion(struct cli *cli, struct cyx_error *err)
{
    return cli_print_completion(cli->arguments[0], err);
}
