#!/usr/bin/env python3
"""Writes the local page's files as a table in C: embed.py page_assets.c"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "cmake"))
from c_text import c_string  # noqa: E402

FILES = (("/", "index.html", "text/html; charset=utf-8"), ("/page.css", "page.css", "text/css; charset=utf-8"),
         ("/page.js", "page.js", "text/javascript; charset=utf-8"), ("/icon.svg", "icon.svg", "image/svg+xml"))


def main():
    parts, rows = ['#include "page_assets.h"\n'], []
    for number, (path, name, kind) in enumerate(FILES):
        parts.append(f"static const char file{number}[] =\n{c_string((HERE / name).read_text(encoding='utf-8'))};\n")
        rows.append(f'    {{"{path}", "{kind}", file{number}, sizeof(file{number}) - 1}},\n')
    parts.append("const struct page_asset page_assets[] = {\n" + "".join(rows) + "};\n")
    parts.append(f"const size_t page_assets_count = {len(FILES)};\n")
    Path(sys.argv[1]).write_text("\n".join(parts), encoding="utf-8")


main()
