/* Shell completion, made from the table of commands. The bash script serves zsh too, by its bashcompinit: words are kept
 * apart by line breaks there, so that file names may hold spaces. */
#include <string.h>

#include "cli.h"
#include "contract/dataset.h"

#include "base/banned.h"

static const char globals[] = "--json --help --url --token --ca";

/* What may stand where `metavar` ("SPEC|MODEL", "MODEL INPUT...") is written in the help. */
static bool takes_files(const char *metavar)
{
    return strstr(metavar, "SPEC") || strstr(metavar, "MODEL") || strstr(metavar, "INPUT") ||
           strstr(metavar, "FILE");
}

static bool takes_data_sets(const char *metavar)
{
    return strstr(metavar, "NAME") || strstr(metavar, "INPUT");
}

/* The known words among them, `separator` between. */
static void print_known(const char *metavar, const char *separator)
{
    if (strcmp(metavar, "SHELL") == 0) {
        printf("bash%szsh%sfish", separator, separator);
    } else if (takes_data_sets(metavar)) {
        size_t count = 0;
        const struct cyx_dataset *sets = cyx_dataset_all(&count);
        for (size_t i = 0; i < count; i++)
            printf("%s%s", i ? separator : "", sets[i].name);
    }
}

/* The call that completes it in bash. */
static void print_values(const char *metavar)
{
    printf("_cyxwiz_reply%s", takes_files(metavar)          ? " -f"
                              : strcmp(metavar, "DIR") == 0 ? " -d"
                                                            : "");
    if (strcmp(metavar, "DIR") == 0 || (takes_files(metavar) && !takes_data_sets(metavar)))
        return;
    printf(" -W $'");
    print_known(metavar, "\\n");
    printf("'");
}

/* Words with spaces between, as one word of the shell with line breaks between. */
static void print_words(const char *words)
{
    for (; *words; words++) {
        if (*words == ' ')
            printf("\\n");
        else
            putchar(*words);
    }
}

static void bash_option(const struct cli_option *option)
{
    if (!option->metavar)
        return;
    printf("        --%s", option->name);
    if (option->letter)
        printf("|-%c", option->letter);
    printf(") ");
    if (option->choices) {
        printf("_cyxwiz_reply -W $'");
        print_words(option->choices);
        printf("'");
    } else {
        print_values(option->metavar);
    }
    printf("; return;;\n");
}

static void bash_command(const struct cli_command *command)
{
    printf("    '%s'|'%s '*)\n      case \"$prev\" in\n", command->words, command->words);
    for (const struct cli_option *o = command->options; o && o->name; o++)
        bash_option(o);
    printf("        --url|--token) return;;\n        --ca) _cyxwiz_reply -f; return;;\n      esac\n"
           "      case \"$cur\" in\n        -*) _cyxwiz_reply -W $'");
    print_words(globals);
    for (const struct cli_option *o = command->options; o && o->name; o++)
        printf("\\n--%s", o->name);
    printf("';;\n        *) ");
    print_values(command->arguments);
    printf(";;\n      esac;;\n");
}

/* The first words ("job"), each once; the second ones of `first` when it is given. */
static void bash_words(const char *first)
{
    size_t length = first ? strcspn(first, " ") : 0;
    for (size_t i = 0; i < cli_commands_count; i++) {
        const char *words = cli_commands[i].words;
        size_t own = strcspn(words, " ");
        if (first && (own != length || strncmp(words, first, own) != 0))
            continue;
        if (!first && i > 0 && strncmp(cli_commands[i - 1].words, words, own) == 0 &&
            strcspn(cli_commands[i - 1].words, " ") == own)
            continue;
        printf("%.*s\\n", first ? (int)strlen(words + own + 1) : (int)own,
               first ? words + own + 1 : words);
    }
}

static void complete_bash(void)
{
    printf("_cyxwiz_reply() {\n  local IFS=$'\\n'\n"
           "  COMPREPLY=($(compgen \"$@\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
           "_cyxwiz() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" "
           "prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
           "  local words=\"${COMP_WORDS[*]:1:$((COMP_CWORD-1))}\"\n"
           "  COMPREPLY=()\n  case \"$words\" in\n");
    for (size_t i = 0; i < cli_commands_count; i++)
        bash_command(&cli_commands[i]);
    for (size_t i = 0; i < cli_commands_count; i++) {
        const char *words = cli_commands[i].words;
        size_t length = strcspn(words, " ");
        if (words[length] == '\0' ||
            (i > 0 && strncmp(cli_commands[i - 1].words, words, length + 1) == 0))
            continue;
        printf("    %.*s) _cyxwiz_reply -W $'", (int)length, words);
        bash_words(words);
        printf("--help';;\n");
    }
    printf("    '') _cyxwiz_reply -W $'");
    bash_words(NULL);
    printf("help\\n--help\\n--version';;\n  esac\n}\ncomplete -o filenames -F _cyxwiz cyxwiz\n");
}

/* Text between single quotes. */
static void fish_text(const char *text)
{
    putchar('\'');
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('\'');
}

static void fish_option(const char *command, const struct cli_option *option)
{
    printf("complete -c cyxwiz -n '__fish_seen_subcommand_from %s' -l %s -d ", command,
           option->name);
    fish_text(option->help);
    if (option->letter)
        printf(" -s %c", option->letter);
    if (option->choices) {
        printf(" -x -a '%s'", option->choices);
    } else if (option->metavar) {
        printf(" -r -a '");
        print_known(option->metavar, " ");
        printf("'");
    }
    printf("\n");
}

static void complete_fish(void)
{
    printf("complete -c cyxwiz -l json -d 'print JSON for programs'\n"
           "complete -c cyxwiz -l url -x -d 'the gateway'\n"
           "complete -c cyxwiz -l token -x -d 'an API key'\n"
           "complete -c cyxwiz -l ca -r -d 'authority of the gateway'\n"
           "complete -c cyxwiz -s h -l help -d 'what a command does'\n");
    for (size_t i = 0; i < cli_commands_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        int first = (int)strcspn(c->words, " ");
        if (c->words[first] == '\0')
            printf("complete -c cyxwiz -n __fish_use_subcommand -a %s -d ", c->words);
        else
            printf("complete -c cyxwiz -n __fish_use_subcommand -f -a %.*s\n"
                   "complete -c cyxwiz -n '__fish_seen_subcommand_from %.*s' -f -a %s -d ",
                   first, c->words, first, c->words, c->words + first + 1);
        fish_text(c->summary);
        printf("\n");
        if (!takes_files(c->arguments) || takes_data_sets(c->arguments)) {
            printf("complete -c cyxwiz -n '__fish_seen_subcommand_from %s'%s -a '",
                   c->words[first] ? c->words + first + 1 : c->words,
                   takes_files(c->arguments) ? "" : " -f");
            print_known(c->arguments, " ");
            printf("'\n");
        }
        for (const struct cli_option *o = c->options; o && o->name; o++)
            fish_option(c->words[first] ? c->words + first + 1 : c->words, o);
    }
}

enum cyx_status cli_completion(struct cli *cli, struct cyx_error *err)
{
    const char *shell = cli->arguments[0];
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
