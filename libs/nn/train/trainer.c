#include "nn/train/trainer.h"

#include "base/banned.h"

enum cyx_status cyx_train(const struct cyx_train_options *options,
                          struct cyx_train_result *ret_result, struct cyx_error *ret_error)
{
    (void)options;
    (void)ret_result;
    return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL, "the trainer is being built");
}
