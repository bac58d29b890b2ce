/* The data part of a job spec: transforms, data sets of the catalogue and on this machine. */
#include "contract/job_tables.h"

#include "base/banned.h"

/* ---- transforms ---- */

#define AT(member) offsetof(struct cyx_transform_spec, member)
#define CHANNEL_SCHEMA(range)                                                                      \
    "{\"anyOf\":[{\"type\":\"number\"," range                                                      \
    "},{\"type\":\"array\",\"minItems\":1,\"maxItems\":4,"                                         \
    "\"items\":{\"type\":\"number\"," range "}}]}"
/* A half width, or from and to. */
#define RANGE_SCHEMA(most, range, rest)                                                            \
    "{\"anyOf\":[{\"type\":\"number\",\"minimum\":0,\"maximum\":" most                             \
    "},{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,\"items\":{\"type\":\"number\"," range    \
    "}}]" rest "}"
#define SIZE(help_)                                                                                \
    .key = "size", .kind = SPEC_PAIR, .offset = AT(size), .required = true, .min = 1,              \
    .max = CYX_IMAGE_SIDE_LIMIT, .help = (help_)
#define FILL                                                                                       \
    {                                                                                              \
        .key = "fill", .kind = SPEC_INTEGER, .offset = AT(fill), .min = 0, .max = 255,             \
        .help = "The byte, from 0 to 255, of what is added."                                       \
    }
#define CHANCE                                                                                     \
    {                                                                                              \
        .key = "p", .kind = SPEC_NUMBER, .offset = AT(p), .min = 0, .max = 1, .fallback = 0.5,     \
        .help = "Probability that an image is flipped."                                            \
    }

static const char *const resize_names[] = {"nearest", "bilinear", "bicubic", NULL};
static const char *const rotation_names[] = {"nearest", "bilinear", NULL};

static const struct spec_field resize_fields[] = {
    {.key = "size",
     .kind = SPEC_CUSTOM,
     .offset = AT(size),
     .required = true,
     .min = 1,
     .max = CYX_IMAGE_SIDE_LIMIT,
     .read = spec_read_resize,
     .help = "[height, width], or one number for the shorter edge.",
     .schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":16384},"
               "{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,"
               "\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":16384}}]}"},
    {.key = "interpolation",
     .kind = SPEC_CHOICE,
     .offset = AT(interpolation),
     .choices = resize_names,
     .fallback = CYX_BILINEAR,
     .help = "bilinear and bicubic take all pixels that an output pixel covers (antialias), as "
             "Pillow."},
};

static const struct spec_field center_crop_fields[] = {
    {SIZE("Height and width that are kept; a smaller image gets a black border.")},
};

static const struct spec_field random_crop_fields[] = {
    {SIZE("Height and width that are kept, at a place drawn for each image and epoch.")},
    {.key = "padding",
     .kind = SPEC_INTEGER,
     .offset = AT(padding),
     .min = 0,
     .max = 1024,
     .help = "Pixels added on every side first."},
    {.key = "pad_if_needed",
     .kind = SPEC_BOOLEAN,
     .offset = AT(pad_if_needed),
     .help = "Whether an image smaller than size is padded instead of refused."},
    FILL,
};

static const struct spec_field flip_fields[] = {CHANCE};

static const struct spec_field rotation_fields[] = {
    {.key = "degrees",
     .kind = SPEC_CUSTOM,
     .offset = AT(degrees),
     .required = true,
     .min = -360,
     .max = 360,
     .read = spec_read_range,
     .help = "The angle is drawn from -degrees to degrees, or from [from, to].",
     .schema = RANGE_SCHEMA("360", "\"minimum\":-360,\"maximum\":360", "")},
    {.key = "interpolation",
     .kind = SPEC_CHOICE,
     .offset = AT(interpolation),
     .choices = rotation_names,
     .help = "How pixels between pixels are made."},
    FILL,
};

