from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.api.rule import Rule
from deepseek_operator.api.validation import RULES, problems
from tests.rule_cases import CASES, Case


def found(spec: dict[str, Any], name: str = "sample") -> list[tuple[str, str]]:
    return [
        (problem.reason, problem.field)
        for problem in problems(name=name, spec=Spec.model_validate({"model": "m", **spec}))
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_each_rule_refuses_its_bad_object_and_blames_the_field(case: Case) -> None:
    assert found(case.bad, case.bad_name) == [(case.reason, case.field)]
    assert found(case.good, case.good_name) == []


def test_every_rule_has_a_case() -> None:
    assert {rule.reason for rule in RULES} == {case.reason for case in CASES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.reason)
def test_a_rule_tells_the_reason_and_the_remedy(rule: Rule) -> None:
    problem, _, remedy = rule.message.partition("; ")
    assert problem
    assert remedy, "the remedy follows a semicolon"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"engine": {"env": [{"name": "A"}, {"name": "A"}]}}, "spec.engine.env[1].name"),
        ({"engine": {"imagePullSecrets": ["a", "a"]}}, "spec.engine.imagePullSecrets[1]"),
        (
            {"podTemplate": {"volumes": [{"name": "a", "secret": "s"}, {"name": "a", "secret": "t"}]}},
            "spec.podTemplate.volumes[1].name",
        ),
    ],
)
def test_an_entry_that_stands_twice_is_refused(spec: dict[str, Any], field: str) -> None:
    assert found(spec) == [("Duplicate", field)]
