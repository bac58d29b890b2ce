/*
 * The buffer plan: where in one arena each transient value of a graph lies, by liveness, so that values
 * that are never alive together share bytes. The backend tells how many bytes each value takes in the layout
 * it chose (blocked layouts are larger than the logical size).
 *
 * Ownership: offsets belong to the plan; cyx_plan_destroy() frees it. Pure: any thread.
 */
#ifndef CYX_MODEL_PLAN_H
#define CYX_MODEL_PLAN_H

#include "model/graph.h"

struct cyx_plan {
    /* Per value, -1 for those that do not live in the arena. An alias (cyx_value.alias_of, followed to its
     * root) has its root's offset, so -1 where the root is the INPUT: Flatten as the first layer reads the
     * fed batch itself. The graph's output keeps its bytes to the end of the step. */
    int64_t *offset_bytes;
    int64_t arena_bytes;
    int64_t unshared_bytes; /* what it would be without sharing: for `describe` */
};

/*
 * `size_bytes[i]` is value i's size in the backend's layout (0, or all of it NULL: logical size); an alias
 * takes the largest of its group. `align_bytes` is a power of two. `scratch_bytes[n]`, may be NULL, is extra room that node n needs while it runs, its offset given back in `ret_scratch_offset[n]`.
 */
enum cyx_status cyx_plan_create(const struct cyx_graph *graph, const int64_t *size_bytes,
                                const int64_t *scratch_bytes, int64_t align_bytes,
                                int64_t *ret_scratch_offset, struct cyx_plan **ret_plan,
                                struct cyx_error *ret_error);

/* The same without any sharing, so that every value can be read after the step: CYXWIZ_KEEP_VALUES, tests. */
enum cyx_status cyx_plan_create_apart(const struct cyx_graph *graph, const int64_t *size_bytes,
                                      const int64_t *scratch_bytes, int64_t align_bytes,
                                      int64_t *ret_scratch_offset, struct cyx_plan **ret_plan,
                                      struct cyx_error *ret_error);
void cyx_plan_destroy(struct cyx_plan *self);

#endif