#define FACTOR(key_, member, help_)                                                                \
    .key = (key_), .kind = SPEC_CUSTOM, .offset = AT(member), .min = 0, .max = 16, .fallback = 1,  \
    .read = spec_read_range, .help = (help_),                                                      \
    .schema = RANGE_SCHEMA("15", "\"minimum\":0,\"maximum\":16", ",\"default\":0")

static const struct spec_field color_jitter_fields[] = {
    {FACTOR("brightness", brightness,
            "The factor is drawn from 1 - brightness to 1 + brightness, or from [from, to].")},
    {FACTOR("contrast", contrast, "As brightness, about the image's mean grey.")},
    {FACTOR("saturation", saturation, "As brightness, about the image in grey.")},
    {.key = "hue",
     .kind = SPEC_CUSTOM,
     .offset = AT(hue),
     .min = -0.5,
     .max = 0.5,
     .read = spec_read_range,
     .help = "Turn of the colour circle, drawn from -hue to hue, or from [from, to].",
     .schema = RANGE_SCHEMA("0.5", "\"minimum\":-0.5,\"maximum\":0.5", ",\"default\":0")},
};

static const struct spec_field normalize_fields[] = {
    {.key = "mean",
     .kind = SPEC_CUSTOM,
     .offset = AT(mean),
     .required = true,
     .min = -RATE_MAX,
     .max = RATE_MAX,
     .read = spec_read_channels,
     .help = "Subtracted; one number, or one for each channel.",
     .schema = CHANNEL_SCHEMA("\"minimum\":-1e6,\"maximum\":1e6")},
    {.key = "std",
     .kind = SPEC_CUSTOM,
     .offset = AT(std),
     .required = true,
     .min = 1e-6,
     .max = RATE_MAX,
     .read = spec_read_channels,
     .help = "Divides; one number, or one for each channel.",
     .schema = CHANNEL_SCHEMA("\"minimum\":1e-6,\"maximum\":1e6")},
};

static const struct spec_field transform_common[] = {TYPE_FIELD};

static const struct spec_object transform_variants[] = {
    [CYX_TRANSFORM_RESIZE] = {"Resize", resize_fields, SPEC_COUNT(resize_fields),
                              .help = "Another size, the same picture."},
    [CYX_TRANSFORM_CENTER_CROP] = {"CenterCrop", center_crop_fields, SPEC_COUNT(center_crop_fields),
                                   .help = "The middle of the image."},
    [CYX_TRANSFORM_RANDOM_CROP] = {"RandomCrop", random_crop_fields, SPEC_COUNT(random_crop_fields),
                                   .help = "A part at a random place. Evaluation leaves it out, or "
                                           "takes the middle where the size changes."},
    [CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP] = {"RandomHorizontalFlip", flip_fields,
                                              SPEC_COUNT(flip_fields),
                                              .help = "Left for right; not in evaluation."},
    [CYX_TRANSFORM_RANDOM_VERTICAL_FLIP] = {"RandomVerticalFlip", flip_fields,
                                            SPEC_COUNT(flip_fields),
                                            .help = "Top for bottom; not in evaluation."},
    [CYX_TRANSFORM_RANDOM_ROTATION] = {"RandomRotation", rotation_fields,
                                       SPEC_COUNT(rotation_fields),
                                       .help = "Turned about its middle; not in evaluation."},
    [CYX_TRANSFORM_COLOR_JITTER] = {"ColorJitter", color_jitter_fields,
                                    SPEC_COUNT(color_jitter_fields),
                                    .help = "Brightness, contrast, saturation and hue changed in a "
                                            "random order; not in evaluation."},
    [CYX_TRANSFORM_TO_TENSOR] = {"ToTensor", NULL, 0,
                                 .help = "Bytes 0 to 255 to numbers 0 to 1; numbers stay."},
    [CYX_TRANSFORM_NORMALIZE] = {"Normalize", normalize_fields, SPEC_COUNT(normalize_fields),
                                 .help = "(x - mean) / std, a channel."},
};

