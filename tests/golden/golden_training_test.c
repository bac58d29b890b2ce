/*
 * Fifty steps of every optimizer as PyTorch takes them, on every device and on the reference: with its options,
 * parameter groups, clipping by norm and by value, and a learning rate that changes each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden_train.h"

static struct runners runners;

static void test_golden__optimizers_train_as_pytorch(void **state)
{
    (void)state;
    golden_train_all(&runners, "training", 17, golden_run_open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__optimizers_train_as_pytorch),
    };
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
