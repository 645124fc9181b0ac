"""The description as a page: complete, escaped, and without anything to load or to run."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import msgspec
import pytest

from asgi_apikey.management.docspage import POLICY, STYLE, curl, docs_page, example_of
from asgi_apikey.management.openapi import openapi_document
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.schemes import TOKEN_SCHEMES, key_schemes, session_schemes
from asgi_apikey.models import Metadata

DOCUMENT = openapi_document(server="/api-keys")


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It closes the newest one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.texts.append(data)


PAGE = Page(docs_page(DOCUMENT))


def test_every_operation_and_every_schema_is_on_the_page() -> None:
    """With an anchor of its own, which the list at the top leads to."""
    summaries = {unescape(text) for text in PAGE.texts}

    assert {each.summary for each in OPERATIONS} <= summaries
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= set(PAGE.ids)  # type: ignore[index, call-overload]
    assert len(PAGE.ids) == len(set(PAGE.ids))
    assert {link[1:] for link in PAGE.links if link.startswith("#")} <= set(PAGE.ids)


def test_nothing_is_loaded_and_nothing_runs() -> None:
    """So it works offline, and the policy lets nothing else through."""
    assert not {"script", "link", "img", "iframe", "form", "object", "embed", "base"} & set(PAGE.tags)
    assert PAGE.attributes <= {"class", "id", "href", "lang", "charset", "name", "content"}
    assert [link for link in PAGE.links if not link.startswith("#")] == ["openapi.json"]
    assert PAGE.open == []


def test_the_policy_names_the_style_sheet_that_is_on_the_page() -> None:
    """By the hash of exactly what stands between the tags."""
    style = docs_page(DOCUMENT).partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()

    assert style == STYLE
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY


def test_whatever_stands_in_a_document_is_text_on_the_page() -> None:
    """Also where nobody would expect it."""
    evil = "<script>alert(1)</script>\"'&"
    document = json.loads(json.dumps(DOCUMENT).replace("Not blank.", json.dumps(evil)[1:-1]))
    document["info"]["title"] = document["info"]["description"] = evil
    document["components"]["schemas"]["Key"]["description"] = evil
    document["paths"]["/"]["get"]["summary"] = evil

    page = docs_page(document)

    assert "script" not in Page(page).tags
    assert page.count("&lt;script&gt;") >= 4


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_operation_has_a_line_for_the_shell(operation: Operation) -> None:
    """With a credential unless it needs none, and a body where there is one."""
    words = shlex.split(curl(DOCUMENT, operation.method.lower(), operation.path))

    assert words[:3] == ["curl", "-X", operation.method]
    assert words[3] == "$SERVER" + operation.path.replace("{key_id}", "$KEY_ID")
    assert ("X-API-Key: $API_KEY" in words) is not operation.public
    assert ("-d" in words) is (operation.body is not None)
    if operation.body is not None:
        msgspec.json.decode(words[-1], type=operation.body)


@pytest.mark.parametrize(
    ("schemes", "sent"),
    [
        (key_schemes("X-Admin-Key", bearer=True), "X-Admin-Key: $API_KEY"),
        (key_schemes(None, bearer=True), "Authorization: Bearer $API_KEY"),
        (TOKEN_SCHEMES, "Authorization: Bearer $API_KEY"),
        (session_schemes("session"), "Cookie: session=$API_KEY"),
        (session_schemes(None), None),
    ],
)
def test_credentials_are_sent_as_this_api_takes_them(schemes: Metadata, sent: str | None) -> None:
    """In the lines for the shell, and as told above them."""
    document = openapi_document(schemes=schemes)

    words = shlex.split(curl(document, "get", "/me"))

    assert words[4:] == ([] if sent is None else ["-H", sent])
    if sent is not None:
        assert sent.replace("$API_KEY", "…") in Page(docs_page(document)).texts


def test_the_page_tells_where_the_api_is() -> None:
    """Paths are below it, and nobody should have to find out by trying."""
    assert DOCUMENT["servers"][0]["url"] in PAGE.texts  # type: ignore[index, call-overload]


def test_a_quote_in_an_example_does_not_end_the_shells() -> None:
    """It is put between two quoted halves."""
    schema = {"type": "object", "properties": {"a": {"const": "it's"}}, "required": ["a"]}
    body = {"content": {"application/json": {"schema": schema}}}

    words = shlex.split(curl({"paths": {"/": {"post": {"requestBody": body, "security": []}}}}, "post", "/"))

    assert words[-1] == '{"a": "it\'s"}'


def test_the_least_that_a_schema_allows_is_its_example() -> None:
    """References are followed, and quotes cannot end the shell's."""
    schemas = {"Inner": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    document = {"components": {"schemas": schemas}}

    assert example_of(document, {"$ref": "#/components/schemas/Inner"}) == {"a": 1}
    assert example_of(document, {"anyOf": [{"type": "null"}, {"type": "string"}]}) is None
    assert example_of(document, {"enum": ["x", "y"]}) == "x"
    assert example_of(document, {"type": "string", "examples": ["it's"]}) == "it's"
    assert example_of(document, {}) == "text"
