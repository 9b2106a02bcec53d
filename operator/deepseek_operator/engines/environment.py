"""The constant environment of the engine container, by vendor and fabric."""

from __future__ import annotations

from collections.abc import Mapping

from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.types import Vendor
from deepseek_operator.plan.types import Plan


def environment(plan: Plan, vendor: Vendor, engine: EngineFacts) -> Mapping[str, str]:
    """What every rank gets beside the contract of the launch script and what the fabric's preset adds.

    With RDMA nothing is pinned: NCCL finds adapters and, on RoCE, the GID index by itself since 2.21, and a pinned
    index that drifts is a hang (facts: sgl-project/sglang issues 3516, 4857, 4289, 4766).
    """
    return {
        **vendor.env,
        **engine.env.get(vendor.name, {}),
        **engine.env.get(plan.hardware.architecture, {}),
    }


def interface_variables(vendor: Vendor) -> tuple[tuple[str, str], ...]:
    """The vendor's variables for the network interface, and what stands before its name.

    NCCL and RCCL read a bare name as a prefix, so that eth1 would also take eth10; ``=`` makes it exact (NCCL user
    guide, NCCL_SOCKET_IFNAME). Gloo and HCCL take the name itself.
    """
    return tuple((name, "=" if name.startswith("NCCL_") else "") for name in vendor.interface_env)
