"""The API's reference page from the OpenAPI document: one HTML text, no scripts, nothing from elsewhere."""

import html
import re

METHODS = ("get", "post", "put", "patch", "delete", "head")


def prose(text):
    """Paragraphs, with `code` as code."""
    paragraphs = re.split(r"\n\s*\n", (text or "").strip())
    return "".join(f"<p>{inline(' '.join(paragraph.split()))}</p>" for paragraph in paragraphs if paragraph)


def inline(text):
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text or "", quote=False))


class Page:
    def __init__(self, document):
        self.document = document

    def resolve(self, node):
        while "$ref" in node:
            place = self.document
            for step in node["$ref"][2:].split("/"):
                place = place[step.replace("~1", "/").replace("~0", "~")]
            node = place
        return node

    # ---- schemas ----

    def kind(self, schema):
        """A schema in a word or two, a link where it has a name."""
        if schema is True or schema == {}:
            return "anything"
        if "$ref" in schema:
            parts = schema["$ref"].split("/")
            name = html.escape(parts[-1])
            return f'<a href="#schema-{name}">{name}</a>' if parts[-2] == "schemas" and len(parts) == 4 else name
        if "const" in schema:
            return f"<code>{html.escape(repr(schema['const']).strip(chr(39)))}</code>"
        if "enum" in schema:
            return " | ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
        for key, word in (("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")):
            if key in schema:
                return word.join(dict.fromkeys(self.kind(part) for part in schema[key]))
        types = schema.get("type", "object" if "properties" in schema else "anything")
        text = " | ".join(types) if isinstance(types, list) else types
        if "items" in schema:
            text = f"{text} of {self.kind(schema['items'])}"
        return text + self.limits(schema)

    @staticmethod
    def limits(schema):
        known = (("format", "{}"), ("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"),
                 ("exclusiveMaximum", "< {}"), ("minLength", "at least {} characters"),
                 ("maxLength", "at most {} characters"), ("minItems", "at least {}"), ("maxItems", "at most {}"),
                 ("default", "default {}"))
        told = [html.escape(form.format(schema[key])) for key, form in known if key in schema]
        return f" <small>({', '.join(told)})</small>" if told else ""

    def members(self, schema, depth=0):
        """The object's members as a list, inner objects within."""
        schema = schema if isinstance(schema, dict) else {}
        inner = [schema] + [part for key in ("allOf", "oneOf", "anyOf") for part in schema.get(key, [])
                            if "$ref" not in part]
        rows = []
        for part in inner:
            required = part.get("required", [])
            for name, member in part.get("properties", {}).items():
                member = member if isinstance(member, dict) else {}
                note = "" if name in required else " <small>optional</small>"
                rows.append(f"<li><code>{html.escape(name)}</code>{note} {self.kind(member)}"
                            f"{' — ' + inline(member['description']) if 'description' in member else ''}"
                            f"{self.members(member, depth + 1)}{self.members(member.get('items'), depth + 1)}</li>")
        return f"<ul>{''.join(rows)}</ul>" if rows else ""

    def content(self, holder):
        """A body's types and schemas."""
        parts = []
        for kind, media in holder.get("content", {}).items():
            schema = media.get("schema", {})
            parts.append(f"<p><code>{html.escape(kind)}</code> {self.kind(schema)}</p>{self.members(schema)}")
        return "".join(parts)

    # ---- operations ----

    def parameters(self, item, operation):
        rows = []
        for parameter in map(self.resolve, item.get("parameters", []) + operation.get("parameters", [])):
            note = "" if parameter.get("required") else " <small>optional</small>"
            rows.append(f"<tr><th scope=\"row\"><code>{html.escape(parameter['name'])}</code>{note}</th>"
                        f"<td>{parameter['in']}</td><td>{self.kind(parameter['schema'])}</td>"
                        f"<td>{inline(parameter.get('description'))}</td></tr>")
        return ("<h4>Parameters</h4><table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\">In</th>"
                "<th scope=\"col\">Type</th><th scope=\"col\">Meaning</th></tr></thead>"
                f"<tbody>{''.join(rows)}</tbody></table>") if rows else ""

    def responses(self, operation):
        problems, rows = [], []
        for status, answer in sorted(operation["responses"].items()):
            whole = self.resolve(answer)
            if "application/problem+json" in whole.get("content", {}):
                problems.append(status)
                continue
            headers = ", ".join(f"<code>{html.escape(name)}</code>" for name in whole.get("headers", {}))
            rows.append(f"<dt><code>{status}</code></dt><dd>{prose(whole.get('description'))}"
                        f"{f'<p>Headers: {headers}</p>' if headers else ''}{self.content(whole)}</dd>")
        if problems:
            rows.append(f"<dt><code>{', '.join(problems)}</code></dt><dd><p><code>application/problem+json</code> "
                        f"<a href=\"#schema-Problem\">Problem</a></p></dd>")
        return f"<h4>Answers</h4><dl>{''.join(rows)}</dl>"

    def credentials(self, operation):
        needed = operation.get("security", self.document["security"])
        names = " or ".join(f"<code>{html.escape(name)}</code>" for way in needed for name in way)
        return f"<p><small>Credential: {names or 'none'}</small></p>"

    def operation(self, path, method, item):
        operation = item[method]
        body = self.resolve(operation["requestBody"]) if "requestBody" in operation else None
        return (f"<section class=\"operation\" id=\"{operation['operationId']}\">"
                f"<h3><span class=\"method {method}\">{method.upper()}</span> <code>{html.escape(path)}</code></h3>"
                f"<p><strong>{inline(operation['summary'])}</strong></p>{prose(operation.get('description'))}"
                f"{self.credentials(operation)}{self.parameters(item, operation)}"
                f"{'<h4>Body</h4>' + self.content(body) if body else ''}{self.responses(operation)}</section>")

    def schema(self, name, schema):
        return (f"<section id=\"schema-{name}\"><h3>{name}</h3>{prose(schema.get('description'))}"
                f"<p>{self.kind(schema)}</p>{self.members(schema)}</section>")

    def html(self):
        info, tags = self.document["info"], {}
        for path, item in self.document["paths"].items():
            for method in (method for method in METHODS if method in item):
                tags.setdefault(item[method]["tags"][0], []).append((path, method, item))
        links = "".join(
            f"<li>{html.escape(tag)}<ul>" + "".join(
                f"<li><a href=\"#{item[method]['operationId']}\"><span class=\"method {method}\">{method.upper()}</span> "
                f"{html.escape(path)}</a></li>" for path, method, item in entries) + "</ul></li>"
            for tag, entries in tags.items())
        operations = "".join(f"<h2>{html.escape(tag)}</h2>" + "".join(self.operation(*entry) for entry in entries)
                             for tag, entries in tags.items())
        schemas = "".join(self.schema(name, schema) for name, schema in self.document["components"]["schemas"].items())
        return ("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                f"<title>{html.escape(info['title'])}: reference</title>"
                "<link rel=\"stylesheet\" href=\"/api/v1/reference.css\"></head><body>"
                f"<nav aria-label=\"Operations\"><p><a href=\"/api/v1/openapi.json\">openapi.json</a></p><ul>{links}"
                "<li><a href=\"#schemas\">Schemas</a></li></ul></nav>"
                f"<main><h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>"
                f"<p>{inline(info['summary'])} All paths stand below <code>{self.document['servers'][0]['url']}</code>.</p>"
                f"{prose(info['description'])}{operations}<h2 id=\"schemas\">Schemas</h2>{schemas}</main></body></html>\n")
