"""One rule of the API, in CEL and in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

CELReason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it sits on the schema node ``path`` (``[]``: each item) and blames ``field`` below it.

    ``reason`` is the CamelCase reason of the Problem, ``cel_reason`` the API server's own, coarser one.
    ``holds`` takes the value at ``path``: a model, or the object's name for rules on the root.
    """

    path: str
    field: str
    cel: str
    holds: Callable[[Any], bool]
    reason: str
    message: str
    cel_reason: CELReason = "FieldValueInvalid"

    def entry(self) -> dict[str, str]:
        """The rule as an item of ``x-kubernetes-validations``."""
        return {
            "rule": self.cel,
            "message": self.message,
            "reason": self.cel_reason,
            **({"fieldPath": f".{self.field}"} if self.field else {}),
        }
