"""The pages about logs, metrics, events and alerts say what the code says."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from asgi_apikey.events import Event, EventName
from asgi_apikey.metrics.series import PREFIX, SERIES
from tests.docs.pages import DOCS, ROOT, code_words, rows, section

LOGGING: Final = DOCS / "howto" / "logging.md"
METRICS: Final = DOCS / "howto" / "metrics.md"
EVENTS: Final = DOCS / "howto" / "events.md"
ALERTS: Final = DOCS / "examples" / "alerts.yaml"

_LOGGERS: Final = ("_log", "_logger")
_LEVELS: Final = ("debug", "info", "warning", "error", "exception", "log")


def table(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows below a heading by what stands in backticks in their first cell."""
    return {name: row[1:] for row in rows(section(page, heading)) for name in code_words(row[0])}


def log_calls() -> list[tuple[str, str, str]]:
    """The place, the level and the event of every line that the package logs; empty where there is no event."""
    found = []
    for path in sorted((ROOT / "asgi_apikey").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=logger), attr=level), keywords=keywords) if (
                    logger in _LOGGERS and level in _LEVELS
                ):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    found.append((place, "error" if level == "exception" else level, _event(keywords)))
    return found


def _event(keywords: list[ast.keyword]) -> str:
    for keyword in keywords:
        match keyword:
            case ast.keyword(arg="extra", value=ast.Dict(keys=names, values=values)):
                for name, value in zip(names, values, strict=True):
                    match (name, value):
                        case (ast.Constant(value="event"), ast.Constant(value=str(event))):
                            return event
    return ""


def test_every_line_has_a_name() -> None:
    """Programs look for it; texts may change."""
    assert [place for place, _, event in log_calls() if not event] == []


def test_every_name_is_explained_with_its_level() -> None:
    """And no other."""
    told = {name: cells[0] for name, cells in table(LOGGING, "Names").items()}
    logged = {event: level for _, level, event in log_calls()}

    assert set(told) == set(logged)
    assert {name: level for name, level in told.items() if logged[name] not in (level, "log")} == {}


def test_a_name_is_of_one_level() -> None:
    """So that filters by level and by name agree."""
    levels: dict[str, set[str]] = {}
    for _, level, event in log_calls():
        levels.setdefault(event, set()).add(level)

    assert {event: each for event, each in levels.items() if len(each) > 1} == {}


def test_there_is_one_logger() -> None:
    """And one below it, for requests of the service."""
    names = set()
    for path in (ROOT / "asgi_apikey").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r"^_log(?:ger)? = logging\.getLogger\(\"([\w.]+)\"\)", text, re.MULTILINE))

    assert names == {"asgi_apikey", "asgi_apikey.access"}


def exposed() -> dict[str, str]:
    """The names of all metrics as Prometheus has them, with their labels."""
    return {f"{PREFIX}{each.name}{'_total' if each.counts else ''}": each.label for each in SERIES}


def test_every_metric_has_a_row() -> None:
    """With its label."""
    told = {name: "".join(code_words(cells[0])) for name, cells in table(METRICS, "Series").items()}

    assert told == exposed()


def test_every_event_has_a_row() -> None:
    """On the page of hooks."""
    told = {name for row in rows(EVENTS.read_text(encoding="utf-8").partition("## ")[0]) for name in code_words(row[0])}

    assert told == set(EventName)


def test_every_field_of_an_event_has_a_row() -> None:
    """And none that is not there."""
    assert set(table(EVENTS, "What an event holds")) == {each.name for each in dataclasses.fields(Event)}


ALERT_RULES: Final = [
    rule for group in YAML(typ="safe").load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]

# What the rules use of PromQL; anything else is taken for a misspelt metric.
_FUNCTIONS: Final = {"sum", "by", "max", "rate", "increase", "scalar", "and", "instance", "process"}


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_that_there_are(rule: dict[str, object]) -> None:
    """Names, labels, and windows; brackets close."""
    expr = str(rule["expr"])
    bare = re.sub(r'"[^"]*"', '""', expr)
    metrics = set(re.findall(rf"{PREFIX}\w+", bare))
    labels = set(re.findall(r"(\w+)=~?\"\"", bare))
    words = set(re.findall(r"[a-z_]{2,}", re.sub(r"\[\d+[smh]\]", "", bare)))

    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert metrics
    assert metrics <= set(exposed())
    assert labels <= {exposed()[each] for each in metrics}
    assert words - metrics - labels - _FUNCTIONS == set()
    assert all(expr.count(opening) == expr.count(closing) for opening, closing in ("()", "[]", "{}"))
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})


def test_rates_are_of_counters() -> None:
    """A rate of what goes up and down says nothing."""
    for rule in ALERT_RULES:
        for name in re.findall(rf"(?:rate|increase)\(({PREFIX}\w+)", str(rule["expr"])):
            assert name.endswith("_total")


def test_an_alert_names_outcomes_that_there_are() -> None:
    """Else it could never fire."""
    known = {"store_unavailable", "overloaded", "rate_limited", "wrong_secret", "revoked", "unconfirmed", "dropped"}
    known |= {"failed", "dead", "lost"}
    for rule in ALERT_RULES:
        values = {each for text in re.findall(r'=~?"([^"]*)"', str(rule["expr"])) for each in text.split("|")}
        assert values <= known


def test_every_alert_is_explained() -> None:
    """With what to look at."""
    assert list(table(METRICS, "Alerts")) == [rule["alert"] for rule in ALERT_RULES]
