"""spec.scheduling.topologyKey: each group in one domain, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.catalog.load import load
from deepseek_operator.engines.select import launch
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner
from tests.unit.plan import nodes
from tests.unit.plan.cases import plan_of, refusal_of, spec_of

if TYPE_CHECKING:
    from tests.unit.plan.nodes import Manifest

ZONE = "topology.kubernetes.io/zone"
OWNER = Owner(name="x", namespace="default", uid="00000000-0000-0000-0000-000000000000")


def zoned(**zones: str) -> list[Manifest]:
    """H100 nodes by name; an empty zone is no label."""
    cluster = []
    for name, zone in zones.items():
        manifest = nodes.h100(name)
        if zone:
            manifest["metadata"]["labels"][ZONE] = zone
        cluster.append(manifest)
    return cluster


def key(value: str = ZONE) -> dict[str, Any]:
    return {"scheduling": {"topologyKey": value}}


def test_without_a_key_a_group_may_span_zones() -> None:
    assert plan_of(zoned(a="1", b="2")).nodes_per_group == 2


def test_with_a_key_it_may_not() -> None:
    problem = refusal_of(zoned(a="1", b="2"), **key()).problems[0]
    assert problem.reason == "NodesMissing"
    assert f"1 usable exists with one {ZONE}" in problem.message


def test_it_is_planned_where_one_domain_is_large_enough() -> None:
    hardware = plan_of(zoned(a="1", b="2", c="2", d=""), **key()).hardware
    assert hardware.domains == {"1": ("a",), "2": ("b", "c")}
    assert hardware.nodes == ("a", "b", "c")


def test_a_label_that_no_node_carries_is_refused_by_its_field() -> None:
    refusal = refusal_of(zoned(a="1", b="1"), **key("nvidia.com/gpu.clique"))
    problem = refusal.problems[0]
    assert (problem.field, problem.reason) == ("spec.scheduling.topologyKey", "TopologyLabelMissing")
    assert "nvidia.com/gpu.clique" in problem.message
    assert refusal.waits_for_cluster
    # The remedy that the message names works.
    assert plan_of(zoned(a="1", b="1"), **key()).nodes_per_group == 2


def stateful_sets(cluster: list[Manifest], **fields: Any) -> list[dict[str, Any]]:
    spec, plan = spec_of(fields), plan_of(cluster, **fields)
    started = launch(plan, spec, load(), name="x", namespace="default", cluster_domain="cluster.local")
    objects = all_objects(OWNER, spec, plan, started, config=OperatorConfig())
    return [each for each in objects if each["kind"] == "StatefulSet"]


def test_each_groups_pods_are_drawn_to_their_own_group() -> None:
    sets = stateful_sets(zoned(a="1", b="1", c="2", d="2"), replicas=2, **key())
    terms = [
        each["spec"]["template"]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        for each in sets
    ]
    assert [term["topologyKey"] for (term,) in terms] == [ZONE, ZONE]
    selectors = [each["spec"]["selector"] for each in sets]
    assert [term["labelSelector"] for (term,) in terms] == selectors
    assert selectors[0] != selectors[1]


def expressions(stateful_set: dict[str, Any]) -> list[dict[str, Any]]:
    affinity = stateful_set["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found: list[dict[str, Any]] = term["matchExpressions"]
    return found


def test_the_first_rank_is_kept_out_of_domains_that_are_too_small() -> None:
    (found,) = stateful_sets(zoned(a="1", b="2", c="2"), **key())
    assert {"key": ZONE, "operator": "NotIn", "values": ["1"]} in expressions(found)


def test_no_domain_is_demanded_because_an_autoscalers_next_one_has_no_name_yet() -> None:
    (found,) = stateful_sets(zoned(a="1", b="1", c="2", d="2"), **key())
    assert not [each for each in expressions(found) if each["key"] == ZONE]


def test_without_a_key_there_is_no_pod_affinity() -> None:
    (found,) = stateful_sets(zoned(a="1", b="1"))
    assert "podAffinity" not in found["spec"]["template"]["spec"]["affinity"]


def test_domains_of_nodes_that_only_the_user_names_count_too() -> None:
    bare = [
        nodes.node(name, labels={"pool": "h200", ZONE: zone}, allocatable={"nvidia.com/gpu": "8", "rdma/hca": "1"})
        for name, zone in (("a", "1"), ("b", "2"))
    ]
    wish = {"hardware": {"product": "H200", "nodeSelector": {"pool": "h200"}}, **key()}
    assert plan_of(bare, **wish).hardware.domains == {"1": ("a",), "2": ("b",)}
