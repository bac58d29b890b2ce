#!/usr/bin/env python3
"""Turns the OpenAPI document from YAML into JSON and into a reference page, and writes both as C.

  embed_openapi.py openapi.yaml openapi.json openapi.c

A schema that is a reference to a file beside the document is replaced by that file's schema, with its inner
references pointing to where it now stands.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cmake"))
from c_text import c_text  # noqa: E402
from reference_page import Page  # noqa: E402

try:
    import yaml
except ImportError:
    sys.exit("embed_openapi: Python's yaml is missing: apt-get install python3-yaml")


def moved(node, base):
    """The schema with "#/…" turned into BASE/…, without the keywords that only a document of its own may have."""
    if isinstance(node, dict):
        return {key: base + value[1:] if key == "$ref" and isinstance(value, str) and value.startswith("#")
                else moved(value, base)
                for key, value in node.items() if key not in ("$schema", "$id")}
    if isinstance(node, list):
        return [moved(item, base) for item in node]
    return node


def bundle(document, folder):
    document.pop("x-answers", None)  # its anchors have been followed
    for name, schema in document["components"]["schemas"].items():
        reference = schema.get("$ref", "")
        if reference.startswith("./"):
            text = (folder / reference).read_text(encoding="utf-8")
            document["components"]["schemas"][name] = moved(json.loads(text), f"#/components/schemas/{name}")
    return document


def main():
    source, json_path, c_path = (Path(argument) for argument in sys.argv[1:4])
    document = bundle(yaml.safe_load(source.read_text(encoding="utf-8")), source.parent)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    json_path.write_text(text + "\n", encoding="utf-8")
    style = (Path(__file__).parent / "reference.css").read_text(encoding="utf-8")
    c_path.write_text('#include "openapi.h"\n\n' + c_text("gateway_openapi", text)
                      + c_text("gateway_reference", Page(document).html())
                      + c_text("gateway_reference_css", style), encoding="utf-8")


main()
