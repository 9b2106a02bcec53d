"""What carries tensor parallelism from node to node, and whether anything does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Fabric
from deepseek_operator.catalog.fabric_types import FabricPreset
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.plan.inventory import rdma_count
from deepseek_operator.plan.types import FabricPlan, HardwareClass

HOW_TO_CARRY: Final = (
    "install an RDMA device plugin that advertises the adapters (rdma/*), name its resource in "
    "spec.fabric.rdma.resource, or set spec.fabric.mode to host where the operator allows it"
)


def weave(fabric: Fabric, hardware: HardwareClass, catalog: Catalog, *, nodes: int) -> FabricPlan | Problem:
    """The traffic of a group on ``nodes`` nodes of a class."""
    vendor = catalog.vendors[hardware.vendor]
    named = _named(fabric, hardware, catalog)
    if isinstance(named, Problem):
        return named
    resource = _resource(fabric, hardware, named, nodes=nodes)
    if isinstance(resource, Problem):
        return resource
    count = 0
    if resource is not None:
        amount = _amount(fabric, hardware, catalog, resource)
        if isinstance(amount, Problem):
            return amount
        count = amount
    alone = nodes == 1 and resource is None and not vendor.own_network
    preset = named or (None if alone else _fitting(fabric, hardware, catalog, resource))
    return FabricPlan(
        mode=fabric.mode,
        collective=vendor.collective,
        interface=fabric.interface,
        rdma_resource=resource,
        rdma_count=count,
        carrier="node" if preset is None or (nodes == 1 and not vendor.own_network) else preset.carrier,
        preset=preset.name if preset else "",
    )


def carries_tensor(fabric: FabricPlan) -> bool:
    """Whether tensor parallelism may cross nodes."""
    return fabric.carrier in {"rdma", "ascend", "host"}


def unseen_needs(fabric: FabricPlan, annotations: Mapping[str, str], catalog: Catalog) -> Iterator[str]:
    """What the preset needs beyond what the plan can see, unless the user's annotations answer it."""
    preset = catalog.fabrics.get(fabric.preset)
    if preset is not None and preset.needs and preset.answered_by not in annotations:
        yield f"fabric {preset.name} ({preset.title}): {preset.needs}"


def _named(fabric: Fabric, hardware: HardwareClass, catalog: Catalog) -> FabricPreset | Problem | None:
    """The preset that the user names; a Problem where it does not go with the class or the mode."""
    if fabric.preset is None:
        return None
    preset = catalog.fabrics.get(fabric.preset)
    fitting = [
        each.name for each in catalog.fabrics.values() if hardware.vendor in each.vendors and fabric.mode in each.modes
    ]
    if preset is not None and preset.name in fitting:
        return preset
    why = "is not known" if preset is None else f"is not for {hardware.vendor} with spec.fabric.mode {fabric.mode}"
    return Problem(
        field="spec.fabric.preset",
        reason="FabricPresetUnsuitable",
        message=f"{fabric.preset} {why}; use {' or '.join(fitting)}, or leave it out",
        suggestions=tuple(Suggestion(changes=(("spec.fabric.preset", name),)) for name in fitting),
    )


def _resource(
    fabric: Fabric, hardware: HardwareClass, named: FabricPreset | None, *, nodes: int
) -> str | Problem | None:
    """The RDMA resource that each pod requests."""
    if named is None:
        return fabric.rdma.resource or (hardware.rdma_resource if nodes > 1 else None)
    wanted = fabric.rdma.resource
    offered = [wanted] if wanted else [hardware.rdma_resource, *hardware.extended]
    patterns = named.rdma if wanted else _own_patterns(named)
    found = next((each for each in offered if each and any(fnmatchcase(each, pattern) for pattern in patterns)), None)
    if found is not None:
        return found
    if wanted is None and not named.rdma:
        return None
    message = (
        f"preset {named.name} does not go with {wanted}; leave one of them out"
        if wanted
        else f"preset {named.name} needs {' or '.join(named.rdma)} on all nodes of {hardware.product}, which offer "
        f"{', '.join(sorted(hardware.extended)) or 'no such resource'}; install its device plugin, or leave it out"
    )
    return Problem(field="spec.fabric.preset", reason="FabricPresetUnsuitable", message=message)


def _own_patterns(preset: FabricPreset) -> list[str]:
    """Without the user's word not any device resource is one of RDMA."""
    return ["rdma/*" if pattern == "*" else pattern for pattern in preset.rdma]


def _fitting(fabric: Fabric, hardware: HardwareClass, catalog: Catalog, resource: str | None) -> FabricPreset | None:
    """The first preset that goes with what the class shows; the catalogue is checked to have one."""

    def fits(preset: FabricPreset) -> bool:
        if hardware.vendor not in preset.vendors or fabric.mode not in preset.modes:
            return False
        if preset.rdma:
            return resource is not None and any(fnmatchcase(resource, pattern) for pattern in preset.rdma)
        return not preset.labels or preset.name == hardware.fabric

    return next((each for each in catalog.fabrics.values() if fits(each)), None)


def _amount(fabric: Fabric, hardware: HardwareClass, catalog: Catalog, resource: str) -> int | Problem:
    # A class without nodes is one that is still expected: what its nodes offer is the user's word.
    offered = hardware.extended.get(resource, 0) if hardware.nodes else (fabric.rdma.count or 1)
    if offered == 0:
        known = ", ".join(sorted(hardware.extended)) or "no such resource"
        return Problem(
            field="spec.fabric.rdma.resource",
            reason="RDMAResourceMissing",
            message=f"no {resource} on all nodes of {hardware.product} (they offer: {known}); name one of those, or "
            "leave it out",
            suggestions=tuple(
                Suggestion(changes=(("spec.fabric.rdma.resource", name),)) for name in sorted(hardware.extended)
            ),
        )
    count = fabric.rdma.count or rdma_count(resource, hardware.extended, catalog)
    if count > offered:
        return Problem(
            field="spec.fabric.rdma.count",
            reason="RDMACountTooLarge",
            message=f"a node of {hardware.product} offers {offered} {resource}, not {count}; use at most {offered}",
            suggestions=(Suggestion(changes=(("spec.fabric.rdma.count", offered),)),),
        )
    return count
