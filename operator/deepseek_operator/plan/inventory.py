"""Nodes in, hardware classes out: which accelerators a cluster offers, and which do not count and why.

A class is a set of nodes that are alike in vendor, product, architecture, devices, host architecture, driver and
RDMA resource; a group of ranks never mixes classes, because engines refuse unequal memory and collectives refuse
unequal drivers. The result does not depend on the order of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from deepseek_operator.api.resource import Toleration
from deepseek_operator.catalog.types import Accelerator, Catalog, Vendor
from deepseek_operator.plan import identity, suitability
from deepseek_operator.plan.types import HardwareClass, Inventory, Node, SkippedNode, Taint

_MULTIPLIERS = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """A node that counts, with what sets its class."""

    node: Node
    vendor: Vendor
    accelerator: Accelerator
    resource: str
    devices: int
    memory_gib: float
    driver: str | None
    rdma: str | None
    pin: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What all nodes of a class share."""
        return (
            self.vendor.name,
            self.accelerator.product,
            self.resource,
            str(self.devices),
            host_architecture(self.node),
            self.driver or "",
            self.rdma or "",
            repr(self.pin),
        )


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


def take_inventory(nodes: Iterable[Node], catalog: Catalog, *, tolerations: Sequence[Toleration] = ()) -> Inventory:
    """Sorts nodes into classes; nodes without accelerators are left out silently, others with a reason.

    Args:
        nodes: in any order.
        catalog: products, labels and resources that are known.
        tolerations: of the deployment; taints of the vendors' own installers are tolerated without asking.
    """
    counted: list[_Counted] = []
    skipped: list[SkippedNode] = []
    unlabelled: list[Node] = []
    for node in sorted(nodes, key=lambda each: each.name):
        outcome = _count(node, catalog, tolerations)
        if isinstance(outcome, _Counted):
            counted.append(outcome)
        elif outcome is not None:
            skipped.append(outcome)
            if outcome.reason in {suitability.UNLABELLED, suitability.UNKNOWN}:
                unlabelled.append(node)
    groups: dict[tuple[str, ...], list[_Counted]] = {}
    for each in counted:
        groups.setdefault(each.key, []).append(each)
    return Inventory(
        classes=tuple(_class(groups[key], catalog) for key in sorted(groups)),
        skipped=tuple(skipped),
        unlabelled=tuple(unlabelled),
        labels={each.node.name: each.node.labels for each in counted},
    )


def adopt(
    nodes: Iterable[Node], accelerator: Accelerator, catalog: Catalog, *, selector: Mapping[str, str]
) -> tuple[HardwareClass, ...]:
    """Classes of nodes that no label names, taken for ``accelerator`` because the user says so.

    ``selector`` are the user's labels; they pin the pods in place of the vendor's.
    """
    vendor = catalog.vendors[accelerator.vendor]
    groups: dict[tuple[str, ...], list[_Counted]] = {}
    for node in sorted(nodes, key=lambda each: each.name):
        offer = identity.device_resource(node, catalog)
        if offer is None or offer[0].name != vendor.name or not selected(node.labels, selector):
            continue
        each = _counted(
            node,
            vendor,
            accelerator,
            resource=offer[1],
            devices=offer[2],
            pin=tuple(sorted(selector.items())),
            catalog=catalog,
        )
        groups.setdefault(each.key, []).append(each)
    return tuple(_class(groups[key], catalog) for key in sorted(groups))


def selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node's labels carry all of the selector's."""
    return all(labels.get(key) == value for key, value in selector.items())


def host_architecture(node: Node) -> str:
    """amd64 or arm64; amd64 where the kubelet's label is missing."""
    return node.labels.get("kubernetes.io/arch", "amd64")


def _count(node: Node, catalog: Catalog, tolerations: Sequence[Toleration]) -> _Counted | SkippedNode | None:
    vendor = identity.vendor_of(node, catalog)
    if vendor is None:
        return None
    flaw = suitability.flaw_of_node(node, vendor, tolerations=tolerations)
    if flaw is not None:
        return flaw
    offer = identity.device_resource(node, catalog)
    if offer is None:
        return suitability.no_devices(node, vendor)
    _, resource, devices = offer
    found = identity.identify(node, vendor, catalog)
    if found is None:
        return suitability.unidentified(node, vendor, resource=resource, devices=devices)
    flaw = suitability.contradiction(node, vendor, found, devices=devices)
    if flaw is not None:
        return flaw
    return _counted(
        node,
        vendor,
        found.accelerator,
        resource=resource,
        devices=devices,
        pin=(found.reading.label,),
        catalog=catalog,
    )


def _counted(
    node: Node,
    vendor: Vendor,
    accelerator: Accelerator,
    *,
    resource: str,
    devices: int,
    pin: tuple[tuple[str, str], ...],
    catalog: Catalog,
) -> _Counted:
    label = identity.memory_gib(node, vendor)
    near = label is not None and abs(label / accelerator.memory_gib - 1) <= suitability.MEMORY_TOLERANCE
    return _Counted(
        node=node,
        vendor=vendor,
        accelerator=accelerator,
        resource=resource,
        devices=devices,
        memory_gib=label if near and label is not None else accelerator.memory_gib,
        driver=identity.driver(node, vendor),
        rdma=_rdma_resource(node.allocatable, catalog),
        pin=pin,
    )


def _class(members: Sequence[_Counted], catalog: Catalog) -> HardwareClass:
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
    )


def rdma_count(resource: str | None, extended: Mapping[str, int], catalog: Catalog) -> int:
    """How many of an RDMA resource a pod requests: one of a shared one, all of the node's otherwise."""
    if resource is None:
        return 0
    if any(fnmatchcase(resource, pattern) for pattern in catalog.shared_rdma_resources):
        return 1
    return extended.get(resource, 1)


def _rdma_resource(allocatable: Mapping[str, int], catalog: Catalog) -> str | None:
    for pattern in catalog.rdma_resources:
        for name in sorted(allocatable):
            if allocatable[name] > 0 and fnmatchcase(name, pattern):
                return name
    return None


def _allocatable(quantities: Mapping[str, Any]) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for name, quantity in quantities.items():
        if name == "cpu":
            amounts[name] = _whole(quantity, thousandths=True)
        elif name == "memory" or "/" in name:
            amounts[name] = _whole(quantity)
    return amounts


def _whole(quantity: object, *, thousandths: bool = False) -> int:
    """A Kubernetes quantity as a whole number, rounded down; 0 where it is none.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    text = str(quantity).strip()
    scale = 1000 if thousandths else 1
    suffix = next((each for each in _MULTIPLIERS if text.endswith(each)), "")
    try:
        if text.endswith("m"):
            return int(float(text[:-1]) * scale / 1000)
        return int(float(text.removesuffix(suffix)) * _MULTIPLIERS.get(suffix, 1) * scale)
    except ValueError:
        return 0
