"""Which accelerator a node carries, read from labels in a fixed order of trust.

1. The vendor's own labeller, which asks the driver: GPU Feature Discovery; AMD's node labeller, device id before
   product name because the names are irregular; MindCluster's names of 2026, then those they replace.
2. What the cloud says of the machine that it rents out: GKE, Karpenter and EKS, ACK, TKE, CCE; last the machine type.
3. What is only known to be there: Node Feature Discovery's PCI vendor, markers of operators, allocatable. These name
   the vendor; the product is then the user's word (``spec.hardware.product``).

The catalogue lists the keys of each vendor in that order, and the first that names a known product decides. A
contradiction inside one source (count, memory, compute capability) is for ``suitability``.

AMD's labeller writes ``KEY=VALUE`` on plain nodes and ``KEY.VALUE=count`` on mixed ones and in its legacy
``beta.amd.com`` copies (ROCm/k8s-device-plugin, cmd/k8s-node-labeller).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from deepseek_operator.catalog.types import Accelerator, Catalog, Vendor
from deepseek_operator.plan.types import Node

Labels = tuple[tuple[str, str], ...]
"""Keys and values as they stand on a node."""

HOST_ARCHITECTURE: Final = "kubernetes.io/arch"
_MIB_A_GIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of a label key; ``label`` is the label as it stands on the node."""

    key: str
    value: str
    label: tuple[str, str]
    count: int | None
    """Devices, where the spelling tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The product of a node and the label that told it."""

    accelerator: Accelerator
    reading: Reading
    pin: Labels
    """Labels that keep pods on such nodes: those that told the product, or those that an autoscaler knows."""


class Reader:
    """The catalogue's products, indexed by the labels that name them. One for each inventory."""

    def __init__(self, catalog: Catalog) -> None:
        self.vendors = sorted(catalog.vendors.values(), key=lambda each: each.name)
        self._index: defaultdict[tuple[str, str], list[tuple[str, Mapping[str, str], Accelerator]]] = defaultdict(list)
        for accelerator in catalog.accelerators:
            for label in accelerator.labels:
                key, pattern = next(iter(label.items()))
                self._index[accelerator.vendor, key].append((pattern, label, accelerator))
        self._keys = tuple(sorted(_known_keys(catalog) | _fabric_keys(catalog)))
        spelled = [vendor for vendor in self.vendors if vendor.values_in_keys]
        self._prefixes = tuple(f"{key}." for vendor in spelled for key in _own_keys(vendor))

    def view(self, node: Node) -> tuple[object, ...]:
        """The labels that could matter. Two nodes with the same view carry the same accelerators."""
        labels = node.labels
        mixed = tuple((key, labels[key]) for key in labels if key.startswith(self._prefixes))
        return (tuple(map(labels.get, self._keys)), mixed)

    def device_resource(self, node: Node) -> tuple[Vendor, str, int] | None:
        """The vendor, the extended resource and the number of devices that a node offers, or None."""
        for vendor in self.vendors:
            for resource in vendor.resources:
                count = node.allocatable.get(resource, 0)
                if count > 0:
                    return vendor, resource, count
        return None

    def vendor_of(self, node: Node) -> Vendor | None:
        """The vendor whose devices the node offers, or whose resource, product or presence its labels tell of."""
        offer = self.device_resource(node)
        if offer is not None:
            return offer[0]
        for vendor in self.vendors:
            if any(resource in node.allocatable for resource in vendor.resources):
                return vendor
        return next((each for each in self.vendors if self._tells(node, each)), None)

    def identify(self, node: Node, vendor: Vendor) -> Identity | None:
        """The accelerator that the most trusted of a node's labels names, or None."""
        found = next(self._identities(node, vendor, vendor.product_labels), None)
        if found is None:
            return None
        for marker, keys in vendor.autoscaled.items():
            known = next(self._identities(node, vendor, keys), None) if marker in node.labels else None
            if known is not None and known.accelerator is found.accelerator:
                return Identity(accelerator=found.accelerator, reading=found.reading, pin=known.pin)
        return found

    def match(
        self, vendor: Vendor, key: str, value: str, labels: Mapping[str, str]
    ) -> tuple[Accelerator, Labels] | None:
        """The accelerator that a label's value names, and the further labels that it took to tell."""
        spelled = vendor.synonyms.get(key, key)
        for pattern, label, accelerator in self._index.get((vendor.name, spelled), ()):
            if not fnmatchcase(value, pattern):
                continue
            others = _others(vendor, label, spelled, labels)
            if others is not None:
                return accelerator, others
        return None

    def _identities(self, node: Node, vendor: Vendor, keys: tuple[str, ...]) -> Iterator[Identity]:
        for key in keys:
            for reading in readings(node.labels, key, vendor):
                found = self.match(vendor, key, reading.value, node.labels)
                if found is not None:
                    accelerator, others = found
                    yield Identity(accelerator=accelerator, reading=reading, pin=(reading.label, *others))

    def _tells(self, node: Node, vendor: Vendor) -> bool:
        labels = node.labels
        if any(labels.get(key) == "true" for key in vendor.pci_labels):
            return True
        for key, patterns in vendor.present_labels.items():
            value = labels.get(key)
            if value is not None and any(fnmatchcase(value, pattern) for pattern in patterns):
                return True
        return bool(named(node, vendor)) or next(self._identities(node, vendor, vendor.weak_labels), None) is not None


