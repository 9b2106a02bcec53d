"""One node after the other: its devices, whose they are, and what sets its class; or why it does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache

from deepseek_operator.api.operation import Toleration
from deepseek_operator.catalog.types import Accelerator, Catalog, Vendor
from deepseek_operator.plan import identity, suitability
from deepseek_operator.plan.identity import Labels, Reader
from deepseek_operator.plan.types import Node, NodeDevices, SkippedNode

Published = Mapping[str, tuple[NodeDevices, ...]]
"""What ResourceSlices tell, by node (``slices.devices_by_node``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedNode:
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
    fabric: str = ""
    """Preset that the labels tell of, which are part of the pin then."""

    @property
    def key(self) -> tuple[str, str, str, int, str, str, str, Labels, str]:
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
            self.fabric,
        )


def _joined(pin: Labels, labels: Labels) -> Labels:
    return tuple(sorted({**dict(pin), **dict(labels)}.items())) if labels else pin


def host_architecture(node: Node) -> str:
    """amd64 or arm64; amd64 where the kubelet's label is missing."""
    return node.labels.get(identity.HOST_ARCHITECTURE, "amd64")


class NodeCounter:
    """One node after the other, with what all of them share."""

    def __init__(self, catalog: Catalog, tolerations: Sequence[Toleration], published: Published) -> None:
        self.reader = Reader(catalog)
        self._catalog = catalog
        self._tolerations = tolerations
        self._published = published
        # Thousands of nodes offer the same few names, and are alike in all that is looked at.
        self._rdma = cache(self._rdma_rank)
        self._alike: dict[tuple[object, ...], CountedNode] = {}

    def offered(self, node: Node) -> str | None:
        """The resource by which pods reach the node's devices, counted or not."""
        offer = self.reader.device_resource(node)
        if offer is not None:
            return offer[1]
        return next((each.resource for each in self._published.get(node.name, ()) if each.resource), None)

    def count(self, node: Node) -> CountedNode | SkippedNode | None:
        """The node's devices, the reason why they do not count, or None where there are none."""
        extended = tuple(item for item in node.allocatable.items() if "/" in item[0])
        published = self._published.get(node.name)
        view = (node.ready, node.unschedulable, node.taints, extended, published, self.reader.view(node))
        known = self._alike.get(view)
        if known is not None:
            return replace(known, node=node)
        outcome = self._judge(node)
        if isinstance(outcome, CountedNode):
            self._alike[view] = outcome
        return outcome

    def _judge(self, node: Node) -> CountedNode | SkippedNode | None:
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
    ) -> CountedNode:
        """The record of a node that counts."""
        fabric, labels = self._fabric(node, vendor)
        return CountedNode(
            node=node,
            vendor=vendor,
            accelerator=accelerator,
            resource=resource,
            devices=devices,
            memory_gib=suitability.memory_of(accelerator, identity.memory_gib(node, vendor)),
            driver=identity.driver(node, vendor),
            rdma=self._rdma_resource(node.allocatable),
            pin=_joined(pin, labels),
            fabric=fabric,
        )

    def _count_published(
        self, node: Node, vendor: Vendor, published: Sequence[NodeDevices]
    ) -> CountedNode | SkippedNode | None:
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
        fabric, labels = self._fabric(node, vendor)
        return CountedNode(
            node=node,
            vendor=vendor,
            accelerator=accelerator,
            resource=devices.resource,
            devices=devices.count,
            memory_gib=suitability.memory_of(accelerator, devices.memory_gib),
            driver=devices.driver_version,
            rdma=self._rdma_resource(node.allocatable),
            pin=_joined(labelled.pin if labelled is not None else (), labels),
            fabric=fabric,
        )

    def _fabric(self, node: Node, vendor: Vendor) -> tuple[str, Labels]:
        """The preset that the node's labels tell of, and these labels."""
        for preset in self._catalog.fabrics.values():
            for wanted in preset.labels if vendor.name in preset.vendors else ():
                if all(fnmatchcase(node.labels.get(key, ""), pattern) for key, pattern in wanted.items()):
                    return preset.name, tuple((key, node.labels[key]) for key in sorted(wanted))
        return "", ()

    def _rdma_resource(self, allocatable: Mapping[str, int]) -> str | None:
        ranked = ((self._rdma(name), name) for name in allocatable if "/" in name and allocatable[name] > 0)
        return min(((rank, name) for rank, name in ranked if rank is not None), default=(0, None))[1]

    def _rdma_rank(self, name: str) -> int | None:
        """The place of a name among those that are known; None: it is no RDMA resource."""
        patterns = enumerate(self._catalog.rdma_resources)
        return next((rank for rank, pattern in patterns if fnmatchcase(name, pattern)), None)
