# The extension module: cffi's objects over the headers of clients/python/native.
from typing import Any

ffi: Any
lib: Any
