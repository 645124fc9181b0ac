"""Breadth-first search through every state that a world can reach."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.model.protocol import VIOLATION, State, World


@dataclass(frozen=True, slots=True)
class Explored:
    """What was found.

    Attributes:
        states: How many different states were looked at.
        trace: The shortest way to a violation, by the names of its steps; None: there is none.
    """

    states: int
    trace: tuple[str, ...] | None


def explore(world: World, *, most: int = 2_000_000) -> Explored:
    """Look at every state, until one step is a violation.

    Raises:
        AssertionError: There are more than `most` states, so that nothing is known.
    """
    came_from: dict[State, tuple[State, str] | None] = {world.start: None}
    ahead = deque([world.start])
    while ahead:
        state = ahead.popleft()
        for name, reached in world.steps(state):
            if name == VIOLATION:
                return Explored(len(came_from), (*_way_to(state, came_from), name))
            reached = reached.tidied()
            if reached not in came_from:
                came_from[reached] = (state, name)
                ahead.append(reached)
        assert len(came_from) <= most, "the world is too large to be explored"
    return Explored(len(came_from), None)


def _way_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> tuple[str, ...]:
    names = []
    step = came_from[state]
    while step is not None:
        state, name = step
        names.append(name)
        step = came_from[state]
    return tuple(reversed(names))
