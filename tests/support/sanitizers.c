/*
 * What the sanitizers must not count as ours, for tests that load foreign libraries. Compiled into the test itself,
 * since a static library's unreferenced symbols are not linked.
 *
 * - The validation layer leaks some of each pipeline. It must stay loaded for the leak checker to know its name:
 *   runners.c holds it.
 * - GNU OpenMP synchronises oneDNN's threads by futexes that the thread sanitizer does not see.
 */
const char *__lsan_default_suppressions(void);
const char *__tsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libVkLayer_khronos_validation.so\n";
}

const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libdnnl.so\nrace:libgomp.so\n";
}
