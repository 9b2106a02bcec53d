"""Nodes in, hardware classes out: which accelerators a cluster offers, and which do not count and why.

A class is a set of nodes that are alike in vendor, product, architecture, devices, host architecture, driver and
RDMA resource; a group of ranks never mixes classes, because engines refuse unequal memory and collectives refuse
unequal drivers. The result does not depend on the order of the nodes.

What is believed, in order:

1. How many devices: ``status.allocatable``, which the kubelet keeps; where that names none, ResourceSlices.
2. Which product: the vendor's labeller, then cloud labels (``identity``); on nodes without allocatable the DRA
   driver's own attributes, which must not contradict the labels.
3. How much memory: the label or the slice where it is within 5 % of the catalogue's figure, else the catalogue's.
4. Where nothing names the product: ``spec.hardware.product``, on nodes that ``spec.hardware.nodeSelector`` or Node
   Feature Discovery's PCI label tells apart.

A node that is not ready, cordoned, tainted beyond the tolerations, sharing or partitioning its devices, or
contradicting itself is left out with a sentence that says what would help. Devices that other pods request do not
change the classes: they decide which class is taken (``occupancy``), because pods may wait for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final

from deepseek_operator.api.operation import Toleration
from deepseek_operator.catalog.types import Accelerator, Catalog
from deepseek_operator.plan import suitability
from deepseek_operator.plan.counting import CountedNode, NodeCounter, Published, host_architecture
from deepseek_operator.plan.quantities import thousandths, whole
from deepseek_operator.plan.types import HardwareClass, Inventory, Node, SkippedNode, Taint

_NONE: Final[Published] = MappingProxyType({})


def read_node(manifest: Mapping[str, Any]) -> Node:
    """A Node object as planning sees it; fields that are missing count as empty.

    A node without any condition (a file written by hand) counts as ready; the API server's nodes always have them.
    """
    metadata = manifest.get("metadata") or {}
    spec = manifest.get("spec") or {}
    status = manifest.get("status") or {}
    conditions = status.get("conditions")
    ready = not conditions or any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    return Node(
        name=str(metadata.get("name", "")),
        labels={str(key): str(value) for key, value in (metadata.get("labels") or {}).items()},
        taints=tuple(
            Taint(
                key=str(each.get("key", "")),
                value=str(each.get("value") or ""),
                effect=str(each.get("effect", "")),
            )
            for each in spec.get("taints") or ()
        ),
        allocatable=_allocatable(status.get("allocatable") or {}),
        ready=ready,
        unschedulable=bool(spec.get("unschedulable", False)),
    )


def take_inventory(
    nodes: Iterable[Node],
    catalog: Catalog,
    *,
    tolerations: Sequence[Toleration] = (),
    published: Published = _NONE,
) -> Inventory:
    """Sorts nodes into classes; nodes without accelerators are left out silently, others with a reason.

    Args:
        nodes: in any order.
        catalog: products, labels and resources that are known.
        tolerations: of the deployment; taints of the vendors' own installers are tolerated without asking.
        published: devices in ResourceSlices, for nodes whose allocatable names none.
    """
    counter = NodeCounter(catalog, tolerations, published)
    groups: defaultdict[tuple[object, ...], list[CountedNode]] = defaultdict(list)
    skipped: list[SkippedNode] = []
    unlabelled: list[Node] = []
    labels: dict[str, Mapping[str, str]] = {}
    bearers: defaultdict[str, list[str]] = defaultdict(list)
    parts: list[tuple[Mapping[str, str], tuple[str, str]]] = []
    for node in sorted(nodes, key=lambda each: each.name):
        resource = counter.offered(node)
        if resource is not None:
            bearers[resource].append(node.name)
        outcome = counter.count(node)
        if isinstance(outcome, CountedNode):
            groups[outcome.key].append(outcome)
            labels[node.name] = node.labels
        elif outcome is not None:
            skipped.append(outcome)
            if outcome.label is not None:
                parts.append((node.labels, outcome.label))
            if outcome.reason in {suitability.UNLABELLED, suitability.UNKNOWN}:
                unlabelled.append(node)
    classes = (_class(groups[key], catalog) for key in sorted(groups))
    return Inventory(
        classes=tuple(replace(each, avoided=_avoided(each, parts)) for each in classes),
        skipped=tuple(skipped),
        unlabelled=tuple(unlabelled),
        labels=labels,
        bearers={resource: tuple(names) for resource, names in bearers.items()},
    )


def adopt(
    nodes: Iterable[Node], accelerator: Accelerator, catalog: Catalog, *, selector: Mapping[str, str]
) -> tuple[HardwareClass, ...]:
    """Classes of nodes that no label names, taken for ``accelerator`` because the user says so.

    ``selector`` are the labels that pin the pods in place of the vendor's: the user's, or PCI labels.
    """
    vendor = catalog.vendors[accelerator.vendor]
    counter = NodeCounter(catalog, (), _NONE)
    groups: defaultdict[tuple[object, ...], list[CountedNode]] = defaultdict(list)
    for node in sorted(nodes, key=lambda each: each.name):
        offer = counter.reader.device_resource(node)
        if offer is None or offer[0].name != vendor.name or not selected(node.labels, selector):
            continue
        if suitability.too_many(node, vendor, devices=offer[2]) is not None:
            continue
        pin = tuple(sorted(selector.items()))
        each = counter.counted(node, vendor, accelerator, resource=offer[1], devices=offer[2], pin=pin)
        groups[each.key].append(each)
    return tuple(_class(groups[key], catalog) for key in sorted(groups))


def selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node's labels carry all of the selector's."""
    return all(labels.get(key) == value for key, value in selector.items())


