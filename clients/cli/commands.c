/* The table of commands: the one place that says what there is. */
#include "cli.h"

#include "base/banned.h"

#define DATA_DIR                                                                                   \
    {                                                                                              \
        "data-dir", 0, "DIR",                                                                      \
            "where data sets lie (default: CYXWIZ_DATA_DIR, else the local stack's, else yours)",  \
            NULL                                                                                   \
    }
/* How a model is opened; see model.h. */
#define MODEL_OPTIONS                                                                              \
    {"spec", 's', "SPEC", "the model's spec, for a file without one (PyTorch's)", NULL},           \
        {"backend", 'b', "NAME", "auto, cpu or vulkan (default: what the spec says)",              \
         "auto cpu vulkan"},                                                                       \
        {"threads", 't', "N", "CPU threads (default: all)", NULL},                                 \
    {                                                                                              \
        "device", 'd', "N", "which GPU, from 0", NULL                                              \
    }
#define END                                                                                        \
    {                                                                                              \
        0                                                                                          \
    }

static const struct cli_option train_options[] = {
    {"backend", 'b', "NAME", "auto, cpu or vulkan (default: what the spec says)",
     "auto cpu vulkan"},
    {"output", 'o', "DIR", "where model and checkpoint are written (default: runs/<name>)", NULL},
    DATA_DIR,
    {"resume", 'r', NULL, "go on from the checkpoint in the output folder", NULL},
    {"threads", 't', "N", "CPU threads (default: all)", NULL},
    {"device", 'd', "N", "which GPU, from 0", NULL},
    {"max-steps", 0, "N", "stop after so many steps", NULL},
    {"tensorboard", 0, "DIR", "folder of the TensorBoard files (default: the output's; off: none)",
     NULL},
    END};
static const struct cli_option describe_options[] = {
    {"batch", 'n', "N", "batch size for shapes and memory (default: what the spec says)", NULL},
    END};
static const struct cli_option top_options[] = {
    {"once", '1', NULL, "print a plain table and end (so does a pipe)", NULL},
    {"interval", 'i', "SECONDS", "how often to look (default 2)", NULL},
    END};
static const struct cli_option eval_options[] = {
    {"data", 0, "NAME|SPEC", "another data set, or the data of another spec (default: the model's)",
     NULL},
    MODEL_OPTIONS,
    DATA_DIR,
    END};
static const struct cli_option predict_options[] = {
    {"top", 'k', "K", "how many classes to tell for each input (default 3)", NULL},
    {"resize", 0, NULL, "bring images to the model's size first", NULL},
    MODEL_OPTIONS,
    DATA_DIR,
    END};
static const struct cli_option submit_options[] = {
    {"watch", 'w', NULL, "stay and watch it, as `job watch` does", NULL},
    {"quote", 'q', NULL, "only say what it would cost, how long it runs and when it starts", NULL},
    {"priority", 'p', "NAME", "before which other jobs of the queue", "low normal high critical"},
    {"after", 'a', "IDS", "jobs that must complete first, ids joined by commas", NULL},
    {"deadline", 0, "TIME", "it fails when it has not ended by then (2030-01-31T12:00:00Z)", NULL},
    {"retries", 0, "N", "attempts after failures that may pass (default 2)", NULL},
    {"array", 0, "N", "N copies whose seeds count up", NULL},
    {"key", 'k', "KEY", "idempotency key: the same key gives the same job", NULL},
    END};
static const struct cli_option list_options[] = {
    {"state", 's', "STATE", "only jobs in this state",
     "queued assigned running completed failed cancelled"},
    {"sort", 0, "ORDER",
     "created_at, name or state, a - before it for falling (default -created_at)",
     "created_at -created_at name -name state -state"},
    {"limit", 'n', "N", "how many (default 20)", NULL},
    END};
static const struct cli_option logs_options[] = {
    {"follow", 'f', NULL, "stay for new lines until the job ends", NULL}, END};
static const struct cli_option token_options[] = {
    {"node", 0, "ID", "for a node that lost its key, instead of a new one; its history stays",
     NULL},
    {"life", 0, "SECONDS", "how long it is good (default 3600)", NULL},
    END};
static const struct cli_option revoke_options[] = {
    {"reason", 0, "TEXT", "kept with the node, for those who wonder", NULL}, END};
