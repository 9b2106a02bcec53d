"""What is wrong with an input, in the three parts a person needs: the field, a stable reason, a remedy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that keeps a deployment from being planned.

    ``field`` is the path a user typed (``spec.parallelism.tensor``), ``reason`` a CamelCase word that
    scripts may match, ``message`` says what is wrong and what would work instead.
    """

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message} ({self.reason})"


class InvalidInputError(Exception):
    """An input that can never work as it stands; retrying is useless until somebody changes it.

    Command line: exit code 2. Operator: ``Accepted=False`` and ``Stalled=True`` until the spec changes.
    """

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))
