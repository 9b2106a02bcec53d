"""What is wrong with an input, in the three parts a person needs: the field, a stable reason, a remedy."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Changes to a spec under which it was planned, not only believed to be."""

    changes: tuple[tuple[str, Value], ...]
    """Paths as a user types them (``spec.parallelism.tensor``) with the value to set; None: leave the field out."""

    def __str__(self) -> str:
        words = [
            f"leave {path} out" if value is None else f"set {path} to {_yaml(value)}" for path, value in self.changes
        ]
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that keeps a deployment from being planned.

    ``field`` is the path a user typed (``spec.parallelism.tensor``), ``reason`` a CamelCase word that
    scripts may match, ``message`` says what is wrong and what would work instead.
    """

    field: str
    reason: str
    message: str
    suggestions: tuple[Suggestion, ...] = ()
    """What would work, for programs; the message says the same in words."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message} ({self.reason})"


class InvalidInputError(Exception):
    """An input that can never work as it stands; retrying is useless until somebody changes it.

    Command line: exit code 2. Operator: ``Accepted=False`` and ``Stalled=True`` until the spec changes.
    """

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


def _yaml(value: Value) -> str:
    """A value as it would be written into the file."""
    return str(value).lower() if isinstance(value, bool) else str(value)
