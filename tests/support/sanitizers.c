/*
 * What the sanitizers must not count as ours, for tests that load foreign libraries. Compiled into the test itself,
 * since a static library's unreferenced symbols are not linked.
 *
 * - The validation layer leaks some of each pipeline, Mesa's software Vulkan some of each instance. They must stay
 *   loaded for the leak checker to know their names: runners.c holds the layer, this file the driver.
 * - GNU OpenMP synchronises oneDNN's threads by futexes that the thread sanitizer does not see.
 * - Mesa's shader cache ends a queue by a barrier on its stack, which the last of its threads destroys while the
 *   others are still seen in the wait. The engine uses no barrier.
 */
#include <dlfcn.h>

const char *__lsan_default_suppressions(void);
const char *__tsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libVkLayer_khronos_validation.so\nleak:libvulkan_lvp.so\n";
}

#ifdef __SANITIZE_ADDRESS__
__attribute__((constructor)) static void keep_driver(void)
{
    dlopen("libvulkan_lvp.so", RTLD_NOW | RTLD_LOCAL);
}
#endif

const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libdnnl.so\nrace:libgomp.so\nrace:pthread_barrier_destroy\n";
}
