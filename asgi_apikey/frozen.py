"""A JSON object that cannot be changed, so that caches may share one among all requests."""

from __future__ import annotations

from typing import Any, NoReturn


class FrozenObject(dict[str, Any]):
    """A JSON object whose methods refuse to change it.

    It is a `dict`, because everything that writes JSON knows one: a `types.MappingProxyType` can neither be serialised,
    nor copied, nor pickled, so a handler could not return a principal. Copies are the object itself.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this object is shared among requests and cannot be changed; make a dict() of it")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override] # a dict has none because it can be changed
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenObject:
        return self

    def __deepcopy__(self, memo: object) -> FrozenObject:
        return self

    def __reduce__(self) -> tuple[type[FrozenObject], tuple[dict[str, Any]]]:
        return FrozenObject, (dict(self),)
