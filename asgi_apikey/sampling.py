"""Telling of what happens again and again: the first time at once, then now and then, with how often it was."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from asgi_apikey.models import Seconds

_SUBJECTS: Final = 10_000
"""What is remembered; beyond, the longest silent subject is forgotten, and told of at once when it comes again."""


@dataclass(slots=True)
class _Sample:
    due: Seconds
    passed_over: int = 0


class Sampler:
    """Says of each subject once in a while that it is time to tell of it.

    Args:
        subjects: Remembered at one time.
    """

    def __init__(self, *, subjects: int = _SUBJECTS) -> None:
        self._samples: LRUCache[Hashable, _Sample] = LRUCache(subjects)

    def due(self, subject: Hashable, now: Seconds, *, every: Seconds) -> int:
        """Return how often it has happened since it was told of last, this time included; 0: not now.

        Args:
            subject: What happens.
            now: On the monotonic clock.
            every: Seconds between two times of telling.
        """
        sample = self._samples.get(subject)
        if sample is not None and now < sample.due:
            sample.passed_over += 1
            return 0
        self._samples[subject] = _Sample(now + every)
        return 1 if sample is None else 1 + sample.passed_over
