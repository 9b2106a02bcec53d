"""Suggestions applied: a spec with some of its fields set or left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from deepseek_operator.api.problems import Suggestion, Value
from deepseek_operator.api.resource import Spec
from deepseek_operator.api.validation import problems as rule_problems

_STEP: Final = re.compile(r"([A-Za-z]+)|\[(\d+)\]")
_ANY_NAME: Final = "any"


def apply(spec: Spec, suggestion: Suggestion) -> Spec | None:
    """The spec with the changes made; None where the API server would refuse it.

    Paths are as in messages: ``spec.parallelism.tensor``, ``spec.podTemplate.volumes[0].hostPath``.
    """
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for path, value in suggestion.changes:
        _change(data, list(_steps(path)), value)
    try:
        changed = Spec.model_validate(data)
    except ValidationError:
        return None
    return None if rule_problems(name=_ANY_NAME, spec=changed) else changed


def written(spec: Spec, path: str) -> bool:
    """Whether a field differs from its default, so that leaving it out changes something."""
    data: Any = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for step in _steps(path):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _steps(path: str) -> Iterator[str | int]:
    for name, index in _STEP.findall(path.removeprefix("spec.")):
        yield name or int(index)


def _change(data: Any, steps: list[str | int], value: Value) -> None:
    *way, last = steps
    for step in way:
        data = data.setdefault(step, {}) if isinstance(data, dict) else data[step]
    if value is not None:
        data[last] = value
    elif isinstance(last, int):
        del data[last]
    else:
        data.pop(last, None)