const struct spec_union spec_transforms = {
    .what = "transform type",
    .variants = transform_variants,
    .n_variants = SPEC_COUNT(transform_variants),
    .common = transform_common,
    .n_common = SPEC_COUNT(transform_common),
};

const char *cyx_transform_name(enum cyx_transform_type type)
{
    return (unsigned)type < SPEC_COUNT(transform_variants) ? transform_variants[type].what
                                                           : "unknown";
}

/* ---- data in files ---- */

#undef AT
#define AT(member) offsetof(struct cyx_source_spec, member)
#define PATH_SCHEMA "{\"type\":\"string\",\"minLength\":1,\"maxLength\":4095}"
#define PATH(key_, member, help_)                                                                  \
    .key = (key_), .kind = SPEC_CUSTOM, .offset = AT(member), .read = spec_read_path,              \
    .help = (help_), .schema = PATH_SCHEMA
#define TRAIN(help_)                                                                               \
    {                                                                                              \
        PATH("train", train, help_), .required = true                                              \
    }
#define TEST                                                                                       \
    {                                                                                              \
        PATH("test", test, "The same for the test part; when left out, data.split judges.")        \
    }
#define COLUMN_SCHEMA                                                                              \
    "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},"                                           \
    "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000},"                                    \
    "{\"type\":\"array\",\"minItems\":1,\"maxItems\":4096,\"items\":{\"anyOf\":["                  \
    "{\"type\":\"string\",\"minLength\":1},"                                                       \
    "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000}]}}]}"
#define COLUMNS(key_, member, help_)                                                               \
    .key = (key_), .kind = SPEC_CUSTOM, .offset = AT(member), .min = 0, .max = 1e6,                \
    .read = spec_read_columns, .help = (help_), .schema = COLUMN_SCHEMA

static const char *const task_names[] = {"auto", "classes", "numbers", NULL};
static const char *const layout_names[] = {"channels_first", "channels_last", NULL};

#define TASK                                                                                       \
    {                                                                                              \
        .key = "task", .kind = SPEC_CHOICE, .offset = AT(task), .choices = task_names,             \
        .help = "What the targets are; auto takes integers for classes."                           \
    }
#define CLASSES                                                                                    \
    {                                                                                              \
        .key = "classes", .kind = SPEC_INTEGER, .offset = AT(n_classes), .min = 2, .max = 1048576, \
        .help = "How many classes there are; the largest in the training part + 1 when left out."  \
    }
#define LAYOUT                                                                                     \
    {                                                                                              \
        .key = "layout", .kind = SPEC_CHOICE_BOOL, .offset = AT(channels_last),                    \
        .choices = layout_names,                                                                   \
        .help = "Where an image's channels stand: (N,C,H,W) or (N,H,W,C)."                         \
    }

static const struct spec_field format_common[] = {
    {.key = "format", .kind = SPEC_TAG, .required = true, .help = "What the files are."},
    SPEC_UPLOAD(
        AT(upload),
        "Name or id of an uploaded data set (`cyxwiz upload`), for jobs of the platform; paths "
        "are then within it."),
    SPEC_UPLOAD_SHA256(AT(sha256)),
    {.key = "shape",
     .kind = SPEC_CUSTOM,
     .offset = AT(shape),
     .min = 1,
     .max = 1e9,
     .read = spec_read_sizes,
     .help =
         "With upload: what one sample is before the transforms: [features], [channels, length] "
         "or [channels, height, width]. Folders of images need none where the transforms end in "
         "a fixed size.",
     .schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000},"
               "{\"type\":\"array\",\"minItems\":1,\"maxItems\":3,"
               "\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000}}]}"}};