static const struct cli_option maintain_options[] = {
    {"from", 0, "TIME", "when it begins (default: now)", NULL},
    {"until", 0, "TIME", "when it ends", NULL},
    {"reason", 0, "TEXT", "kept with the node, for those who wonder", NULL},
    {"cancel", 0, "WINDOW", "end this window, or take it back", NULL},
    END};
static const struct cli_option pull_options[] = {
    {"output", 'o', "FILE", "where to (default: <name>.safetensors)", NULL},
    {"job", 'j', "JOB", "the model of this job, instead of a model's id", NULL},
    END};
static const struct cli_option upload_options[] = {
    {"name", 0, "NAME", "what to call it (default: the file's or folder's name)", NULL},
    {"kind", 0, "KIND", "dataset (default) or model", "dataset model"},
    END};
static const struct cli_option uploads_options[] = {
    {"kind", 0, "KIND", "only dataset or model", "dataset model"},
    {"sort", 0, "ORDER",
     "created_at, name or bytes, a - before it for falling (default -created_at)",
     "created_at -created_at name -name bytes -bytes"},
    {"limit", 'n', "N", "how many (default 50)", NULL},
    END};
static const struct cli_option fetch_options[] = {DATA_DIR, END};
static const struct cli_option inspect_options[] = {
    {"sheet", 0, "FILE", "write a contact sheet of the pictures, a PNG file", NULL},
    {"transforms", 0, NULL, "the sheet shows what the spec's transforms make of a picture", NULL},
    {"all", 'a', NULL, "decode every image (default: at most 2,000 of each part)", NULL},
    {"target", 0, "NAME", "column of a CSV file, array or file with the targets", NULL},
    DATA_DIR,
    END};
static const struct cli_option login_options[] = {
    {"email", 'e', "EMAIL", "sign in with e-mail and password (asked for, or from CYXWIZ_PASSWORD)",
     NULL},
    END};

static const struct cli_option key_options[] = {
    {"scopes", 's', "LIST", "read, write, account, admin, joined by commas (default: your own)",
     NULL},
    {"days", 0, "N", "it expires after so many (default: never)", NULL},
    END};
static const struct cli_option audit_options[] = {
    {"account", 'a', "ID", "only what this account did", NULL},
    {"action", 0, "ACTION", "only this, such as \"POST /jobs\"", NULL},
    {"limit", 'n', "N", "how many, newest first (default 50)", NULL},
    END};

static const char predict_details[] =
    "INPUT is an image (PNG, JPEG), a .npy array of one sample or of many, an IDX file, or a data\n"
    "set's name: its test part, or with /train behind it the other. Which rows stands behind a\n"
    "colon: images.npy:7, fashion-mnist:0-9,20, fashion-mnist/train:3. Arrays of bytes are images\n"
    "and go through the spec's transforms; arrays of floats are taken as ToTensor gives them.\n";

static const char upload_details[] =
    "A file goes up as it is, a folder as a tar archive without its hidden files; a .tar or "
    ".tar.gz\n"
    "of your own is unpacked where it is trained on. The same command goes on after a break.\n";

