"""A model whose config.json stands in a ConfigMap: read for planning, and never again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.records import ConfigRecord
from deepseek_operator.render.revision import RevisionContent
from e2e.sglang_parser import DEEPSEEK_V3
from tests.unit.lifecycle.test_resolve import H100S, H200S, content_of, resolved

SPEC: dict[str, Any] = {
    "model": "me/own-v3",
    "modelConfig": {"name": "own"},
    "precision": "fp8",
    "weights": {"source": "pvc://weights/own"},
}
CONFIG = ConfigRecord(text=json.dumps(DEEPSEEK_V3))
SMALL = ConfigRecord(text=json.dumps({**DEEPSEEK_V3, "num_hidden_layers": 31}))


def planned(config: ConfigRecord | None, *stored: RevisionContent, nodes: Any = H100S, **more: Any) -> Outcome:
    return resolved(nodes, spec=SPEC, stored=stored, config=config, **more)


def test_before_the_config_map_was_read_there_is_no_plan_and_it_is_asked_for() -> None:
    outcome = planned(None)
    assert outcome.wants_config
    assert outcome.content is None


def test_the_dimensions_in_the_config_map_are_planned_with() -> None:
    outcome = planned(CONFIG)
    assert not outcome.wants_config
    assert outcome.plan is not None, outcome.problems
    assert (outcome.plan.nodes_per_group, outcome.plan.model) == (2, "me/own-v3")
    assert outcome.plan.weights.source == "pvc://weights/own"
    smaller = planned(SMALL).plan
    assert smaller is not None
    assert smaller.nodes_per_group == 1


def test_a_changed_config_map_moves_no_group_that_has_its_plan() -> None:
    content = content_of(planned(CONFIG))
    for config in (None, SMALL, ConfigRecord(text=None)):
        outcome = planned(config, content)
        assert outcome.stored
        assert content_of(outcome) == content
        assert not outcome.wants_config, "a deployment with a plan does not ask for it"


def test_a_plan_whose_nodes_went_is_made_anew_with_what_stands_there_now() -> None:
    content = content_of(planned(CONFIG))
    assert planned(None, content, nodes=H200S).wants_config
    assert content_of(planned(CONFIG, content, nodes=H200S)).plan["hardware"]["product"] == "NVIDIA-H200"
    served = planned(None, content, nodes=H200S, served=[content])
    assert content_of(served) == content


def test_a_plan_stays_when_its_config_map_is_gone_and_its_nodes_too() -> None:
    content = content_of(planned(CONFIG))
    assert content_of(planned(ConfigRecord(text=None), content, nodes=[])) == content


def test_a_config_map_that_is_missing_is_waited_for_with_the_command_that_makes_it() -> None:
    outcome = planned(ConfigRecord(text=None))
    (problem,) = outcome.problems
    assert (problem.field, problem.reason) == ("spec.modelConfig", "ModelConfigMissing")
    assert "kubectl create configmap own --from-file=config.json=config.json" in problem.message
    assert outcome.refusal is not None
    assert outcome.refusal.waits_for_cluster


def test_a_config_map_that_may_not_be_read_names_the_right_that_is_needed() -> None:
    (problem,) = planned(ConfigRecord(text=None, denied=True)).problems
    assert problem.reason == "ModelConfigDenied"
    assert "verb get on configmaps" in problem.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds no object"),
        (json.dumps({**DEEPSEEK_V3, "architectures": ["LlamaForCausalLM"]}), "architectures"),
        (json.dumps({**DEEPSEEK_V3, "hidden_size": "7168"}), "hidden_size"),
        (json.dumps({**DEEPSEEK_V3, "num_attention_heads": 0}), "num_attention_heads"),
    ],
)
def test_a_config_that_cannot_be_planned_names_the_config_map_and_what_is_wrong(text: str, told: str) -> None:
    outcome = planned(ConfigRecord(text=text))
    (problem,) = outcome.problems
    assert problem.field == "spec.modelConfig"
    assert problem.message.startswith("ConfigMap own, key config.json: ")
    assert told in problem.message
    assert outcome.refusal is not None
    assert not outcome.refusal.waits_for_cluster


def test_another_config_map_is_another_revision() -> None:
    other = resolved(H100S, spec={**SPEC, "modelConfig": {"name": "other"}}, config=CONFIG)
    assert content_of(other).hash != content_of(planned(CONFIG)).hash