static const struct spec_field idx_fields[] = {
    TRAIN("File of the training part's images."),
    {PATH("targets", targets, "File of their labels."), .required = true},
    TEST,
    {PATH("test_targets", test_targets, "File of the test part's labels.")},
    CLASSES,
};

static const struct spec_field csv_fields[] = {
    TRAIN("File with a row a sample."),
    TEST,
    {COLUMNS("target", target, "Column to predict, by name or index from 0, or a list of them."),
     .required = true},
    {COLUMNS("ignore", ignore, "Columns that are no input.")},
    TASK,
    {.key = "header",
     .kind = SPEC_BOOLEAN,
     .offset = AT(header),
     .fallback = 1,
     .help = "Whether the first row names the columns."},
    {.key = "delimiter",
     .kind = SPEC_CUSTOM,
     .offset = AT(delimiter),
     .read = spec_read_delimiter,
     .help = "The character between columns.",
     .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":1,\"default\":\",\"}"},
};

static const struct spec_field npy_fields[] = {
    TRAIN("File of the training part's inputs, (N,F), (N,C,L), (N,C,H,W) or images (N,H,W) of "
          "bytes."),
    {PATH("targets", targets, "File of their targets, (N) or (N,K).")},
    TEST,
    {PATH("test_targets", test_targets, "File of the test part's targets.")},
    TASK,
    CLASSES,
    LAYOUT,
};

static const struct spec_field archive_fields[] = {
    TRAIN("File that holds the training part's arrays."),
    {PATH("inputs", inputs, "Name of the inputs' array; \"x\" when left out.")},
    {PATH("targets", targets,
          "Name of the targets' array; \"y\", if there is one, when left out.")},
    TEST,
    {PATH("test_inputs", test_inputs,
          "Name of the test part's inputs; with it `test` may be left out: the same file.")},
    {PATH("test_targets", test_targets, "Name of the test part's targets.")},
    TASK,
    CLASSES,
    LAYOUT,
};

static const struct spec_field folder_fields[] = {
    TRAIN("Folder with a folder of PNG and JPEG files for each class; sorted names are the "
          "classes."),
    TEST,
    {.key = "channels",
     .kind = SPEC_INTEGER,
     .offset = AT(channels),
     .min = 1,
     .max = 3,
     .fallback = 3,
     .help = "3 makes every image RGB, 1 makes it grey."},
};

static enum cyx_status check_pairs(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_source_spec *source = target;
    bool files = source->format == CYX_SOURCE_IDX || source->format == CYX_SOURCE_NPY;
    if (files && source->test && source->targets && !source->test_targets)
        return spec_fail(reader, "\"test\" needs \"test_targets\" beside it");
    if (files && !source->test && source->test_targets)
        return spec_fail(reader, "\"test_targets\" needs \"test\" beside it");
    if (files && !source->targets && source->test_targets)
        return spec_fail(reader, "\"test_targets\" needs \"targets\" for the training part");
    if (!files && source->test_targets && !source->test && !source->test_inputs)
        return spec_fail(reader, "\"test_targets\" needs \"test_inputs\" beside it");
    return CYX_OK;
}

static enum cyx_status check_folder(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    int64_t channels = ((const struct cyx_source_spec *)target)->channels;
    if (channels == 1 || channels == 3)
        return CYX_OK;
    return spec_fail_at(reader, "channels", "expected 1 or 3, got %lld", (long long)channels);
}

static const struct spec_object source_variants[] = {
    {"idx", idx_fields, SPEC_COUNT(idx_fields), check_pairs,
     .help = "Files as MNIST's: unsigned bytes, images and labels apart."},
    {"csv", csv_fields, SPEC_COUNT(csv_fields),
     .help = "Text, a row a sample; every column but the target and the ignored is a number."},
    {"npy", npy_fields, SPEC_COUNT(npy_fields), check_pairs,
     .help = "NumPy's array files, inputs and targets apart."},
    {"npz", archive_fields, SPEC_COUNT(archive_fields), check_pairs,
     .help = "NumPy's archives of arrays."},
    {"safetensors", archive_fields, SPEC_COUNT(archive_fields), check_pairs,
     .help = "Arrays as tensors of a safetensors file."},
    {"image-folder", folder_fields, SPEC_COUNT(folder_fields), check_folder,
     .help = "PNG and JPEG files, a folder a class, as torchvision's ImageFolder."},
    {"memory", NULL, 0, .help = "Arrays that the program hands over with the spec."},
};

