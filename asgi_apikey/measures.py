"""The nouns of limits: what may be used, how much of it, and what is left."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias


class Period(enum.StrEnum):
    """A span of the calendar, in UTC: it begins on the hour, at midnight, on the first of the month."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests at once, which come back evenly: one every `per / amount` seconds.

    Attributes:
        amount: Requests.
        per: Seconds in which all of them come back.
    """

    amount: int
    per: int


@dataclass(frozen=True, slots=True)
class Quota:
    """So much in each period, all of which comes back at its end.

    Attributes:
        amount: Requests; of credits, what they cost.
        period: None means that nothing ever comes back.
        credits: Whether a request costs what its route does, and not simply one.
    """

    amount: int
    period: Period | None = None
    credits: bool = False


LimitRule: TypeAlias = Rate | Quota


@dataclass(frozen=True, slots=True)
class Meter:
    """One count, held somewhere under the two names, against one rule.

    Attributes:
        group: Whose it is: a store that is spread over machines keeps what has one group together.
        subject: What is counted: the requests of a key and its successors, or all of an owner's.
        name: Which of the subject's counts.
        rule: How much there may be.
        label: What clients are told it is called; printable ASCII.
    """

    group: str
    subject: str
    name: str
    rule: LimitRule
    label: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be taken from a meter.

    Attributes:
        cost: 0 only asks; less than that gives back, of quotas also more than was ever taken.
    """

    meter: Meter
    cost: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter shows.

    Attributes:
        meter: Which one.
        remaining: How much could still be taken at once.
        resets_in: Seconds until all of it is back; if it was refused, until what was asked for is there; None: never.
        refused: It had not as much as was asked for, and nothing was taken, here and from the others.
    """

    meter: Meter
    remaining: int
    resets_in: float | None
    refused: bool = False
