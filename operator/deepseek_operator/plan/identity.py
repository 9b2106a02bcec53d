"""Which accelerator a node carries, read from the labels of every vendor's labeller in a fixed order of trust.

AMD's labeller writes ``KEY=VALUE`` on plain nodes and ``KEY.VALUE=count`` on mixed ones and in its legacy
``beta.amd.com`` copies (ROCm/k8s-device-plugin, cmd/k8s-node-labeller); both spellings are read for every vendor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from deepseek_operator.catalog.types import Accelerator, Catalog, Vendor
from deepseek_operator.plan.types import Node


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


def readings(labels: Mapping[str, str], key: str) -> tuple[Reading, ...]:
    """The values of a label key in both spellings, sorted by value."""
    if key in labels:
        return (Reading(key=key, value=labels[key], label=(key, labels[key]), count=None),)
    prefix = f"{key}."
    return tuple(
        Reading(
            key=key,
            value=name.removeprefix(prefix),
            label=(name, labels[name]),
            count=int(labels[name]),
        )
        for name in sorted(labels)
        if name.startswith(prefix) and labels[name].isdecimal()
    )


def device_resource(node: Node, catalog: Catalog) -> tuple[Vendor, str, int] | None:
    """The vendor, the extended resource and the number of devices that a node offers, or None."""
    for vendor in sorted(catalog.vendors.values(), key=lambda each: each.name):
        for resource in vendor.resources:
            count = node.allocatable.get(resource, 0)
            if count > 0:
                return vendor, resource, count
    return None


def vendor_of(node: Node, catalog: Catalog) -> Vendor | None:
    """The vendor whose resource, even at zero, or product label the node carries."""
    vendors = sorted(catalog.vendors.values(), key=lambda each: each.name)
    for vendor in vendors:
        if any(resource in node.allocatable for resource in vendor.resources):
            return vendor
    for vendor in vendors:
        if any(readings(node.labels, key) for key in vendor.product_labels):
            return vendor
    return None


def identify(node: Node, vendor: Vendor, catalog: Catalog) -> Identity | None:
    """The accelerator that the most trusted of a node's labels names, or None."""
    return next(_identities(node, vendor, catalog), None)


def named(node: Node, vendor: Vendor) -> tuple[Reading, ...]:
    """What the most trusted product label on the node says, known to the catalogue or not."""
    for key in vendor.product_labels:
        found = readings(node.labels, key)
        if found:
            return found
    return ()


def _identities(node: Node, vendor: Vendor, catalog: Catalog) -> Iterator[Identity]:
    for key in vendor.product_labels:
        for reading in readings(node.labels, key):
            accelerator = _accelerator(vendor, reading, catalog)
            if accelerator is not None:
                yield Identity(accelerator=accelerator, reading=reading)


def _accelerator(vendor: Vendor, reading: Reading, catalog: Catalog) -> Accelerator | None:
    # beta.amd.com/… is the legacy copy of amd.com/…; the catalogue lists the plain key.
    key = reading.key.removeprefix("beta.")
    for accelerator in catalog.accelerators:
        if accelerator.vendor != vendor.name:
            continue
        for label in accelerator.labels:
            if any(fnmatchcase(reading.value, pattern) for name, pattern in label.items() if name == key):
                return accelerator
    return None


def memory_gib(node: Node, vendor: Vendor) -> float | None:
    """GiB of one device by the node's labels: ``81559`` is MiB, ``192G`` and ``64Gi`` are GiB; None: not told."""
    for key in vendor.memory_labels:
        for reading in readings(node.labels, key):
            amount = reading.value.removesuffix("B").removesuffix("i")
            if amount.isdecimal():
                return int(amount) / 1024
            if amount.endswith("G") and amount[:-1].isdecimal():
                return float(amount[:-1])
    return None


def driver(node: Node, vendor: Vendor) -> str | None:
    """The major version of the driver, where a label tells it."""
    for key in vendor.driver_labels:
        if key in node.labels:
            return node.labels[key].partition(".")[0] or None
    return None
