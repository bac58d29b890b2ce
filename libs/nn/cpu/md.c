#include "nn/cpu/md.h"

#include <string.h>

#include "base/banned.h"

void cpu_md_plain(int n_dims, const int64_t *dims, dnnl_memory_desc_t *ret_md)
{
    dnnl_dims_t sizes, strides;
    int64_t stride = 1;
    for (int i = n_dims - 1; i >= 0; i--) {
        sizes[i] = dims[i];
        strides[i] = stride;
        stride *= dims[i];
    }
    memset(ret_md, 0, sizeof(*ret_md));
    dnnl_memory_desc_init_by_strides(ret_md, n_dims, sizes, dnnl_f32, strides);
}

void cpu_md_tag(int n_dims, const int64_t *dims, dnnl_format_tag_t tag, dnnl_memory_desc_t *ret_md)
{
    memset(ret_md, 0, sizeof(*ret_md));
    dnnl_memory_desc_init_by_tag(ret_md, n_dims, dims, dnnl_f32, tag);
}

void cpu_md_any(int n_dims, const int64_t *dims, dnnl_memory_desc_t *ret_md)
{
    cpu_md_tag(n_dims, dims, dnnl_format_tag_any, ret_md);
}

void cpu_md_plain_like(const dnnl_memory_desc_t *md, dnnl_memory_desc_t *ret_md)
{
    cpu_md_plain(md->ndims, md->dims, ret_md);
}

/* Dense row-major up to dims of one, whose strides do not matter. */
bool cpu_md_is_plain(const dnnl_memory_desc_t *md)
{
    if (md->format_kind != dnnl_blocked || md->format_desc.blocking.inner_nblks != 0 ||
        md->offset0 != 0)
        return false;
    int64_t stride = 1;
    for (int i = md->ndims - 1; i >= 0; i--) {
        if (md->dims[i] != 1 && md->format_desc.blocking.strides[i] != stride)
            return false;
        if (md->padded_dims[i] != md->dims[i])
            return false;
        stride *= md->dims[i];
    }
    return true;
}

bool cpu_md_view(const dnnl_memory_desc_t *md, int n_dims, const int64_t *dims,
                 dnnl_memory_desc_t *ret_md)
{
    if (md->ndims == n_dims && memcmp(md->dims, dims, sizeof(*dims) * (size_t)n_dims) == 0) {
        *ret_md = *md;
        return true;
    }
    if (!cpu_md_is_plain(md))
        return false;
    cpu_md_plain(n_dims, dims, ret_md);
    return true;
}

void cpu_md_rows(const int64_t dims[2], dnnl_memory_desc_t *ret_md)
{
    const int64_t image[4] = {1, dims[1], 1, dims[0]};
    cpu_md_tag(4, image, dnnl_nhwc, ret_md);
}

int64_t cpu_md_bytes(const dnnl_memory_desc_t *md)
{
    return (int64_t)dnnl_memory_desc_get_size(md);
}

static const struct {
    dnnl_format_tag_t tag;
    int64_t block;
} blocked_tags[] = {{dnnl_nChw16c, 16}, {dnnl_nChw8c, 8}, {dnnl_nChw4c, 4}};

static bool has_tag(const dnnl_memory_desc_t *md, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t other;
    cpu_md_tag(4, md->dims, tag, &other);
    return dnnl_memory_desc_equal(md, &other) != 0;
}

enum cpu_form cpu_md_form(const dnnl_memory_desc_t *md, int64_t *ret_block)
{
    *ret_block = 1;
    if (md->ndims != 4)
        return CPU_FORM_OTHER;
    if (cpu_md_is_plain(md))
        return CPU_FORM_NCHW;
    if (has_tag(md, dnnl_nhwc))
        return CPU_FORM_NHWC;
    for (size_t i = 0; i < sizeof(blocked_tags) / sizeof(*blocked_tags); i++) {
        if (has_tag(md, blocked_tags[i].tag)) {
            *ret_block = blocked_tags[i].block;
            return CPU_FORM_BLOCKED;
        }
    }
    return CPU_FORM_OTHER;
}

void cpu_md_same_form(const dnnl_memory_desc_t *like, const int64_t dims[4],
                      dnnl_memory_desc_t *ret_md)
{
    int64_t block = 1;
    enum cpu_form form = cpu_md_form(like, &block);
    dnnl_format_tag_t tag = form == CPU_FORM_NHWC ? dnnl_nhwc : dnnl_nchw;
    for (size_t i = 0; form == CPU_FORM_BLOCKED && i < sizeof(blocked_tags) / sizeof(*blocked_tags);
         i++)
        if (blocked_tags[i].block == block)
            tag = blocked_tags[i].tag;
    cpu_md_tag(4, dims, tag, ret_md);
}
