"""Suggestions applied: a spec with some of its fields set or left out."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from deepseek_operator.api.problems import Suggestion, Value
from deepseek_operator.api.resource import Spec
from deepseek_operator.api.validation import problems as rule_problems
from deepseek_operator.plan.memo import Memo, Same

_STEP: Final = re.compile(r"([A-Za-z]+)|\[(\d+)\]")
_DUMPS: Final = Memo[dict[str, Any]](64)
_ANY_NAME: Final = "any"


def apply(spec: Spec, suggestion: Suggestion) -> Spec | None:
    """The spec with the changes made; None where a field would be wrong in itself (see ``allowed``).

    Paths are as in messages: ``spec.parallelism.tensor``, ``spec.podTemplate.volumes[0].hostPath``.
    """
    data = copy.deepcopy(_data(spec))
    for path, value in suggestion.changes:
        _change(data, list(_steps(path)), value)
    try:
        return Spec.model_validate(data)
    except ValidationError:
        return None


def allowed(spec: Spec) -> bool:
    """Whether the API server takes it: the rules between fields hold."""
    return not rule_problems(name=_ANY_NAME, spec=spec)


def written(spec: Spec, path: str) -> bool:
    """Whether a field differs from its default, so that leaving it out changes something."""
    data: Any = _data(spec)
    for step in _steps(path):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _data(spec: Spec) -> dict[str, Any]:
    return _DUMPS.of(Same(spec), lambda: spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))


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