def _class(members: Sequence[CountedNode], catalog: Catalog) -> HardwareClass:
    first = members[0]
    nodes = [each.node for each in members]
    extended = {
        name: min(node.allocatable.get(name, 0) for node in nodes)
        for name in sorted(first.node.allocatable)
        if "/" in name and name != first.resource
    }
    extended = {name: amount for name, amount in extended.items() if amount > 0}
    taints = {taint.key for node in nodes for taint in node.taints if taint.key in first.vendor.taints}
    return HardwareClass(
        vendor=first.vendor.name,
        product=first.accelerator.product,
        architecture=first.accelerator.architecture,
        resource=first.resource,
        accelerators_per_node=first.devices,
        memory_gib=min(each.memory_gib for each in members),
        host_architecture=host_architecture(first.node),
        driver=first.driver,
        rdma_resource=first.rdma,
        rdma_count=rdma_count(first.rdma, extended, catalog),
        extended=extended,
        node_labels=dict(first.pin),
        tolerations=tuple(sorted(taints)),
        cpu_millicores=min(node.allocatable.get("cpu", 0) for node in nodes),
        memory_bytes=min(node.allocatable.get("memory", 0) for node in nodes),
        nodes=tuple(node.name for node in nodes),
        fabric=first.fabric,
    )


def _avoided(
    hardware: HardwareClass, parts: Iterable[tuple[Mapping[str, str], tuple[str, str]]]
) -> tuple[tuple[str, str], ...]:
    """Labels to keep off: a device id or a cloud's label is the same on nodes with whole devices and with parts."""
    return tuple(sorted({label for labels, label in parts if selected(labels, hardware.node_labels)}))


def rdma_count(resource: str | None, extended: Mapping[str, int], catalog: Catalog) -> int:
    """How many of an RDMA resource a pod requests: one of a shared one, all of the node's otherwise."""
    if resource is None:
        return 0
    if any(fnmatchcase(resource, pattern) for pattern in catalog.shared_rdma_resources):
        return 1
    return extended.get(resource, 1)


def _allocatable(quantities: Mapping[str, Any]) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for name, quantity in quantities.items():
        if name == "cpu":
            amounts[name] = thousandths(quantity)
        elif name == "memory" or "/" in name:
            amounts[name] = whole(quantity)
    return amounts
