"""Writes the C source of the extension module `cyxwiz._native` from the headers beside this file.

usage: build_ffi.py OUTPUT.c

The headers hold plain declarations, so cffi reads them as they are once the preprocessor's lines are gone; what they
take from the engine's own headers is said here, in short, and checked by the C compiler against those headers.
"""

import contextlib
import re
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
HEADERS = ("spec.h", "engine.h", "schedule.h", "data.h", "tensors.h", "events.h")

FROM_THE_ENGINE = """
enum cyx_status { CYX_OK, CYX_ERR_INVALID, CYX_ERR_NOT_FOUND, CYX_ERR_CONFLICT, CYX_ERR_TOO_LARGE,
                  CYX_ERR_UNSUPPORTED, CYX_ERR_CANCELLED, CYX_ERR_UNAVAILABLE, CYX_ERR_CORRUPT,
                  CYX_ERR_NO_MEMORY, CYX_ERR_IO, CYX_ERR_INTERNAL, ... };
struct cyx_error { enum cyx_status status; char pointer[...]; char message[...]; ...; };
const char *cyx_status_name(enum cyx_status status);
struct cyx_step_result { float loss, correct, count, grad_norm; ...; };
struct cyx_shape { int rank; int64_t dim[...]; ...; };
struct cyx_layer_summary { struct cyx_shape output; int64_t parameters, buffers, forward_flops; ...; };
struct cyx_step_memory { int64_t parameters, buffers, optimizer, batch, arena, arena_unshared, total; ...; };
struct cyx_model_summary { int64_t batch; struct cyx_layer_summary *layers; size_t n_layers;
                           int64_t parameters, buffers, activations, loss_flops, forward_flops, training_flops;
                           struct cyx_step_memory training, inference; ...; };
void cyx_model_summary_destroy(struct cyx_model_summary *self);
struct cyx_device_info { char backend[...]; char name[...]; int64_t memory_bytes; bool is_software; int threads; ...; };
"""


def declarations(path: Path) -> str:
    """The header without what only C needs: comments stay, cffi reads them over."""
    text = re.sub(r"^#ifndef CYX_PYTHON_FFI$.*?^#endif$", "", path.read_text(), flags=re.M | re.S)
    return re.sub(r"^#.*$", "", text, flags=re.M)


def main() -> None:
    ffi = FFI()
    ffi.cdef(FROM_THE_ENGINE)
    headers = [name for name in HEADERS if (HERE / name).exists()]
    for name in headers:
        ffi.cdef(declarations(HERE / name))
    ffi.set_source("cyxwiz._native", "".join(f'#include "{name}"\n' for name in headers))
    with contextlib.redirect_stdout(None):  # cffi says "generating"
        ffi.emit_c_code(sys.argv[1])


if __name__ == "__main__":
    main()
