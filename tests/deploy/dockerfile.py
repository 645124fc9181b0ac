"""A Dockerfile as data: its stages, and what each of their instructions does."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from string import Template


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        name: In capitals.
        flags: What stands before its arguments, `--from=build` as `{"from": "build"}`.
        text: Its arguments, with continued lines joined.
    """

    name: str
    flags: dict[str, str]
    text: str

    def words(self) -> list[str]:
        """Return its arguments: of the JSON form, or as a shell would split them."""
        if self.text.startswith("["):
            words: list[str] = json.loads(self.text)
            return words
        return shlex.split(self.text)

    def assignments(self) -> dict[str, str]:
        """Return what `ENV` and `LABEL` set."""
        return dict(word.split("=", 1) for word in self.words())


@dataclass(frozen=True, slots=True)
class Stage:
    """From one `FROM` to the next."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Return its instructions of one kind, top to bottom."""
        return [each for each in self.instructions if each.name == name]

    def last(self, name: str) -> Instruction:
        """Return the one that counts, of a kind that may stand there once."""
        return self.all(name)[-1]

    @property
    def user(self) -> int:
        """The number of the account that it runs as."""
        return int(self.last("USER").text.partition(":")[0])

    def environment(self) -> dict[str, str]:
        """Return what all its `ENV` instructions set."""
        return {name: value for each in self.all("ENV") for name, value in each.assignments().items()}

    def health_check(self) -> list[str]:
        """Return the command of its `HEALTHCHECK`."""
        return Instruction("CMD", {}, self.last("HEALTHCHECK").text.removeprefix("CMD ")).words()


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile. Parser directives and here-documents are not known here."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"[ \t]*\\\n[ \t]*", " ", "\n".join(lines))
    return [_instruction(line) for line in joined.splitlines() if line.strip()]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.strip().partition(" ")
    flags = {}
    while match := re.match(r"--([\w-]+)=(\S+)\s+", rest):
        flags[match[1]] = match[2]
        rest = rest[match.end() :]
    return Instruction(name.upper(), flags, rest.strip())


def stages(text: str) -> list[Stage]:
    """Return the stages, with the arguments above the first one put in."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for each in instructions(text):
        if each.name == "FROM":
            base, _, name = Template(each.text).substitute(arguments).partition(" AS ")
            found.append(Stage(name, base))
        elif found:
            found[-1].instructions.append(each)
        else:
            assert each.name == "ARG"
            arguments |= each.assignments()
    return found