const struct spec_union spec_sources = {
    .what = "format",
    .tag = "format",
    .first_value = CYX_SOURCE_IDX,
    .variants = source_variants,
    .n_variants = SPEC_COUNT(source_variants),
    .common = format_common,
    .n_common = SPEC_COUNT(format_common),
};

const char *cyx_source_format_name(enum cyx_source_format format)
{
    if (format == CYX_SOURCE_CATALOGUE)
        return "catalogue";
    size_t index = (size_t)format - CYX_SOURCE_IDX;
    return index < SPEC_COUNT(source_variants) ? source_variants[index].what : "unknown";
}

const char *cyx_data_spec_name(const struct cyx_data_spec *self)
{
    if (self->dataset)
        return self->dataset;
    if (self->source.upload)
        return self->source.upload;
    return self->source.train ? self->source.train : cyx_source_format_name(self->source.format);
}

/* ---- data ---- */

#undef AT
#define AT(member) offsetof(struct cyx_data_spec, member)

static const struct spec_field split_fields[] = {
    {.key = "validation",
     .kind = SPEC_NUMBER,
     .offset = AT(validation_part),
     .min = 0,
     .max = 0.5,
     .help = "Part of the training set that judges instead of the test set."},
};

static const struct spec_object split_object = {"split", split_fields, SPEC_COUNT(split_fields),
                                                .help = "How the training set is divided."};

/* `dataset` stands first: the rows behind it look at it. */
static const struct spec_field data_fields[] = {
    {.key = "dataset",
     .kind = SPEC_CUSTOM,
     .offset = AT(dataset),
     .required = true,
     .read = spec_read_dataset,
     .help = "A name in the catalogue of data sets, or an object for data in files: on this "
             "machine, or uploaded."},
    {.key = "batch_size",
     .kind = SPEC_INTEGER,
     .offset = AT(batch_size),
     .required = true,
     .min = 1,
     .max = CYX_JOB_BATCH_LIMIT,
     .help = "Samples a training step."},
    {.key = "transforms",
     .kind = SPEC_UNION_LIST,
     .offset = AT(transforms),
     .set = &spec_transforms,
     .items_min = 1,
     .items_max = CYX_TRANSFORMS_LIMIT,
     .read = spec_read_transforms,
     .help = "What is done to a sample, in order: images' own, then ToTensor (the default), then "
             "Normalize. Evaluation leaves out the random ones; a RandomCrop that changes the size "
             "is a CenterCrop there."},
    {.key = "split",
     .kind = SPEC_OBJECT,
     .object = &split_object,
     .help = "How the training set is divided."},
    {.key = "shuffle",
     .kind = SPEC_BOOLEAN,
     .offset = AT(shuffle),
     .fallback = 1,
     .help = "Whether each epoch has an order of its own."},
    {.key = "drop_last",
     .kind = SPEC_BOOLEAN,
     .offset = AT(drop_last),
     .help = "Whether an incomplete last batch is left out."},
    {.key = "workers",
     .kind = SPEC_INTEGER,
     .offset = AT(workers),
     .min = 0,
     .max = CYX_WORKERS_LIMIT,
     .help = "Threads that make batches; 0 takes what the data and the machine want. The batches "
             "are the same for any number."},
};

const struct spec_object spec_data = {"data", data_fields, SPEC_COUNT(data_fields),
                                      .help = "What the model learns from."};
