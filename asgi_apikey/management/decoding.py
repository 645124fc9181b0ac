"""From bytes to what a verb takes: closed, strict, and never an error that is not told in the client's words.

Nothing that was sent is repeated in an error but the name of a field, and that only if it looks like one: what stands
in the wrong place may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct, inspect

from asgi_apikey.errors import InvalidRequest

S = TypeVar("S", bound=Struct)

_MAX_PARAMETERS: Final = 256

_AT: Final = re.compile(r"^(?P<message>.*?)(?: - at `\$(?:\.?)(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>\w+)`")
_NAME: Final = re.compile(r"[a-z][a-z_]{0,31}")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


def decoded_body(raw: bytes, kind: type[S]) -> S:
    """Return a JSON body as what it must be; without any bytes, as if it were `{}`.

    Raises:
        InvalidRequest: It is not JSON, or not of this kind; `path` says where.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("the body is not JSON in UTF-8, or nested too deeply") from None


def decoded_query(raw: bytes, kind: type[S]) -> S:
    """Return a query string as what it must be. A collection is written as its parameter, repeated.

    Raises:
        InvalidRequest: A parameter is unknown, given twice, or not what it must be; `path` is its name.
    """
    known = parameters_of(kind)
    given: dict[str, object] = {}
    for name, text in _pairs(raw):
        if name not in known:
            raise _unknown(name)
        parameter = known[name]
        within = given
        if parameter.within:
            within = _nested(given, parameter.within)
        if parameter.many:
            _appended(within, name, text)
        elif name in within:
            raise InvalidRequest("given twice", path=name)
        else:
            within[name] = parameter.value(text)
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        refused = _refused(str(error))
        raise InvalidRequest(str(refused), path=refused.path.rpartition(".")[2]) from None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        kind: What it is, None aside.
        many: Whether it may be repeated.
        within: The field that holds it; empty: it is one itself.
    """

    kind: inspect.Type
    many: bool = False
    within: str = ""

    def value(self, text: str) -> object:
        """Return the value that is written like this; what cannot be read stays text, which then is refused."""
        match self.kind:
            case inspect.BoolType():
                return _FLAGS.get(text, text)
            case inspect.IntType():
                return int(text) if _INTEGER.fullmatch(text) else text
            case inspect.FloatType():
                return float(text) if _NUMBER.fullmatch(text) else text
        return text


def parameters_of(kind: type[Struct]) -> Mapping[str, Parameter]:
    """Return the query parameters that the fields of a struct are, those of a struct in it among them."""
    found: dict[str, Parameter] = {}
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined] # of a struct it is a StructType
        base = _base(field.type)
        if isinstance(base, inspect.StructType):
            found |= {each.name: Parameter(_base(each.type), _is_list(each.type), field.name) for each in base.fields}
        else:
            found[field.name] = Parameter(base, _is_list(field.type))
    return found


def _base(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.Metadata):
        return _base(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(_base(each) for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind


def _is_list(kind: inspect.Type) -> bool:
    return isinstance(_base(kind), inspect.ListType)


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        text = raw.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequest("the query string cannot be read") from None


def _nested(given: dict[str, object], name: str) -> dict[str, object]:
    nested = given.setdefault(name, {})
    assert isinstance(nested, dict)
    return nested


def _appended(given: dict[str, object], name: str, text: str) -> None:
    values = given.setdefault(name, [])
    assert isinstance(values, list)
    values.append(text)


def _refused(message: str) -> InvalidRequest:
    """Return the error for what msgspec says, in which only the names of fields come from the client."""
    match = _AT.match(message)
    said, path = (match["message"], match["path"] or "") if match else (message, "")
    unknown, missing = _UNKNOWN.fullmatch(said), _MISSING.fullmatch(said)
    if unknown:
        return _unknown(unknown["name"], path)
    if missing:
        return InvalidRequest("required", path=_joined(path, missing["name"]))
    if said.startswith("Invalid enum value"):
        said = "none of the possible values"
    if "matching regex" in said:
        said = "must not be blank"
    return InvalidRequest(said.replace("`", ""), path=path)


def _unknown(name: str, path: str = "") -> InvalidRequest:
    return InvalidRequest("there is no such field", path=_joined(path, name if _NAME.fullmatch(name) else "?"))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
