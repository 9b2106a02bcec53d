"""A plan as JSON-safe data and back, for the ControllerRevision that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from deepseek_operator.plan.types import Plan


def dump(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts, lists, strings, numbers, booleans and None."""
    data: dict[str, Any] = _adapter().dump_python(plan, mode="json")
    return data


def restore(data: Mapping[str, Any]) -> Plan:
    """The plan that ``dump`` wrote.

    Raises:
        pydantic.ValidationError: the data is not such a plan (a ValueError).
    """
    return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)
