"""Why a node with accelerators does not count: not usable now, not whole devices, or labels that contradict.

Each answer is a reason that scripts may match and a sentence that names the node, what is wrong and what would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from deepseek_operator.api.resource import Toleration
from deepseek_operator.catalog.types import Vendor
from deepseek_operator.plan import identity
from deepseek_operator.plan.types import Node, SkippedNode, Taint

UNLABELLED: Final = "Unlabelled"
UNKNOWN: Final = "UnknownProduct"
MEMORY_TOLERANCE: Final = 0.05
"""Labels of test fixtures and of some clouds are nominal sizes; figures within 5 % are the same product."""

_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})


def flaw_of_node(node: Node, vendor: Vendor, *, tolerations: Sequence[Toleration]) -> SkippedNode | None:
    """The first thing about the node itself that keeps its devices from counting."""
    if not node.ready:
        return _skip(node, "NotReady", "is not ready; see its conditions with kubectl describe node")
    if node.unschedulable:
        return _skip(node, "Cordoned", f"is cordoned; kubectl uncordon {node.name} brings it back")
    for taint in node.taints:
        if taint.effect in _BLOCKING and not _tolerated(taint, vendor, tolerations):
            value = f"={taint.value}" if taint.value else ""
            return _skip(
                node,
                "Tainted",
                f"has the taint {taint.key}{value}:{taint.effect}; add it to spec.scheduling.tolerations to use it",
            )
    return _not_whole(node, vendor)


def no_devices(node: Node, vendor: Vendor) -> SkippedNode:
    """Labels tell of accelerators, allocatable of none."""
    return _skip(
        node,
        "NoDevices",
        f"has labels of {vendor.name} accelerators but offers none of {', '.join(vendor.resources)}; "
        "check that the vendor's device plugin runs there",
    )


def unidentified(node: Node, vendor: Vendor, *, resource: str, devices: int) -> SkippedNode:
    """Devices without a product that the catalogue knows."""
    found = identity.named(node, vendor)
    offer = f"offers {devices} {resource}"
    if found:
        names = ", ".join(reading.value for reading in found)
        return _skip(
            node,
            UNKNOWN,
            f"{offer}, and its product {names} is not in the catalogue; if it equals a known one, set "
            "spec.hardware.product to that and spec.hardware.nodeSelector to a label of such nodes",
        )
    return _skip(
        node,
        UNLABELLED,
        f"{offer} but no label names the product; {vendor.install_hint}, or set spec.hardware.product "
        "and spec.hardware.nodeSelector",
    )


def contradiction(node: Node, vendor: Vendor, found: identity.Identity, *, devices: int) -> SkippedNode | None:
    """The first label that disagrees with the product or with allocatable."""
    product = found.accelerator.product
    others = identity.readings(node.labels, found.reading.key)
    if len(others) > 1:
        names = ", ".join(reading.value for reading in others)
        return _contradictory(node, f"has several kinds of accelerators ({names}) behind one resource", "split it")
    counts = [node.labels[key] for key in vendor.count_labels if key in node.labels]
    counts += [str(found.reading.count)] if found.reading.count is not None else []
    for count in counts:
        if count != str(devices):
            return _contradictory(
                node,
                f"has {count} devices by its labels but {devices} in allocatable",
                "repair the devices that are unhealthy, or restart the labeller",
            )
    memory = identity.memory_gib(node, vendor)
    expected = found.accelerator.memory_gib
    if memory is not None and memory < expected * (1 - MEMORY_TOLERANCE):
        return _contradictory(
            node,
            f"has {memory:.1f} GiB a device by its labels, and {product} has {expected:.1f} GiB",
            "restart the labeller; a smaller variant of the product is not in the catalogue",
        )
    expected_major = found.accelerator.compute_major
    majors = (node.labels[key] for key in vendor.compute_labels if key in node.labels)
    major = next(majors, None)
    if expected_major is not None and major not in {None, str(expected_major)}:
        return _contradictory(
            node,
            f"has compute capability {major} by its labels, and {product} has {expected_major}",
            "restart the labeller",
        )
    return None


def _not_whole(node: Node, vendor: Vendor) -> SkippedNode | None:
    for key, patterns in vendor.refused_labels.items():
        for reading in identity.readings(node.labels, key):
            if any(_refused(reading.value, pattern) for pattern in patterns):
                name, value = reading.label
                return _skip(
                    node,
                    "NotWhole",
                    f"shares, slices or partitions its devices ({name}={value}); the ranks need whole ones: "
                    "turn that off, or use other nodes",
                )
    for resource, amount in sorted(node.allocatable.items()):
        if amount > 0 and any(fnmatchcase(resource, pattern) for pattern in vendor.refused_resources):
            return _skip(
                node,
                "NotWhole",
                f"offers {amount} {resource}, parts of devices; the ranks need whole ones: turn slicing off, "
                "or use other nodes",
            )
    return None


def _refused(value: str, pattern: str) -> bool:
    if pattern.startswith("!"):
        return not fnmatchcase(value.upper(), pattern[1:].upper())
    return fnmatchcase(value, pattern)


def _tolerated(taint: Taint, vendor: Vendor, tolerations: Sequence[Toleration]) -> bool:
    return taint.key in vendor.taints or any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/."""
    if toleration.effect is not None and toleration.effect != taint.effect:
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.value


def _contradictory(node: Node, what: str, remedy: str) -> SkippedNode:
    return _skip(node, "Contradictory", f"{what}; {remedy}")


def _skip(node: Node, reason: str, what: str) -> SkippedNode:
    return SkippedNode(name=node.name, reason=reason, message=f"node {node.name} {what}")
