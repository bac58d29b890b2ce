/*
 * oneDNN memory descriptors: the few questions and answers that this backend needs. Plain values; any thread.
 */
#ifndef CYX_NN_CPU_MD_H
#define CYX_NN_CPU_MD_H

#include <dnnl.h>
#include <stdbool.h>
#include <stdint.h>

/* Dense row-major float32. */
void cpu_md_plain(int n_dims, const int64_t *dims, dnnl_memory_desc_t *ret_md);

/* "any": the primitive chooses. */
void cpu_md_any(int n_dims, const int64_t *dims, dnnl_memory_desc_t *ret_md);

/* By tag, for as many dims as the tag has. */
void cpu_md_tag(int n_dims, const int64_t *dims, dnnl_format_tag_t tag, dnnl_memory_desc_t *ret_md);

bool cpu_md_is_plain(const dnnl_memory_desc_t *md);

/* The same bytes with other dims of the same row-major elements; false where the layout forbids it. */
bool cpu_md_view(const dnnl_memory_desc_t *md, int n_dims, const int64_t *dims,
                 dnnl_memory_desc_t *ret_md);

/* The dense row-major layout with md's dims. */
void cpu_md_plain_like(const dnnl_memory_desc_t *md, dnnl_memory_desc_t *ret_md);

/* Row-major (rows, width) as one image: (1, width, 1, rows) with the channels beside each other. */
void cpu_md_rows(const int64_t dims[2], dnnl_memory_desc_t *ret_md);

int64_t cpu_md_bytes(const dnnl_memory_desc_t *md);

/* Of the four-dimensional activation layouts that own kernels read. */
enum cpu_form { CPU_FORM_OTHER, CPU_FORM_NCHW, CPU_FORM_NHWC, CPU_FORM_BLOCKED };
enum cpu_form cpu_md_form(const dnnl_memory_desc_t *md, int64_t *ret_block);

/* (N,C,H,W) in the form of `like`, which is one of the three known ones. */
void cpu_md_same_form(const dnnl_memory_desc_t *like, const int64_t dims[4],
                      dnnl_memory_desc_t *ret_md);

#endif
