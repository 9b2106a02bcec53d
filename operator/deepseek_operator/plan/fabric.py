"""What carries tensor parallelism from node to node, and whether anything does."""

from __future__ import annotations

from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Fabric
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
    resource = fabric.rdma.resource or (hardware.rdma_resource if nodes > 1 else None)
    count = 0
    if resource is not None:
        amount = _amount(fabric, hardware, catalog, resource)
        if isinstance(amount, Problem):
            return amount
        count = amount
    return FabricPlan(
        mode=fabric.mode,
        collective=vendor.collective,
        interface=fabric.interface,
        rdma_resource=resource,
        rdma_count=count,
        carrier=_carrier(fabric, resource=resource, own_network=vendor.own_network, nodes=nodes),
    )


def carries_tensor(fabric: FabricPlan) -> bool:
    """Whether tensor parallelism may cross nodes."""
    return fabric.carrier in {"rdma", "ascend", "host"}


def _carrier(fabric: Fabric, *, resource: str | None, own_network: bool, nodes: int) -> str:
    if own_network:
        return "ascend"
    if nodes == 1:
        return "node"
    if resource is not None:
        return "rdma"
    return "host" if fabric.mode == "host" else "tcp"


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
