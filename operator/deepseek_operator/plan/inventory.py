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
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from deepseek_operator.api.resource import Toleration
from deepseek_operator.catalog.types import Accelerator, Catalog, Vendor
from deepseek_operator.plan import identity, suitability
from deepseek_operator.plan.identity import Labels, Reader
from deepseek_operator.plan.quantities import thousandths, whole
from deepseek_operator.plan.types import HardwareClass, Inventory, Node, NodeDevices, SkippedNode, Taint

Published = Mapping[str, tuple[NodeDevices, ...]]
"""What ResourceSlices tell, by node (``slices.devices_by_node``)."""

_NONE: Final[Published] = MappingProxyType({})


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
    pin: Labels

    @property
    def key(self) -> tuple[str, str, str, int, str, str, str, Labels]:
        """What all nodes of a class share."""
        return (
            self.vendor.name,
            self.accelerator.product,
            self.resource,
            self.devices,
            host_architecture(self.node),
            self.driver or "",
            self.rdma or "",
            self.pin,
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
    counter = _Counter(catalog, tolerations, published)
    groups: defaultdict[tuple[object, ...], list[_Counted]] = defaultdict(list)
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
        if isinstance(outcome, _Counted):
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
    counter = _Counter(catalog, (), _NONE)
    groups: defaultdict[tuple[object, ...], list[_Counted]] = defaultdict(list)
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


def host_architecture(node: Node) -> str:
    """amd64 or arm64; amd64 where the kubelet's label is missing."""
    return node.labels.get(identity.HOST_ARCHITECTURE, "amd64")


class _Counter:
    """One node after the other, with what all of them share."""

    def __init__(self, catalog: Catalog, tolerations: Sequence[Toleration], published: Published) -> None:
        self.reader = Reader(catalog)
        self._catalog = catalog
        self._tolerations = tolerations
        self._published = published
        # Thousands of nodes offer the same few names, and are alike in all that is looked at.
        self._rdma = cache(self._rdma_rank)
        self._alike: dict[tuple[object, ...], _Counted] = {}

    def offered(self, node: Node) -> str | None:
        """The resource by which pods reach the node's devices, counted or not."""
        offer = self.reader.device_resource(node)
        if offer is not None:
            return offer[1]
        return next((each.resource for each in self._published.get(node.name, ()) if each.resource), None)

    def count(self, node: Node) -> _Counted | SkippedNode | None:
        """The node's devices, the reason why they do not count, or None where there are none."""
        extended = tuple(item for item in node.allocatable.items() if "/" in item[0])
        published = self._published.get(node.name)
        view = (node.ready, node.unschedulable, node.taints, extended, published, self.reader.view(node))
        known = self._alike.get(view)
        if known is not None:
            return replace(known, node=node)
        outcome = self._judge(node)
        if isinstance(outcome, _Counted):
            self._alike[view] = outcome
        return outcome

    def _judge(self, node: Node) -> _Counted | SkippedNode | None:
        vendor = self.reader.vendor_of(node)
        offer = self.reader.device_resource(node)
        published = () if offer is not None else self._published.get(node.name, ())
        if published:
            vendor = self._catalog.vendors[published[0].vendor]
        if vendor is None:
            return None
        flaw = suitability.flaw_of_node(node, vendor, tolerations=self._tolerations)
        if flaw is not None:
            return flaw
        if published:
            return self._count_published(node, vendor, published)
        if offer is None:
            return suitability.no_devices(node, vendor)
        _, resource, devices = offer
        found = self.reader.identify(node, vendor)
        if found is None:
            return suitability.too_many(node, vendor, devices=devices) or suitability.unidentified(
                node, vendor, resource=resource, devices=devices
            )
        flaw = suitability.contradiction(node, vendor, found, devices=devices)
        if flaw is not None:
            return flaw
        return self.counted(node, vendor, found.accelerator, resource=resource, devices=devices, pin=found.pin)

    def counted(
        self, node: Node, vendor: Vendor, accelerator: Accelerator, *, resource: str, devices: int, pin: Labels
    ) -> _Counted:
        """The record of a node that counts."""
        return _Counted(
            node=node,
            vendor=vendor,
            accelerator=accelerator,
            resource=resource,
            devices=devices,
            memory_gib=suitability.memory_of(accelerator, identity.memory_gib(node, vendor)),
            driver=identity.driver(node, vendor),
            rdma=self._rdma_resource(node.allocatable),
            pin=pin,
        )

    def _count_published(
        self, node: Node, vendor: Vendor, published: Sequence[NodeDevices]
    ) -> _Counted | SkippedNode | None:
        parts = next((each for each in published if each.parts), None)
        if parts is not None:
            return suitability.parts_in_slices(node, parts)
        if len(published) > 1:
            return suitability.several_kinds(node, published)
        devices = published[0]
        matches = (self.reader.match(vendor, key, value, node.labels) for key, value in devices.products)
        accelerator = next((match[0] for match in matches if match is not None), None)
        if accelerator is None:
            return suitability.unidentified_slices(node, devices)
        labelled = self.reader.identify(node, vendor)
        if labelled is not None and labelled.accelerator is not accelerator:
            return suitability.contradictory_slices(
                node, published=accelerator.product, labelled=labelled.accelerator.product
            )
        flaw = suitability.memory_contradiction_of_slices(node, accelerator, devices)
        if flaw is not None:
            return flaw
        if devices.resource is None:
            return suitability.not_requestable(node, vendor, devices, accelerator.product)
        return _Counted(
            node=node,
            vendor=vendor,
            accelerator=accelerator,
            resource=devices.resource,
            devices=devices.count,
            memory_gib=suitability.memory_of(accelerator, devices.memory_gib),
            driver=devices.driver_version,
            rdma=self._rdma_resource(node.allocatable),
            pin=labelled.pin if labelled is not None else (),
        )

    def _rdma_resource(self, allocatable: Mapping[str, int]) -> str | None:
        ranked = ((self._rdma(name), name) for name in allocatable if "/" in name and allocatable[name] > 0)
        return min(((rank, name) for rank, name in ranked if rank is not None), default=(0, None))[1]

    def _rdma_rank(self, name: str) -> int | None:
        """The place of a name among those that are known; None: it is no RDMA resource."""
        patterns = enumerate(self._catalog.rdma_resources)
        return next((rank for rank, pattern in patterns if fnmatchcase(name, pattern)), None)


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
