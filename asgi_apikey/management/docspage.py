"""The OpenAPI document as a page for people: HTML and one style sheet, without any script.

It works offline and loads nothing. What it shows came out of the document, so it shows what is true; the document is
ours, but every value is escaped all the same.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Final, TypeAlias, cast

from asgi_apikey.models import JSONValue

Node: TypeAlias = Mapping[str, JSONValue]

STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h2 { border-bottom: 1px solid #8886; margin-top: 3rem; }
h3 { margin: 2rem 0 .5rem; }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
pre { background: #8882; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid #8883; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
.method { display: inline-block; font-weight: bold; min-width: 4.5rem; }
.quiet { opacity: .75; }
nav ul { columns: 2; list-style: none; padding: 0; }
"""

POLICY: Final = (
    "default-src 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's `Content-Security-Policy`: this one style sheet and nothing else, whatever might get into the page."""

_CODE: Final = re.compile(r"`([^`]+)`")
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_LINES: Final = (
    "In the lines for a shell, `$SERVER` is the address of this API, with its path, `$API_KEY` a credential that "
    "manages, and `$KEY_ID` the id of the key in question. What is marked * has to be there."
)
_BOUNDS: Final = {
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more",
    "maxItems": "at most {}",
    "minimum": "{} or more",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "pattern": "matches {}",
    "default": "default {}",
}


def docs_page(document: Node) -> str:
    """Return the page of an OpenAPI 3.1 document such as ours: references to its own schemas, and no deeper ones."""
    info = _node(document["info"])
    title = _text(info["title"])
    operations = [*_operations(document)]
    body = [
        _element("h1", title, " ", _element("small", _text(info["version"]), klass="quiet")),
        *_paragraphs(info.get("description")),
        _element("p", "As a document for programs: ", _link("openapi.json", "openapi.json")),
        _element("nav", _element("ul", *(_entry(*each) for each in operations))),
        *_servers(document),
        *_security(document),
        _element("h2", "Operations"),
        _element("p", _prose(_LINES)),
        *(_operation(document, *each) for each in operations),
        _element("h2", "Schemas"),
        *(_schema(name, _node(schema)) for name, schema in _schemas(document).items()),
    ]
    head = ('<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">')
    return (
        "<!doctype html>\n"
        + _element(
            "html",
            _element("head", *head, _element("title", title), f"<style>{STYLE}</style>"),
            _element("body", *body),
            lang="en",
        )
        + "\n"
    )


# ---- operations ----


def _operations(document: Node) -> Iterable[tuple[str, str, Node]]:
    for path, item in _node(document["paths"]).items():
        for method in _METHODS:
            if method in _node(item):
                yield method, path, _node(_node(item)[method])


def _entry(method: str, path: str, operation: Node) -> str:
    return _element("li", _link(f"#{_anchor(method, path)}", f"{method.upper()} {path}"))


def _operation(document: Node, method: str, path: str, operation: Node) -> str:
    heading = _element("h3", _method(method), _element("code", _text(path)), id=_anchor(method, path))
    parts = [heading, _element("p", _prose(operation.get("summary", ""))), *_paragraphs(operation.get("description"))]
    parameters = [_node(each) for each in _list(operation.get("parameters"))]
    if parameters:
        rows = [
            [
                _name(str(each["name"]), required=each.get("required") is True),
                _text(each["in"]),
                _type(_node(each["schema"])),
                _about(_node(each["schema"]), each.get("description")),
            ]
            for each in parameters
        ]
        parts.append(_table(("Parameter", "In", "Type", "About"), rows))
    body = _body_schema(operation)
    if body is not None:
        parts.append(_element("p", "Body: ", _type(body)))
    parts.append(_element("pre", _element("code", _text(curl(document, method, path)))))
    parts.append(_table(("Status", "Means", "Body"), [*_responses(operation)]))
    return _element("section", *parts)


def _responses(operation: Node) -> Iterable[list[str]]:
    for status, response in _node(operation["responses"]).items():
        described = _node(response)
        schemas = [_type(_node(_node(each)["schema"])) for each in _node(described.get("content", {})).values()]
        yield [_element("code", _text(status)), _prose(described["description"]), ", ".join(schemas)]


def curl(document: Node, method: str, path: str) -> str:
    """Return a line for a POSIX shell that makes the request, with the least that its body needs."""
    operation = _node(_node(_node(document["paths"])[path])[method])
    line = f'curl -X {method.upper()} "$SERVER{_variables(path)}"'
    if operation.get("security") != []:
        line += "".join(f' -H "{_sent(_node(each), "$API_KEY")}"' for each in [*_schemes(document).values()][:1])
    body = _body_schema(operation)
    if body is not None:
        example = json.dumps(example_of(document, body)).replace("'", "'\\''")
        line += f" -H 'Content-Type: application/json' -d '{example}'"
    return line


def _variables(path: str) -> str:
    return "".join(f"${part[1:-1].upper()}" if part[:1] == "{" else part for part in _pieces(path))


def _pieces(path: str) -> list[str]:
    return [piece for part in path.split("{") for piece in _closed(part)]


def _closed(part: str) -> list[str]:
    name, brace, rest = part.partition("}")
    return [f"{{{name}}}", rest] if brace else [part]


def _body_schema(operation: Node) -> Node | None:
    content = _node(_node(operation.get("requestBody", {})).get("content", {}))
    return _node(_node(content["application/json"])["schema"]) if "application/json" in content else None


def example_of(document: Node, schema: Node) -> JSONValue:
    """Return the schema's example, or else the least value that it allows."""
    schema = _resolved(document, schema)
    examples = _list(schema.get("examples"))
    if examples:
        return examples[0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return _list(schema["enum"])[0]
    if "anyOf" in schema:
        return example_of(document, _node(_list(schema["anyOf"])[0]))
    if schema.get("type") == "object":
        properties = _node(schema.get("properties", {}))
        return {str(name): example_of(document, _node(properties[str(name)])) for name in _list(schema.get("required"))}
    plain: dict[JSONValue, JSONValue] = {"array": [], "integer": 1, "number": 1, "boolean": True, "null": None}
    return plain.get(cast("str", schema.get("type")), "text")


# ---- schemas ----


def _servers(document: Node) -> list[str]:
    urls = [_element("code", _text(_node(each)["url"])) for each in _list(document.get("servers"))]
    return [_element("p", "All paths are below ", ", ".join(urls), ".")] if urls else []


def _security(document: Node) -> list[str]:
    rows = [
        [
            _element("code", _text(name)),
            _element("code", _text(_sent(scheme, "…"))),
            _text(scheme.get("description", "")),
        ]
        for name, scheme in ((name, _node(each)) for name, each in _schemes(document).items())
    ]
    return [_element("h2", "Credentials"), _table(("Name", "Header", "About"), rows)] if rows else []


def _schemes(document: Node) -> Node:
    return _node(_node(document.get("components", {})).get("securitySchemes", {}))


def _sent(scheme: Node, credential: str) -> str:
    """Return the header line that carries a credential."""
    if scheme["type"] == "http":
        return f"Authorization: Bearer {credential}"
    name = scheme["name"]
    return f"Cookie: {name}={credential}" if scheme["in"] == "cookie" else f"{name}: {credential}"


def _schemas(document: Node) -> Node:
    return _node(_node(document.get("components", {})).get("schemas", {}))


def _schema(name: str, schema: Node) -> str:
    required = _list(schema.get("required"))
    rows = [
        [_name(field, required=field in required), _type(_node(each)), _about(_node(each), None)]
        for field, each in _node(schema.get("properties", {})).items()
    ]
    parts = [_element("h3", _text(name), id=f"schema-{name}"), *_paragraphs(schema.get("description"))]
    parts.append(_table(("Field", "Type", "About"), rows) if rows else _element("p", _type(schema)))
    return _element("section", *parts)


def _type(schema: Node) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _link(f"#schema-{name}", name)
    if "anyOf" in schema:
        return " or ".join(_type(_node(each)) for each in _list(schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = _list(schema["enum"]) if "enum" in schema else [schema["const"]]
        return ", ".join(_element("code", _text(json.dumps(each))) for each in values)
    if schema.get("type") == "array":
        return f"array of {_type(_node(schema.get('items', {})))}"
    kind = schema.get("type", "any")
    name = " or ".join(map(str, kind)) if isinstance(kind, Sequence) and not isinstance(kind, str) else str(kind)
    return _text(f"{name} ({schema['format']})" if "format" in schema else name)


def _about(schema: Node, description: JSONValue) -> str:
    bounds = [
        each.format(_element("code", _text(json.dumps(schema[key])))) for key, each in _BOUNDS.items() if key in schema
    ]
    text = description or schema.get("description") or ""
    return _prose(text) + ("" if not bounds else " " + _element("span", "; ".join(bounds), klass="quiet"))


def _resolved(document: Node, schema: Node) -> Node:
    reference = schema.get("$ref")
    return schema if reference is None else _node(_schemas(document)[str(reference).rpartition("/")[2]])


def _node(value: JSONValue) -> Node:
    assert isinstance(value, Mapping)
    return value


def _list(value: JSONValue) -> Sequence[JSONValue]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


# ---- HTML ----


def _text(value: JSONValue) -> str:
    return escape(str(value))


def _prose(value: JSONValue) -> str:
    """Return text in which what stands in backticks is code."""
    return _CODE.sub(r"<code>\1</code>", _text(value))


def _element(tag: str, *inner: str, **attributes: str) -> str:
    written = "".join(f' {name.replace("klass", "class")}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{written}>{''.join(inner)}</{tag}>"


def _link(target: str, text: str) -> str:
    return _element("a", _element("code", _text(text)), href=target)


def _method(method: str) -> str:
    return _element("span", _text(method.upper()), klass="method")


def _name(name: str, *, required: bool) -> str:
    return _element("code", _text(name)) + (" *" if required else "")


def _anchor(method: str, path: str) -> str:
    return "-".join([method, *(part.strip("{}") for part in path.split("/") if part)])


def _paragraphs(text: JSONValue) -> list[str]:
    return [_element("p", _prose(each)) for each in str(text or "").split("\n\n") if each.strip()]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = _element("tr", *(_element("th", _text(each)) for each in heads))
    return _element("table", head, *(_element("tr", *(_element("td", cell) for cell in row)) for row in rows))
