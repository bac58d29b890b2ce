"""The REST contract as a judge: every answer that a test's Client gets is held against the served OpenAPI document.

Stricter than the document says: a member that it does not describe fails too, so that nothing is told by accident.
"""

import functools
import json
import re
import urllib.request

import jsonschema

PREFIX = "/api/v1"
# What the server answers before it has found an operation, or whatever the operation: broken framing, unknown
# paths and methods, headers and targets over their limits, deadlines.
BEFORE_ANY_ROUTE = (400, 404, 405, 408, 413, 414, 415, 431, 501, 503)


def strict(schema, inside=False):
    """Objects that list their members have no others; `inside` an allOf the whole is closed instead."""
    if isinstance(schema, list):
        return [strict(part, inside) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value, key == "allOf") if key not in ("properties", "enum", "const", "default", "examples")
              else value for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if not inside and "additionalProperties" not in schema:
            closed["unevaluatedProperties"] = False
    if "allOf" in schema and not inside:
        closed["unevaluatedProperties"] = False
    return closed


class Contract:
    """Checks answers against an OpenAPI document."""

    def __init__(self, document):
        self.document = document
        # A component that others take in by allOf stays open; the taker is closed.
        taken = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(
            [schema["allOf"] for schema in document["components"]["schemas"].values() if "allOf" in schema])))
        schemas = {name: schema if name == "JobSpec" else strict(schema, name in taken)
                   for name, schema in document["components"]["schemas"].items()}
        self.components = {**document["components"], "schemas": schemas}
        self.validators = {}
        self.paths = [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", PREFIX + path) + "$"), path)
                      for path in sorted(document["paths"], key=lambda path: path.count("{"))]

    @staticmethod
    @functools.lru_cache(maxsize=8)
    def of(url, tls=None):
        """The contract that the gateway at `url` serves."""
        with urllib.request.urlopen(f"{url}{PREFIX}/openapi.json", timeout=30, context=tls) as answer:
            return Contract(json.load(answer))

    def operation(self, method, target):
        """(path as the document spells it, operation), or None where the document has no such thing."""
        path = target.split("?")[0]
        for pattern, spelt in self.paths:
            if pattern.match(path):
                operations = self.document["paths"][spelt]
                operation = operations.get(method.lower()) or (operations.get("get") if method == "HEAD" else None)
                return (spelt, operation) if operation else None
        return None

    def _resolved(self, thing):
        while "$ref" in thing:
            place = self.document
            for step in thing["$ref"][2:].split("/"):
                place = place[step]
            thing = place
        return thing

    def _validate(self, schema, value):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            whole = {**strict(schema), "components": self.components}
            jsonschema.Draft202012Validator.check_schema(schema)
            self.validators[key] = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
        self.validators[key].validate(value)

    def judge(self, method, target, answer):
        """Any answer to any request: fails with what the document does not know."""
        if not target.startswith(PREFIX + "/") or method == "OPTIONS":
            return
        found = self.operation(method, target)
        known = found and found[1]["responses"].get(str(answer.status))
        if known:
            self._check_response(answer, method, found[0], self._resolved(known))
            return
        assert answer.status in BEFORE_ANY_ROUTE, \
            f"{method} {target}: the contract knows no {answer.status}: {answer.body[:300]}"
        if method != "HEAD":
            self._problem(answer)

    def check(self, answer, method, path):
        """`path` as the document spells it, "/jobs/{id}"; the status and the body must be in it."""
        response = self.document["paths"][path][method.lower()]["responses"].get(str(answer.status))
        assert response is not None, f"{method} {path}: the contract knows no {answer.status}: {answer.body[:300]}"
        self._check_response(answer, method, path, self._resolved(response))
        return answer

    def _check_response(self, answer, method, path, response):
        for name, header in response.get("headers", {}).items():
            value = answer.headers.get(name)
            assert value is not None or not header.get("required"), f"{method} {path}: no header {name}"
        content = response.get("content")
        if content is None or method == "HEAD":
            assert answer.body == b"", f"{method} {path} {answer.status}: a body that the contract does not know"
            return
        kind = (answer.headers.get("Content-Type") or "").split(";")[0]
        assert kind in content, f"{method} {path}: {kind} is not in the contract"
        if kind.endswith("json"):
            self._validate(content[kind]["schema"], answer.json)

    def _problem(self, answer):
        assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.headers
        self._validate({"$ref": "#/components/schemas/Problem"}, answer.json)
        assert answer.json["status"] == answer.status
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]

    def problem(self, answer, status, name=None):
        assert answer.status == status, answer.body
        self._problem(answer)
        if name:
            assert answer.json["type"] == f"urn:cyxwiz:problem:{name}"
        return answer.json