def readings(labels: Mapping[str, str], key: str, vendor: Vendor) -> tuple[Reading, ...]:
    """The values of a label key in the spellings that the vendor's labeller uses, sorted by value."""
    value = labels.get(key)
    if value is not None:
        return (Reading(key=key, value=value, label=(key, value), count=None),)
    if not vendor.values_in_keys:
        return ()
    prefix = f"{key}."
    return tuple(
        Reading(
            key=key,
            value=name.removeprefix(prefix),
            label=(name, labels[name]),
            count=int(labels[name]),
        )
        for name in sorted(name for name in labels if name.startswith(prefix))
        if labels[name].isdecimal()
    )


def named(node: Node, vendor: Vendor) -> tuple[Reading, ...]:
    """What the most trusted product label on the node says, known to the catalogue or not."""
    for key in vendor.product_labels:
        found = () if key in vendor.weak_labels else readings(node.labels, key, vendor)
        if found:
            return found
    return ()


def memory_gib(node: Node, vendor: Vendor) -> float | None:
    """GiB of one device by the node's labels; None: not told.

    ``81559`` and ``97871MiB`` are MiB, ``192G`` and ``64Gi`` are GiB.
    """
    for key in vendor.memory_labels:
        for reading in readings(node.labels, key, vendor):
            amount = reading.value.removesuffix("B").removesuffix("i")
            unit = amount.lstrip("0123456789")
            size = amount.removesuffix(unit)
            if not size or unit not in {"", "M", "G"}:
                continue
            return float(size) if unit == "G" else int(size) / _MIB_A_GIB
    return None


def driver(node: Node, vendor: Vendor) -> str | None:
    """The major version of the driver, where a label tells it."""
    for key in vendor.driver_labels:
        if key in node.labels:
            return node.labels[key].partition(".")[0] or None
    return None


def compute_capability(node: Node, vendor: Vendor) -> str | None:
    """``9.0``, where labels tell it; ``9`` where only the major is told."""
    told = [node.labels[key] for key in vendor.compute_labels if key in node.labels]
    return ".".join(told) or None


def _own_keys(vendor: Vendor) -> Iterator[str]:
    """All keys of labels that a vendor's entry names."""
    yield from vendor.product_labels
    yield from vendor.synonyms
    yield from vendor.autoscaled
    yield from (key for keys in vendor.autoscaled.values() for key in keys)
    yield from vendor.memory_labels
    yield from vendor.count_labels
    yield from vendor.compute_labels
    yield from vendor.driver_labels
    yield from vendor.present_labels
    yield from vendor.pci_labels
    yield from vendor.refused_labels


def _fabric_keys(catalog: Catalog) -> set[str]:
    return {key for preset in catalog.fabrics.values() for labels in preset.labels for key in labels}


def _known_keys(catalog: Catalog) -> set[str]:
    keys = {key for vendor in catalog.vendors.values() for key in _own_keys(vendor)}
    keys |= {key for accelerator in catalog.accelerators for label in accelerator.labels for key in label}
    return keys | {HOST_ARCHITECTURE}


def _others(vendor: Vendor, label: Mapping[str, str], first: str, labels: Mapping[str, str]) -> Labels | None:
    """The labels of a set beside its first, as they stand on the node; None: one is missing or differs."""
    found: list[tuple[str, str]] = []
    for key, pattern in label.items():
        if key == first:
            continue
        spellings = [key, *(each for each, meant in vendor.synonyms.items() if meant == key)]
        there = next(((each, labels[each]) for each in spellings if each in labels), None)
        if there is None or not fnmatchcase(there[1], pattern):
            return None
        found.append(there)
    return tuple(found)
