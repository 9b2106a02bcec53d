"""Every suggestion works when it is taken: the changes are applied as a user would, on the same cluster."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.validation import problems as rule_problems
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.planning import plan_spec
from deepseek_operator.plan.changes import apply
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.placement import make_plan
from deepseek_operator.plan.types import Facts, Inventory, Plan, Refusal
from deepseek_operator.plan.whatif import Assumption, assume
from tests.unit.plan import nodes
from tests.unit.plan.cases import BF16_SOURCE, FACTS, outcome_of, refusal_of, spec_of
from tests.unit.plan.test_properties import clusters
from tests.unit.plan.test_refusals import CASES, Case

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec
    from tests.unit.plan.nodes import Manifest

SIZES = st.sampled_from([1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 64])
wishes = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["deepseek-r1", "deepseek-v3.2x", "DeepSeek-R1-0529"]),
        "parallelism": st.fixed_dictionaries(
            {},
            optional={
                "nodes": st.sampled_from([1, 2, 3, 4, 9]),
                "tensor": SIZES,
                "pipeline": st.sampled_from([1, 2, 3, 4, 16]),
                "expert": st.sampled_from([1, 2, 3, 8, 16]),
                "attentionData": st.sampled_from([1, 2, 3, 8]),
            },
        ),
        "precision": st.sampled_from(["auto", "fp8", "bf16"]),
        "weights": st.sampled_from([BF16_SOURCE, {"source": "hf://deepseek-ai/DeepSeek-R1"}, {"cache": "node"}]),
        "context": st.fixed_dictionaries(
            {},
            optional={
                "maxLength": st.sampled_from([4096, 65_536, 150_000, 163_840, 500_000]),
                "kvCachePrecision": st.sampled_from(["auto", "bf16", "fp8"]),
            },
        ),
        "engine": st.sampled_from(
            [{"features": {"mtp": True}}, {"version": "0.4.1"}, {"version": "0.5.18", "features": {"mtp": True}}]
        ),
        "hardware": st.fixed_dictionaries(
            {},
            optional={
                "acceleratorsPerNode": st.sampled_from([2, 4, 8, 16]),
                "vendor": st.sampled_from(["nvidia", "amd", "ascend"]),
                "product": st.sampled_from(["H100", "H200", "A100", "910B", "MI300"]),
                "nodeSelector": st.just({"pool": "none"}),
            },
        ),
        "fabric": st.sampled_from([{"mode": "host"}, {"rdma": {"resource": "rdma/other"}}, {"rdma": {"count": 64}}]),
    },
)

CLUSTER_REASONS = {"NodesMissing", "LabelsMissing"}
"""What only more nodes or labels cure when no smaller wish does."""
HARDWARE_REASONS = {"SparseAttentionMissing"}
"""What only other hardware cures where no other model fits the nodes."""


def replan(spec: Spec, cluster: list[Manifest], facts: Facts = FACTS) -> Plan | Refusal:
    inventory = take_inventory(map(read_node, cluster), load(), tolerations=spec.scheduling.tolerations)
    return make_plan(spec, inventory, load(), facts, namespace="default", name="deepseek")


def taken(spec: Spec, suggestion: Suggestion) -> Spec:
    changed = apply(spec, suggestion)
    assert changed is not None, suggestion
    return changed


def works(spec: Spec, cluster: list[Manifest], facts: Facts) -> bool:
    """The API server takes it, and it is planned."""
    return not rule_problems(name="x", spec=spec) and isinstance(replan(spec, cluster, facts), Plan)


def check(refusal: Refusal, spec: Spec, cluster: list[Manifest], facts: Facts = FACTS) -> None:
    """Each suggestion makes a plan by itself, or, with several problems, all first ones together do."""
    alone = [works(taken(spec, each), cluster, facts) for problem in refusal.problems for each in problem.suggestions]
    if all(alone):
        return
    assert not any(alone)
    together = spec
    for problem in refusal.problems:
        (suggestion,) = problem.suggestions
        left = replan(taken(spec, suggestion), cluster, facts)
        assert isinstance(left, Refusal)
        assert (problem.field, problem.reason) not in {(each.field, each.reason) for each in left.problems}
        together = taken(together, suggestion)
    assert works(together, cluster, facts)


@settings(max_examples=400, deadline=None)
@given(cluster=clusters, wish=wishes)
def test_every_suggestion_works_when_it_is_taken(cluster: list[Manifest], wish: dict[str, Any]) -> None:
    spec = spec_of(wish)
    outcome = outcome_of(cluster, **wish)
    if isinstance(outcome, Refusal):
        check(outcome, spec, cluster)
        for problem in outcome.problems:
            for suggestion in problem.suggestions:
                assert any(str(suggestion) in each.message for each in outcome.problems)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_refusal_of_the_table_suggests_something_that_works(case: Case) -> None:
    refusal = refusal_of(case.cluster, facts=case.facts, **case.fields)
    check(refusal, spec_of(case.fields), case.cluster, case.facts)
    assert refusal.problems[0].suggestions or refusal.problems[0].reason in CLUSTER_REASONS | HARDWARE_REASONS


@settings(max_examples=200, deadline=None)
@given(cluster=clusters.filter(bool), wish=wishes)
def test_a_refusal_without_suggestion_is_cured_by_the_nodes_it_names(
    cluster: list[Manifest], wish: dict[str, Any]
) -> None:
    outcome = outcome_of(cluster, **wish)
    if isinstance(outcome, Plan) or any(problem.suggestions for problem in outcome.problems):
        return
    first = outcome.problems[0]
    count = re.search(r"; add (\d+), or", first.message)
    if count is not None:
        product = re.search(r"nodes of \d+ (\S+), and", first.message)
        assert product is not None
        assert isinstance(replan(spec_of(wish), [*cluster, *more(cluster, product[1], int(count[1]), first)]), Plan)


def more(cluster: list[Manifest], product: str, count: int, problem: Problem) -> list[Manifest]:
    """Nodes like those that the message speaks of."""
    inventory = take_inventory(map(read_node, cluster), load())
    found = []
    for each in inventory.classes:
        if each.product == product:
            (like,) = [node for node in cluster if node["metadata"]["name"] == each.nodes[0]]
            for index in range(count):
                clone = copy.deepcopy(like)
                clone["metadata"]["name"] = clone["metadata"]["labels"]["kubernetes.io/hostname"] = (
                    f"more-{each.nodes[0]}-{index}"
                )
                found.append(clone)
    assert found, problem
    return found


def test_several_problems_get_a_change_each_and_all_of_them_work_together() -> None:
    fields: dict[str, Any] = {"fabric": {"mode": "host"}, "context": {"maxLength": 200_000}}
    cluster = [nodes.h200("a")]
    refusal = refusal_of(cluster, **fields)
    assert [each.reason for each in refusal.problems] == ["ContextBeyondModel", "HostNetworkNotAllowed"]
    assert [str(each) for problem in refusal.problems for each in problem.suggestions] == [
        "set spec.context.maxLength to 163840",
        "set spec.fabric.mode to pod",
    ]
    check(refusal, spec_of(fields), cluster)


def test_a_tight_plan_is_refused_with_the_figures_and_accepted_when_asked_for() -> None:
    cluster = [nodes.b200("a")]
    wish: dict[str, Any] = {"precision": "bf16", "weights": BF16_SOURCE, "parallelism": {"nodes": 1}}
    refusal = refusal_of(cluster, **wish)
    assert refusal.problems[0].reason == "WeightsTooLarge"
    assert "set spec.hardware.allowTight to true" in refusal.problems[0].message
    plan = outcome_of(cluster, **wish, hardware={"allowTight": True})
    assert isinstance(plan, Plan)
    assert plan.memory.fits
    assert any(each.startswith("tight, and accepted because spec.hardware.allowTight") for each in plan.warnings)


def test_a_small_cache_is_tight_too() -> None:
    cluster = [nodes.h100(name) for name in "abcd"]
    wish: dict[str, Any] = {
        "precision": "bf16",
        "weights": BF16_SOURCE,
        "parallelism": {"nodes": 4, "attentionData": 32},
        "engine": {"features": {"mtp": True}},
    }
    assert refusal_of(cluster, **wish).problems[0].reason == "CacheTooSmall"
    plan = outcome_of(cluster, **wish, hardware={"allowTight": True})
    assert isinstance(plan, Plan)
    assert 4096 <= plan.memory.kv_tokens < 32_768
    assert plan.memory.fits


def test_a_suggestion_keeps_the_rules_between_fields() -> None:
    # A token is only for the hub, so weights in a claim are no way out while it is set.
    fields: dict[str, Any] = {"weights": {"tokenSecret": {"name": "hub"}}}
    nowhere = Facts(default_storage_class=False)
    refusal = refusal_of([nodes.h200("a")], facts=nowhere, **fields)
    assert refusal.problems[0].reason == "NoVolume"
    assert refusal.problems[0].suggestions == ()
    assert refusal_of([nodes.h200("a")], facts=nowhere).problems[0].suggestions


def test_a_comfortable_class_comes_before_a_tight_one_with_fewer_nodes() -> None:
    cluster = [nodes.b200("a"), nodes.h200("b"), nodes.h200("c")]
    plan = outcome_of(cluster, precision="bf16", weights=BF16_SOURCE, hardware={"allowTight": True})
    assert isinstance(plan, Plan)
    assert plan.hardware.product == "NVIDIA-H200"
    assert plan.considered[1].reason.endswith("; the choice is not tight")


def test_tight_is_only_taken_for_want_of_something_better() -> None:
    cluster = [nodes.b200("a"), nodes.b200("b")]
    plan = outcome_of(cluster, precision="bf16", weights=BF16_SOURCE, hardware={"allowTight": True})
    assert isinstance(plan, Plan)
    assert plan.nodes_per_group == 2
    assert not any("tight" in each for each in plan.warnings)


def test_a_context_that_was_asked_for_is_never_cut_not_even_when_tight() -> None:
    refusal = refusal_of(
        [nodes.mi300x("a")],
        precision="bf16",
        weights=BF16_SOURCE,
        context={"maxLength": 65_536},
        parallelism={"nodes": 1},
        hardware={"allowTight": True},
    )
    assert refusal.problems[0].reason == "ContextTooLong"


def test_busy_too_small_and_unlabelled_are_three_answers() -> None:
    busy = outcome_of([nodes.h200("a")], facts=Facts(default_storage_class=True, used={"a": 8}))
    assert isinstance(busy, Plan)
    assert any(
        each.startswith("NodesBusy: it fits, but a group takes 1 node with 8 free NVIDIA-H200, and 0 of 1 have them")
        for each in busy.warnings
    )
    small = refusal_of([nodes.nvidia("a", "NVIDIA-L40S", memory=46068, major=8)], parallelism={"nodes": 1})
    assert small.problems[0].reason == "WeightsTooLarge"
    bare = nodes.node("bare", labels={}, allocatable={"nvidia.com/gpu": "8"})
    assert refusal_of([bare]).problems[0].reason == "LabelsMissing"
    assert refusal_of([nodes.h100("a"), bare]).problems[0].reason == "LabelsMissing"
    assert refusal_of([nodes.h100("a")]).problems[0].reason == "NodesMissing"


def test_the_runner_up_says_why_it_lost() -> None:
    plan = outcome_of([nodes.h100(name) for name in "abcd"], precision="fp8")
    assert isinstance(plan, Plan)
    first, second = plan.considered[:2]
    assert (first.verdict, second.verdict) == ("chosen", "feasible")
    assert second.reason.endswith("; the choice has fewer pipeline stages")
    mixed = outcome_of([*(nodes.h100(name) for name in "ab"), nodes.h200("c")], precision="fp8")
    assert isinstance(mixed, Plan)
    assert mixed.considered[1].reason.endswith("; the choice takes 1 node")


def test_a_class_that_can_start_more_groups_says_so() -> None:
    cluster = [nodes.h200("x"), *(nodes.b200(name) for name in "abc")]
    plan = outcome_of(cluster, replicas=2)
    assert isinstance(plan, Plan)
    assert plan.considered[1].reason.endswith("; the choice can start 2 groups now, this one 1")


def test_quantised_weights_of_another_publisher_are_suggested_where_the_devices_have_nothing_better() -> None:
    cluster = [nodes.a100("a"), nodes.a100("b")]
    refusal = refusal_of(cluster, model="deepseek-ai/DeepSeek-R1")
    assert refusal.problems[0].reason == "NodesMissing"
    assert "set spec.weights.allowVariant to true" in [str(each) for each in refusal.problems[0].suggestions]
    check(refusal, spec_of({"model": "deepseek-ai/DeepSeek-R1"}), cluster)


def test_a_topology_that_keeps_nodes_apart_is_suggested_away() -> None:
    cluster = [nodes.h100("a"), nodes.h100("b")]
    for index, node in enumerate(cluster):
        node["metadata"]["labels"]["zone"] = str(index)
    refusal = refusal_of(cluster, scheduling={"topologyKey": "zone"})
    assert [str(each) for each in refusal.problems[0].suggestions] == ["leave spec.scheduling.topologyKey out"]


@pytest.mark.parametrize(
    ("wish", "placed", "split"),
    [
        ({"expert": 16}, 2, (16, 1, 1, 16)),
        ({"attentionData": 8}, 2, (16, 1, 8, 1)),
        ({"attentionData": 16}, 2, (16, 1, 16, 1)),
        ({"pipeline": 4}, 2, (4, 4, 1, 1)),
        ({"tensor": 4}, 2, (4, 4, 1, 1)),
        ({"nodes": 2, "expert": 8}, 2, (16, 1, 1, 8)),
        ({"pipeline": 2, "attentionData": 4, "expert": 8}, 2, (8, 2, 4, 8)),
    ],
)
def test_each_partial_choice_is_completed(wish: dict[str, int], placed: int, split: tuple[int, int, int, int]) -> None:
    plan = outcome_of([nodes.h100(name) for name in "abcd"], precision="fp8", parallelism=wish)
    assert isinstance(plan, Plan), plan
    found = plan.parallelism
    assert plan.nodes_per_group == placed
    assert (found.tensor, found.pipeline, found.attention_data, found.expert) == split


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"args": ["--enable-metricz"]}, "leave spec.engine.args[0] out"),
        ({"args": ["--log-level=debug", "--port", "1"]}, "leave spec.engine.args out"),
        ({"env": [{"name": "MASTER_ADDR", "value": "x"}]}, "leave spec.engine.env[0] out"),
        ({"args": ["--port=1", "--host=x"]}, "leave spec.engine.args out"),
    ],
)
def test_what_the_engine_refuses_is_suggested_away(engine: dict[str, Any], says: str) -> None:
    spec, inventory = spec_of({"engine": engine}), take_inventory([read_node(nodes.h200("a"))], load())
    refusal = plan_spec(spec, inventory, load(), FACTS, namespace="default", name="x")
    assert isinstance(refusal, Refusal)
    assert says in [str(each) for each in refusal.problems[0].suggestions]
    for suggestion in refusal.problems[0].suggestions:
        changed = taken(spec, suggestion)
        assert isinstance(plan_spec(changed, inventory, load(), FACTS, namespace="default", name="x"), Plan)


def test_a_suggestion_for_the_split_does_not_end_in_what_the_engine_refuses() -> None:
    fields = {"engine": {"args": ["--port=1"]}, "parallelism": {"tensor": 24}}
    spec, inventory = spec_of(fields), take_inventory([read_node(nodes.h200("a"))], load())
    refusal = plan_spec(spec, inventory, load(), FACTS, namespace="default", name="x")
    assert isinstance(refusal, Refusal)
    (whole,) = refusal.problems[0].suggestions
    assert {path for path, _ in whole.changes} == {"spec.parallelism.tensor", "spec.engine.args[0]"}
    assert isinstance(plan_spec(taken(spec, whole), inventory, load(), FACTS, namespace="default", name="x"), Plan)


@pytest.mark.parametrize(
    "fields", [{}, {"precision": "fp8"}, {"precision": "bf16", "weights": BF16_SOURCE}, {"hardware": {"vendor": "amd"}}]
)
def test_an_empty_cluster_is_told_which_nodes_would_do_and_they_do(fields: dict[str, Any]) -> None:
    message = refusal_of([], **fields).problems[0].message
    found = re.findall(r"(\d+) nodes? of (\d+) ([^\s,]+)", message.partition("Would do: ")[2])
    assert found
    for count, devices, product in found:
        assumption = Assumption(nodes=int(count), devices=int(devices), product=product)
        assumed = assume(assumption, spec_of(fields), Inventory(classes=(), skipped=()), load())
        plan = make_plan(assumed.spec, assumed.inventory, load(), FACTS, namespace="default", name="x")
        assert isinstance(plan, Plan)
        assert plan.nodes_per_group == int(count)
