from __future__ import annotations

from dataclasses import replace
from typing import Any

from deepseek_operator.plan.types import Plan
from deepseek_operator.render.owner import pod_selector
from deepseek_operator.render.revision import RevisionContent
from deepseek_operator.render.statefulset import stateful_set
from tests.unit.render.samples import H100_PLAN, OWNER, RANK_WEIGHTS, revision

RANK_PLAN = replace(H100_PLAN, weights=RANK_WEIGHTS)


def group(
    plan: Plan = H100_PLAN,
    *,
    index: int = 0,
    incarnation: int = 1,
    replicas: int = 2,
    content: RevisionContent | None = None,
) -> dict[str, Any]:
    return stateful_set(
        owner=OWNER,
        index=index,
        revision=content or revision(plan),
        incarnation=incarnation,
        replicas=replicas,
        cluster_domain="cluster.local",
    )


def labels(manifest: dict[str, Any]) -> dict[str, str]:
    rendered: dict[str, str] = manifest["spec"]["template"]["metadata"]["labels"]
    return rendered


def environment(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    (engine,) = manifest["spec"]["template"]["spec"]["containers"]
    rendered: list[dict[str, Any]] = engine["env"]
    return rendered


def test_pods_of_a_group_start_together_and_are_replaced_only_together() -> None:
    spec = group()["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "OnDelete"}


def test_a_group_is_named_and_served_by_its_index() -> None:
    manifest = group(index=3)
    assert manifest["metadata"]["name"] == manifest["spec"]["serviceName"] == "deepseek-fp8-g3"


def test_the_selector_matches_the_groups_own_pods() -> None:
    manifest = group(index=1)
    assert manifest["spec"]["selector"]["matchLabels"] == pod_selector(OWNER, 1)
    assert pod_selector(OWNER, 1).items() <= labels(manifest).items()


def test_every_start_labels_its_pods() -> None:
    started = labels(group(index=1, incarnation=7))
    assert started["serving.deepseek-operator.io/incarnation"] == "7"
    assert started["serving.deepseek-operator.io/group"] == "1"
    assert started["serving.deepseek-operator.io/revision"] == revision().hash


def test_ranks_are_told_their_leader_by_the_name_of_pod_0() -> None:
    address = "deepseek-fp8-g1-0.deepseek-fp8-g1.serving.svc.cluster.local"
    assert environment(group(index=1))[:2] == [
        {"name": "GROUP", "value": "1"},
        {"name": "LEADER_ADDRESS", "value": address},
    ]


def test_stopping_a_group_changes_one_number() -> None:
    running, stopped = group(), group(replicas=0)
    assert stopped["spec"]["replicas"] == 0
    stopped["spec"]["replicas"] = 2
    assert stopped == running


def test_groups_that_span_nodes_put_one_pod_on_each() -> None:
    affinity = group(index=1)["spec"]["template"]["spec"]["affinity"]
    (term,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == pod_selector(OWNER, 1)
    assert "nodeAffinity" in affinity


def test_groups_of_one_node_may_share_it() -> None:
    single = group(replace(H100_PLAN, nodes_per_group=1))
    assert "podAntiAffinity" not in single["spec"]["template"]["spec"]["affinity"]


def test_claims_of_ranks_go_with_their_group_and_outlive_a_stop() -> None:
    spec = group(RANK_PLAN)["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "deepseek-weights"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Retain"}
    assert "volumeClaimTemplates" not in group()["spec"]


def test_the_immutable_hash_moves_with_claims_and_not_with_starts() -> None:
    def immutable(manifest: dict[str, Any]) -> str:
        found: str = manifest["metadata"]["annotations"]["serving.deepseek-operator.io/immutable-hash"]
        return found

    assert immutable(group()) == immutable(group(incarnation=2, replicas=0))
    assert immutable(group()) != immutable(group(RANK_PLAN))
    larger = replace(RANK_PLAN, weights=replace(RANK_WEIGHTS, size_gib=1300.0))
    assert immutable(group(RANK_PLAN)) != immutable(group(larger))
    assert immutable(group()) == revision().immutable_hash


def test_the_template_hash_names_the_stored_template() -> None:
    annotations = group(incarnation=5)["metadata"]["annotations"]
    assert annotations["serving.deepseek-operator.io/template-hash"] == revision().template_hash


def test_making_a_group_leaves_the_stored_template_alone() -> None:
    content = revision()
    group(content=content)
    assert content == revision()
