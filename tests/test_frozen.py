"""What handlers may do with a principal: anything but change what other requests see."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import msgspec
import pytest
from fastapi.encoders import jsonable_encoder

from asgi_apikey.frozen import FrozenObject
from asgi_apikey.models import Principal, frozen_metadata

METADATA = {"plan": "pro", "limits": [1, {"burst": 2}], "note": None}


def principal() -> Principal:
    """One with metadata of every kind."""
    return Principal(key_id="k1", owner="acme", metadata=frozen_metadata(METADATA))


def test_it_is_written_as_the_json_it_is() -> None:
    """By the standard library, by FastAPI and by what Litestar uses."""
    metadata = principal().metadata

    assert json.loads(json.dumps(metadata)) == METADATA
    assert jsonable_encoder(principal())["metadata"] == METADATA
    assert json.loads(msgspec.json.encode(principal()))["metadata"] == METADATA


def test_it_can_be_copied_pickled_hashed_and_taken_apart() -> None:
    """A principal is a value like any other."""
    original = principal()

    assert copy.copy(original) == copy.deepcopy(original) == pickle.loads(pickle.dumps(original)) == original
    assert hash(original) == hash(principal())
    assert dataclasses.asdict(original)["metadata"]["plan"] == "pro"


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.__setitem__("plan", "free"),
        lambda it: it.__delitem__("plan"),
        lambda it: it.update(plan="free"),
        lambda it: it.pop("plan"),
        lambda it: it.popitem(),
        lambda it: it.setdefault("new", 1),
        lambda it: it.clear(),
        lambda it: it.__ior__({"plan": "free"}),
        lambda it: it["limits"][1].update(burst=9),
    ],
)
def test_it_cannot_be_changed(change: object) -> None:
    """Not at any depth, by any method of a dict."""
    metadata = frozen_metadata(METADATA)

    with pytest.raises(TypeError):
        change(metadata)  # type: ignore[operator]

    assert metadata == frozen_metadata(METADATA)
    assert isinstance(metadata, FrozenObject)
