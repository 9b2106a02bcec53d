"""Why a node with accelerators does not count: not usable now, not whole devices, or labels that contradict.

Each answer is a reason that scripts may match and a sentence that names the node, what is wrong and what would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from deepseek_operator.api.operation import Toleration
from deepseek_operator.catalog.types import Accelerator, Vendor
from deepseek_operator.plan import identity
from deepseek_operator.plan.types import Node, NodeDevices, SkippedNode, Taint

UNLABELLED: Final = "Unlabelled"
UNKNOWN: Final = "UnknownProduct"
NOT_REQUESTABLE: Final = "NotRequestable"
MEMORY_TOLERANCE: Final = 0.05
"""Labels of test fixtures and of some clouds are nominal sizes; figures within 5 % are the same product."""

_TOLD_OF_A_REASON: Final = 3
_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})


def told(skipped: Sequence[SkippedNode]) -> tuple[str, ...]:
    """The sentences of nodes that do not count: a few for each reason, then only how many more there are.

    A plan is stored with them, and hundreds of nodes may lack the same label.
    """
    reasons: dict[str, list[SkippedNode]] = {}
    for each in skipped:
        reasons.setdefault(each.reason, []).append(each)
    sentences: list[str] = []
    for reason, nodes in reasons.items():
        sentences += [each.message for each in nodes[:_TOLD_OF_A_REASON]]
        if len(nodes) > _TOLD_OF_A_REASON:
            sentences.append(f"{len(nodes) - _TOLD_OF_A_REASON} more nodes are left out for the same reason, {reason}")
    return tuple(sentences)


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
    beside = "" if _pci_label(node, vendor) else " and spec.hardware.nodeSelector to a label of such nodes"
    return _skip(
        node,
        UNLABELLED,
        f"{offer} but no label names the product; {vendor.install_hint}, or set spec.hardware.product{beside}",
    )


def contradiction(node: Node, vendor: Vendor, found: identity.Identity, *, devices: int) -> SkippedNode | None:
    """The first label that disagrees with the product or with allocatable."""
    accelerator = found.accelerator
    others = identity.readings(node.labels, found.reading.key, vendor)
    if len(others) > 1:
        names = ", ".join(reading.value for reading in others)
        return _contradictory(node, f"has several kinds of accelerators ({names}) behind one resource", "split it")
    return (
        too_many(node, vendor, devices=devices)
        or _count_contradiction(node, vendor, found, devices=devices)
        or _memory_contradiction(node, accelerator, identity.memory_gib(node, vendor))
        or _compute_contradiction(node, vendor, accelerator)
    )


def too_many(node: Node, vendor: Vendor, *, devices: int) -> SkippedNode | None:
    """More devices than a server carries: they are shares or partitions, whatever the labels say."""
    if devices <= vendor.most_devices:
        return None
    return _skip(
        node,
        "NotWhole",
        f"offers {devices} devices, and no server carries more than {vendor.most_devices}: they are shares or "
        "partitions; turn that off, or use other nodes",
    )


def contradictory_slices(node: Node, *, published: str, labelled: str) -> SkippedNode:
    """Labels and ResourceSlices name different products."""
    return _contradictory(node, f"has {published} by its ResourceSlices but {labelled} by its labels", "restart both")


def several_kinds(node: Node, devices: Sequence[NodeDevices]) -> SkippedNode:
    """ResourceSlices tell of several products, which one request cannot keep apart."""
    names = ", ".join(each.products[0][1] if each.products else "unnamed" for each in devices)
    return _contradictory(node, f"has several kinds of accelerators ({names}) in its ResourceSlices", "split it")


def unidentified_slices(node: Node, devices: NodeDevices) -> SkippedNode:
    """ResourceSlices of a product that the catalogue does not know."""
    names = " or ".join(value for _, value in devices.products) or "without a name"
    return _skip(
        node,
        UNKNOWN,
        f"has {devices.count} devices in ResourceSlices of {devices.driver}, and their product {names} is not in the "
        "catalogue; use other nodes",
    )


def parts_in_slices(node: Node, devices: NodeDevices) -> SkippedNode:
    """Partitions, pass-through, shared or tainted devices."""
    return _skip(
        node,
        "NotWhole",
        f"has {devices.parts} devices in ResourceSlices of {devices.driver} that are parts, shared, passed through or "
        "tainted; the ranks need whole ones: turn that off, or use other nodes",
    )


def not_requestable(node: Node, vendor: Vendor, devices: NodeDevices, product: str) -> SkippedNode:
    """Devices that only a ResourceClaim could reach; the rendered pods request an extended resource."""
    resource = vendor.resources[0]
    device_class = vendor.published.device_class if vendor.published else devices.driver
    return _skip(
        node,
        NOT_REQUESTABLE,
        f"has {devices.count} {product}, seen only in ResourceSlices of {devices.driver}; pods request {resource}, "
        f"which nothing there offers: set spec.extendedResourceName: {resource} in DeviceClass {device_class} "
        "(Kubernetes 1.34 or later with DRAExtendedResource), or install the vendor's device plugin",
    )


def memory_of(accelerator: Accelerator, told: float | None) -> float:
    """GiB of a device: what the node says where it is near the catalogue's figure, else the catalogue's."""
    if told is not None and abs(told / accelerator.memory_gib - 1) <= MEMORY_TOLERANCE:
        return told
    return accelerator.memory_gib


def memory_contradiction_of_slices(node: Node, accelerator: Accelerator, devices: NodeDevices) -> SkippedNode | None:
    """Less memory in ResourceSlices than the product has."""
    return _memory_contradiction(node, accelerator, devices.memory_gib)


def _count_contradiction(node: Node, vendor: Vendor, found: identity.Identity, *, devices: int) -> SkippedNode | None:
    counts = [node.labels[key] for key in vendor.count_labels if key in node.labels]
    counts += [str(found.reading.count)] if found.reading.count is not None else []
    for count in counts:
        if count != str(devices):
            return _contradictory(
                node,
                f"has {count} devices by its labels but {devices} in allocatable",
                "repair the devices that are unhealthy, or restart the labeller",
            )
    return None


def _memory_contradiction(node: Node, accelerator: Accelerator, memory: float | None) -> SkippedNode | None:
    expected = accelerator.memory_gib
    if memory is None or memory >= expected * (1 - MEMORY_TOLERANCE):
        return None
    return _contradictory(
        node,
        f"has {memory:.1f} GiB a device by its labels, and {accelerator.product} has {expected:.1f} GiB",
        "restart the labeller; a smaller variant of the product is not in the catalogue",
    )


def _compute_contradiction(node: Node, vendor: Vendor, accelerator: Accelerator) -> SkippedNode | None:
    told = identity.compute_capability(node, vendor)
    if told is None or accelerator.compute_major is None:
        return None
    # sm90 is 9.0, sm103 is 10.3.
    digits = accelerator.architecture.removeprefix("sm")
    expected = f"{digits[:-1]}.{digits[-1]}"
    if told in {expected, expected.partition(".")[0]}:
        return None
    return _contradictory(
        node,
        f"has compute capability {told} by its labels, and {accelerator.product} has {expected}",
        "restart the labeller",
    )


def _pci_label(node: Node, vendor: Vendor) -> bool:
    return any(node.labels.get(key) == "true" for key in vendor.pci_labels)


def _not_whole(node: Node, vendor: Vendor) -> SkippedNode | None:
    for key, patterns in vendor.refused_labels.items():
        for reading in identity.readings(node.labels, key, vendor):
            if any(_refused(reading.value, pattern) for pattern in patterns):
                name, value = reading.label
                return _skip(
                    node,
                    "NotWhole",
                    f"shares, slices or partitions its devices ({name}={value}); the ranks need whole ones: "
                    "turn that off, or use other nodes",
                    label=reading.label,
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


def _skip(node: Node, reason: str, what: str, *, label: tuple[str, str] | None = None) -> SkippedNode:
    return SkippedNode(name=node.name, reason=reason, message=f"node {node.name} {what}", label=label)
