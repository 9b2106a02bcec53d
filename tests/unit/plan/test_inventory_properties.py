"""What holds for every cluster, every use of it and every topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.occupancy import startable, widest
from deepseek_operator.plan.types import Facts, Inventory, Plan
from tests.unit.plan.cases import BF16_SOURCE, outcome_of
from tests.unit.plan.clusters import CLUSTERS

if TYPE_CHECKING:
    from tests.unit.plan.nodes import Manifest

POOL = [each for cluster in CLUSTERS.values() if not cluster.slices for each in cluster.nodes]
ZONE = "topology.kubernetes.io/zone"


def named(manifest: Manifest, name: str, zone: str | None, dropped: frozenset[str]) -> Manifest:
    labels = {key: value for key, value in manifest["metadata"]["labels"].items() if key not in dropped}
    if zone is not None:
        labels[ZONE] = zone
    return {**manifest, "metadata": {**manifest["metadata"], "name": name, "labels": labels}}


@st.composite
def fleets(draw: st.DrawFn, *, prefix: str, most: int = 8) -> list[Manifest]:
    """Nodes out of the tables of clusters; mostly several of one kind, some without one of their labels."""
    kinds = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=3))
    cluster = []
    for index, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=most))):
        labels = sorted(kind["metadata"]["labels"])
        dropped = draw(st.sets(st.sampled_from(labels), max_size=1)) if draw(st.booleans()) else set()
        zone = draw(st.sampled_from([None, "1", "2"]))
        cluster.append(named(kind, f"{prefix}{index}", zone, frozenset(dropped)))
    return cluster


wishes = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.sampled_from([1, 2, 5]),
        "weights": st.just(BF16_SOURCE),
        "scheduling": st.fixed_dictionaries({"topologyKey": st.just(ZONE)}),
        "hardware": st.fixed_dictionaries({"vendor": st.sampled_from(["nvidia", "amd", "ascend"])}),
        "parallelism": st.fixed_dictionaries({"nodes": st.sampled_from([1, 2, 4])}),
    },
)


def seen(cluster: list[Manifest]) -> Inventory:
    return take_inventory(map(read_node, cluster), load())


@settings(max_examples=60, deadline=None)
@given(cluster=fleets(prefix="a"), data=st.data())
def test_the_order_of_nodes_and_labels_changes_nothing(cluster: list[Manifest], data: st.DataObject) -> None:
    mixed = []
    for manifest in data.draw(st.permutations(cluster)):
        labels = data.draw(st.permutations(list(manifest["metadata"]["labels"].items())))
        mixed.append({**manifest, "metadata": {**manifest["metadata"], "labels": dict(labels)}})
    assert seen(mixed) == seen(cluster)


@settings(max_examples=60, deadline=None)
@given(cluster=fleets(prefix="a"), more=fleets(prefix="b"))
def test_a_node_is_judged_by_itself_alone(cluster: list[Manifest], more: list[Manifest]) -> None:
    alone = {each.name: each for each in seen(cluster).skipped}
    together = {each.name: each for each in seen(cluster + more).skipped}
    assert {name: each for name, each in together.items() if name.startswith("a")} == alone
    for each in seen(cluster).classes:
        holder = next(other for other in seen(cluster + more).classes if each.nodes[0] in other.nodes)
        assert set(each.nodes) <= set(holder.nodes)


@settings(max_examples=80, deadline=None)
@given(cluster=fleets(prefix="a"), wish=wishes, data=st.data())
def test_a_plan_needs_no_more_than_the_cluster_has(
    cluster: list[Manifest], wish: dict[str, Any], data: st.DataObject
) -> None:
    used = {each["metadata"]["name"]: data.draw(st.sampled_from([0, 1, 8])) for each in cluster}
    outcome = outcome_of(cluster, facts=Facts(default_storage_class=True, used=used), **wish)
    if not isinstance(outcome, Plan):
        return
    hardware, nodes = outcome.hardware, {each["metadata"]["name"]: read_node(each) for each in cluster}
    assert outcome.nodes_per_group <= widest(hardware) <= len(hardware.nodes)
    for name in hardware.nodes:
        offered = nodes[name].allocatable
        assert outcome.accelerators_per_node <= offered[hardware.resource]
        assert outcome.requests.cpu_millicores <= offered["cpu"]
        assert outcome.requests.memory_bytes <= offered["memory"]
        if outcome.fabric.rdma_resource:
            assert outcome.fabric.rdma_count <= offered[outcome.fabric.rdma_resource]
        labels = nodes[name].labels
        assert hardware.node_labels.items() <= labels.items()
        if hardware.topology_key:
            assert name in hardware.domains[labels[hardware.topology_key]]


@settings(max_examples=60, deadline=None)
@given(cluster=fleets(prefix="a"), more=fleets(prefix="b"), wish=wishes)
def test_further_nodes_never_make_a_plan_impossible(
    cluster: list[Manifest], more: list[Manifest], wish: dict[str, Any]
) -> None:
    if isinstance(outcome_of(cluster, **wish), Plan):
        assert isinstance(outcome_of(cluster + more, **wish), Plan)


@settings(max_examples=60, deadline=None)
@given(cluster=fleets(prefix="a"), wish=wishes, data=st.data())
def test_use_by_others_changes_the_choice_but_never_whether_there_is_one(
    cluster: list[Manifest], wish: dict[str, Any], data: st.DataObject
) -> None:
    used = {each["metadata"]["name"]: data.draw(st.sampled_from([0, 8])) for each in cluster}
    free = outcome_of(cluster, **wish)
    busy = outcome_of(cluster, facts=Facts(default_storage_class=True, used=used), **wish)
    assert isinstance(free, Plan) == isinstance(busy, Plan)
    if isinstance(free, Plan) and isinstance(busy, Plan):
        assert groups(busy, used, wish) >= groups(free, used, wish)


def groups(plan: Plan, used: dict[str, int], wish: dict[str, Any]) -> int:
    return startable(
        plan.hardware,
        used,
        nodes=plan.nodes_per_group,
        devices=plan.accelerators_per_node,
        wanted=wish.get("replicas", 1),
    )