const struct cli_command cli_commands[] = {
    {"train", "SPEC", "train on this machine, with no service running",
     "cyxwiz train docs/examples/fashion-cnn.json --backend cpu", train_options, cli_train},
    {"describe", "SPEC|MODEL", "layers, shapes, parameters, FLOPs and device memory of a model",
     "cyxwiz describe docs/examples/fashion-cnn.json --batch 256", describe_options, cli_describe},
    {"predict", "MODEL INPUT...", "what a model says of images, .npy, IDX files, data-set rows",
     "cyxwiz predict runs/fashion-cnn/model.safetensors photo.png fashion-mnist:0-9",
     predict_options, cli_predict, predict_details},
    {"eval", "MODEL", "loss, accuracy and confusion matrix over the test part",
     "cyxwiz eval runs/fashion-cnn/model.safetensors", eval_options, cli_eval},
    {"job submit", "SPEC", "submit a job",
     "cyxwiz job submit docs/examples/fashion-cnn.json --watch", submit_options, cli_job_submit},
    {"job list", "", "your jobs, newest first", "cyxwiz job list --state running --sort name",
     list_options, cli_job_list},
    {"job show", "ID", "everything about a job", "cyxwiz job show ID --json", NULL, cli_job_show},
    {"job watch", "ID", "follow a job until it ends", "cyxwiz job watch ID", NULL, cli_job_watch},
    {"job cancel", "ID", "cancel a job", "cyxwiz job cancel ID", NULL, cli_job_cancel},
    {"job logs", "ID", "what the worker said", "cyxwiz job logs ID --follow", logs_options,
     cli_job_logs},
    {"node list", "", "nodes and what they do", "cyxwiz node list", NULL, cli_node_list},
    {"node show", "ID", "a node: devices, health, reputation, history, why it is silent",
     "cyxwiz node show ID", NULL, cli_node_show},
    {"node drain", "ID", "place nothing new on a node (operators)",
     "cyxwiz node drain ID --reason \"new fan\"", revoke_options, cli_node_drain},
    {"node undrain", "ID", "open a drained node again (operators)", "cyxwiz node undrain ID", NULL,
     cli_node_undrain},
    {"node maintain", "ID", "plan a maintenance window, or take one back (operators)",
     "cyxwiz node maintain ID --from 2030-01-31T12:00:00Z --until 2030-01-31T14:00:00Z",
     maintain_options, cli_node_maintain},
    {"top", "", "watch nodes and jobs on the terminal", "cyxwiz top", top_options, cli_top},
    {"node token", "", "make a one-time token that lets a node in (operators)",
     "cyxwiz node token --life 600", token_options, cli_node_token},
    {"node revoke", "ID", "end a node's key: NATS cuts it off at once (operators)",
     "cyxwiz node revoke ID --reason stolen", revoke_options, cli_node_revoke},
    {"node rotate", "ID", "ask a node for a new key (operators)", "cyxwiz node rotate ID", NULL,
     cli_node_rotate},
    {"model list", "", "your models", "cyxwiz model list", NULL, cli_model_list},
    {"model pull", "[ID]", "download a model, resumed and verified",
     "cyxwiz model pull --job ID -o model.safetensors", pull_options, cli_model_pull},
    {"upload", "FILE|FOLDER", "bring a data set or model onto the platform, resumed and verified",
     "cyxwiz upload photos/ --name photos", upload_options, cli_upload, upload_details},
    {"uploads list", "", "what you have uploaded", "cyxwiz uploads list --sort -bytes",
     uploads_options, cli_uploads_list},
    {"uploads delete", "ID|NAME", "take an upload off the platform", "cyxwiz uploads delete photos",
     NULL, cli_uploads_delete},
    {"data list", "", "data sets, and which of them are on this machine", "cyxwiz data list",
     fetch_options, cli_data_list},
    {"data fetch", "NAME", "put a data set on this machine, verified",
     "cyxwiz data fetch fashion-mnist", fetch_options, cli_data_fetch},
    {"data inspect", "SPEC|PATH|NAME",
     "shapes, classes, mean and deviation, broken files, pictures",
     "cyxwiz data inspect photos/ --sheet photos.png", inspect_options, cli_data_inspect},
    {"key create", "NAME", "make an API key; it is shown once",
     "cyxwiz key create laptop --scopes read,write --days 90", key_options, cli_key_create},
    {"key list", "", "your API keys", "cyxwiz key list", NULL, cli_key_list},
    {"key revoke", "ID", "end an API key at once", "cyxwiz key revoke ID", NULL, cli_key_revoke},
    {"audit", "", "who changed what (administrators)", "cyxwiz audit --limit 20", audit_options,
     cli_audit},
    {"trust init", "DIR", "make the keys that NATS, the registry and the services need",
     "cyxwiz trust init /etc/cyxwiz/trust", NULL, cli_trust_init},
    {"login", "", "keep the address and a key for later calls",
     "cyxwiz login --url http://127.0.0.1:8080 --email you@example.org", login_options, cli_login},
    {"up", "", "start the local stack of this checkout", "cyxwiz up", NULL, cli_stack},
    {"down", "", "stop it", "cyxwiz down", NULL, cli_stack},
    {"status", "", "what of it runs", "cyxwiz status", NULL, cli_stack},
    {"completion", "SHELL", "print the completion for bash, zsh or fish",
     "source <(cyxwiz completion bash)", NULL, cli_completion},
};
const size_t cli_commands_count = sizeof(cli_commands) / sizeof(cli_commands[0]);
