"""An administrator extends the catalogue by a ConfigMap while the operator runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import GROUP, Kubectl, Operator, UseNodes, World, eventually
from tests.api.test_life import quiet

pytestmark = pytest.mark.usefixtures("operator")

PRODUCT = "NVIDIA-H100-NVL-HOUSE"
ENTRY: dict[str, Any] = {
    "vendor": "nvidia",
    "product": PRODUCT,
    "aliases": [],
    "architecture": "sm90",
    "compute_major": 9,
    "memory_gib": 79.6,
    "devices_per_node": 8,
    "precisions": ["fp8", "bf16"],
    "kv_precisions": ["bf16", "fp8"],
    "labels": [{"nvidia.com/gpu.product": PRODUCT}],
    "source": "our own nodes",
}
OWN_NAMESPACE = "default"
"""The operator's, outside a cluster."""


@pytest.fixture
def house_nodes(use_nodes: UseNodes, kubectl: Kubectl) -> Iterator[None]:
    """Nodes of a product that the catalogue does not know."""
    use_nodes("nvidia-h100.yaml")
    kubectl("label", "nodes", "--all", "--overwrite", f"nvidia.com/gpu.product={PRODUCT}")
    yield
    kubectl("label", "nodes", "--all", "--overwrite", "nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3")


@pytest.fixture
def extension(kubectl: Kubectl) -> Iterator[str]:
    """The name of a ConfigMap that is gone afterwards."""
    name = "house-hardware"
    yield name
    kubectl("-n", OWN_NAMESPACE, "delete", "configmap", name, "--ignore-not-found")


def put(kubectl: Kubectl, name: str, *entries: dict[str, Any]) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {f"{GROUP}/catalog": "true"}},
        "data": {"hardware.yaml": json.dumps({"accelerators": list(entries)})},
    }
    kubectl.apply(manifest, namespace=OWN_NAMESPACE)


def entries(operator: Operator, verdict: str) -> float:
    return operator.metric(f'deepseek_operator_catalog_entries{{verdict="{verdict}"}}')


@pytest.mark.usefixtures("house_nodes")
def test_a_product_added_by_a_configmap_is_planned_on_within_seconds_and_running_groups_stay(
    world: World, operator: Operator, extension: str
) -> None:
    world.apply()
    refused = eventually(lambda: (c := world.condition("Planned")).get("status") == "False" and c, what="Planned=False")
    assert f"its product {PRODUCT} is not in the catalogue" in refused["message"]

    put(world.kubectl, extension, ENTRY)
    eventually(lambda: world.condition("Planned").get("status") == "True", seconds=15, what="Planned")
    assert world.wait_ready()["status"]["plan"]["product"] == PRODUCT
    before = {pod["metadata"]["uid"] for pod in world.pods()}

    put(world.kubectl, extension, {**ENTRY, "memory_gb": 80}, {**ENTRY, "product": "OTHER", "labels": []})
    events = eventually(
        lambda: [
            event
            for event in world.kubectl.json("-n", OWN_NAMESPACE, "events.events.k8s.io")["items"]
            if event["regarding"].get("name") == extension
        ],
        what="an Event about the bad entry",
    )
    assert events[0]["reason"] == "CatalogEntryInvalid"
    assert "accelerators[0]: memory_gb: is not a key" in events[0]["note"]
    assert "the entry is ignored" in events[0]["note"]
    eventually(lambda: entries(operator, "refused") == 1, what="the metric of refused entries")
    assert entries(operator, "taken") == 1

    world.kubectl("-n", OWN_NAMESPACE, "delete", "configmap", extension)
    eventually(lambda: entries(operator, "taken") == 0, what="the catalogue is the package's again")
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert {pod["metadata"]["uid"] for pod in world.pods()} == before
    assert world.condition("Ready")["status"] == "True"
