"""Whole clusters as their labellers write them: what counts as which class, and what does not count and why."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.slices import devices_by_node
from tests.unit.plan.clusters import CLUSTERS
from tests.unit.plan.clusters.case import Cluster

if TYPE_CHECKING:
    from deepseek_operator.plan.types import HardwareClass, Inventory
    from tests.unit.plan.nodes import Manifest


def inventory_of(cluster: Cluster, nodes: list[Manifest], slices: list[Manifest]) -> Inventory:
    catalog = load()
    return take_inventory(
        map(read_node, nodes),
        catalog,
        tolerations=cluster.tolerations,
        published=devices_by_node(slices, cluster.device_classes, catalog),
    )


def described(found: HardwareClass) -> str:
    host = "" if found.host_architecture == "amd64" else f" {found.host_architecture}"
    return f"{found.product} x{found.accelerators_per_node}{host}: {' '.join(found.nodes)}"


def shuffled(manifest: Manifest, chance: random.Random) -> Manifest:
    labels = list(manifest["metadata"]["labels"].items())
    chance.shuffle(labels)
    return {**manifest, "metadata": {**manifest["metadata"], "labels": dict(labels)}}


def test_the_table_is_as_large_as_it_must_be() -> None:
    products = {described.partition(" ")[0] for each in CLUSTERS.values() for described in each.classes}
    assert products >= {each.product for each in load().accelerators} - {
        # Alike in every label to one that is there.
        "NVIDIA-A800-80GB-PCIe",
        "NVIDIA-GH200-144G-HBM3e",
    }
    assert len(CLUSTERS) >= 40


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_a_cluster_is_seen_as_it_is(cluster: Cluster) -> None:
    inventory = inventory_of(cluster, cluster.nodes, cluster.slices)
    assert sorted(map(described, inventory.classes)) == sorted(cluster.classes)
    assert {each.name: each.reason for each in inventory.skipped} == cluster.skipped
    for each in inventory.skipped:
        assert each.message.startswith(f"node {each.name} ")
        # Every sentence ends with what would help.
        assert "; " in each.message or ": " in each.message or ", or " in each.message
    if cluster.pins is not None:
        pins = [",".join(f"{key}={value}" for key, value in each.node_labels.items()) for each in inventory.classes]
        assert pins == cluster.pins
    if cluster.gib is not None:
        assert inventory.classes[0].memory_gib == pytest.approx(cluster.gib, abs=0.01)


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_the_order_of_nodes_labels_and_slices_changes_nothing(cluster: Cluster) -> None:
    expected = inventory_of(cluster, cluster.nodes, cluster.slices)
    for seed in range(3):
        chance = random.Random(seed)  # noqa: S311 - an order, not a secret
        nodes = [shuffled(each, chance) for each in chance.sample(cluster.nodes, len(cluster.nodes))]
        slices = chance.sample(cluster.slices, len(cluster.slices))
        assert inventory_of(cluster, nodes, slices) == expected


def test_all_clusters_in_one_are_still_told_apart() -> None:
    """Nodes of one cluster never change what is seen of another's."""
    nodes: list[Manifest] = []
    expected: set[str] = set()
    for number, cluster in enumerate(each for each in CLUSTERS.values() if not each.slices and not each.tolerations):
        for each in cluster.nodes:
            name = f"{number}-{each['metadata']['name']}"
            nodes.append({**each, "metadata": {**each["metadata"], "name": name}})
            if each["metadata"]["name"] in cluster.skipped:
                expected.add(name)
    inventory = inventory_of(Cluster(nodes=nodes, classes=[]), nodes, [])
    assert {each.name for each in inventory.skipped} == expected
