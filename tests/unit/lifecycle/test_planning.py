"""Arguments that nobody can check become warnings of the plan, which status and ``plan`` show."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.planning import plan_spec
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import Plan, Refusal
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, spec_of


def planned(engine: dict[str, Any]) -> Plan | Refusal:
    inventory = take_inventory([read_node(nodes.h200("a"))], load())
    return plan_spec(spec_of({"engine": engine}), inventory, load(), FACTS, namespace="default", name="x")


def test_an_unknown_argument_of_an_image_of_the_users_own_is_a_warning_of_the_plan() -> None:
    outcome = planned({"image": "registry.example/sglang:mine", "args": ["--mine", "1"]})
    assert isinstance(outcome, Plan)
    (warned,) = [each for each in outcome.warnings if each.startswith("ArgumentUnchecked")]
    assert "spec.engine.args[0]" in warned
    assert "--mine" in warned


def test_an_unknown_argument_of_a_catalogued_image_is_refused() -> None:
    outcome = planned({"args": ["--mine", "1"]})
    assert isinstance(outcome, Refusal)
    assert outcome.problems[0].reason == "UnknownArgument"


@pytest.mark.parametrize("engine", [{}, {"image": "registry.example/sglang:mine", "args": ["--log-requests"]}])
def test_what_is_known_is_not_warned_of(engine: dict[str, Any]) -> None:
    outcome = planned(engine)
    assert isinstance(outcome, Plan)
    assert not any(each.startswith("ArgumentUnchecked") for each in outcome.warnings)
