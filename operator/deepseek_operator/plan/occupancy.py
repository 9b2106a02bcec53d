"""Which devices are taken, and how many groups could start on what is left.

Three answers are kept apart: a class that does not fit (``assessment``), a class that fits and is free, and one that
fits and is busy. A busy class is still planned, because its pods must exist for an autoscaler or a queue to see
them, but free ones come first.

What is taken on a node is what pods bound to it request, and what pods that were planned but have no node yet will
request. For the latter no node is known: they are put on free nodes of their class, in the order of names, so that
a burst of deployments does not count the same nodes twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.catalog.types import Catalog
from deepseek_operator.plan.quantities import whole
from deepseek_operator.plan.types import HardwareClass

_IMPLICIT_PREFIX: Final = "deviceclass.resource.kubernetes.io/"
"""Before the name of a DeviceClass: an extended resource that every class has (KEP-5004)."""

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_FOR_A_REQUEST: Final = "resource.kubernetes.io/extended-resource-claim"
"""Marks the claims that the scheduler makes for pods with an extended resource: they count by their requests."""
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Pods of one deployment that were planned and have no node yet."""

    hardware: HardwareClass
    nodes_per_group: int
    devices: int
    """Of each pod."""
    pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """By which names pods and claims hold accelerators."""

    resources: frozenset[str]
    """Extended resources."""
    drivers: frozenset[str]
    """DRA drivers."""


def holders(catalog: Catalog) -> Holders:
    """The names of all vendors; extended resources that DeviceClasses have by themselves are among them."""
    published = [vendor.published for vendor in catalog.vendors.values() if vendor.published is not None]
    named = [name for vendor in catalog.vendors.values() for name in vendor.resources]
    return Holders(
        resources=frozenset(named + [_IMPLICIT_PREFIX + each.device_class for each in published]),
        drivers=frozenset(each.driver for each in published),
    )


def requested(pod: Manifest, resources: frozenset[str]) -> int:
    """Accelerators that a pod holds on its node: what its containers request together, or its largest init container.

    Containers that are restarted beside the others (sidecars) count with them. Finished pods hold nothing; pods that
    are being deleted still do.
    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    spec = pod.get("spec") or {}
    if (pod.get("status") or {}).get("phase") in _FINISHED or not spec.get("nodeName"):
        return 0
    together = sum(_devices(each, resources) for each in spec.get("containers") or ())
    largest = 0
    for each in spec.get("initContainers") or ():
        devices = _devices(each, resources)
        if each.get("restartPolicy") == "Always":
            together += devices
        largest = max(largest, devices)
    return max(together, largest)


def allocated(claim: Manifest, drivers: frozenset[str]) -> Iterator[str]:
    """Nodes of the accelerators that a ResourceClaim holds, one for each device.

    Drivers of accelerators publish a pool for each node under the node's name (kubernetes-sigs/dra-driver-nvidia-gpu,
    ROCm/k8s-gpu-dra-driver). Access for administration holds nothing.
    """
    if (claim.get("metadata") or {}).get("annotations", {}).get(_FOR_A_REQUEST) is not None:
        return
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for result in (allocation.get("devices") or {}).get("results") or ():
        if result.get("driver") in drivers and not result.get("adminAccess"):
            yield str(result.get("pool", ""))


def startable(hardware: HardwareClass, used: Mapping[str, int], *, nodes: int, devices: int, wanted: int = 1) -> int:
    """How many groups of ``nodes`` pods with ``devices`` each could start now, at most ``wanted``.

    A group takes different nodes, in one domain where the class has a topology key.
    """
    groups = 0
    for names in _domains(hardware):
        rooms = [(hardware.accelerators_per_node - used.get(name, 0)) // devices for name in names]
        rooms = [room for room in rooms if room > 0]
        groups += _groups(rooms, nodes, wanted - groups)
        if groups >= wanted:
            break
    return groups


def widest(hardware: HardwareClass) -> int:
    """The most nodes that one group can have: those of the class, or of its largest domain."""
    return max((len(names) for names in _domains(hardware)), default=0)


def reserve(used: dict[str, int], waiting: Waiting) -> dict[str, int]:
    """Puts pods without a node on free nodes of their class, adding to ``used``; returns what was added, by node.

    What finds no free node is left out: it waits, and takes nothing.
    """
    taken: dict[str, int] = {}
    left = waiting.pods
    while left > 0:
        size = min(left, waiting.nodes_per_group)
        names = _free(waiting, used, size)
        if not names:
            break
        for name in names:
            used[name] = used.get(name, 0) + waiting.devices
            taken[name] = taken.get(name, 0) + waiting.devices
        left -= size
    return taken


def without(used: Mapping[str, int], own: Mapping[str, int]) -> Mapping[str, int]:
    """What is taken by others than the owner of ``own``."""
    if not own:
        return used
    return {name: amount - own.get(name, 0) for name, amount in used.items()}


def busy_nodes(hardware: HardwareClass, used: Mapping[str, int], *, devices: int) -> tuple[str, ...]:
    """Nodes that have not enough free devices for a pod."""
    most = hardware.accelerators_per_node - devices
    return tuple(name for name in hardware.nodes if used.get(name, 0) > most)


def _domains(hardware: HardwareClass) -> Iterable[Sequence[str]]:
    return hardware.domains.values() if hardware.topology_key is not None else (hardware.nodes,)


def _groups(rooms: Sequence[int], nodes: int, most: int) -> int:
    """Groups of ``nodes`` different nodes, where node i has room for ``rooms[i]`` pods."""
    groups = 0
    while groups < most and sum(min(room, groups + 1) for room in rooms) >= (groups + 1) * nodes:
        groups += 1
    return groups


def _free(waiting: Waiting, used: Mapping[str, int], size: int) -> list[str]:
    most = waiting.hardware.accelerators_per_node - waiting.devices
    for names in _domains(waiting.hardware):
        found: list[str] = []
        for name in names:
            if used.get(name, 0) <= most:
                found.append(name)
                if len(found) == size:
                    return found
    return []


def _devices(container: Manifest, resources: frozenset[str]) -> int:
    told = container.get("resources") or {}
    # Extended resources have request and limit alike; either may be written alone.
    amounts = {**(told.get("requests") or {}), **(told.get("limits") or {})}
    return sum(whole(amount) for name, amount in amounts.items() if name in resources)
