"""What a row of the tables of clusters says, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepseek_operator.api.operation import Toleration
from tests.unit.plan.labellers import ARM, amd, gfd, machine
from tests.unit.plan.nodes import Manifest

H100_PRODUCT = "NVIDIA-H100-80GB-HBM3"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    nodes: list[Manifest]
    classes: list[str]
    """``product xDEVICES: nodes``, with the architecture of the host where it is arm64."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by node."""
    pins: list[str] | None = None
    """Labels that pin the pods of each class, joined by a comma."""
    gib: float | None = None
    """Of a device of the first class."""
    slices: list[Manifest] = field(default_factory=list)
    device_classes: list[Manifest] = field(default_factory=list)
    tolerations: tuple[Toleration, ...] = ()


def nvidia(product: str, memory: int, cc: str, *, gib: float, count: int = 8, arm: bool = False) -> Cluster:
    """Two nodes of a product, labelled by GPU Feature Discovery."""
    labels = gfd(product, memory=memory, cc=cc, count=count) | (ARM if arm else {})
    host = " arm64" if arm else ""
    return Cluster(
        nodes=[machine(name, labels, taint="nvidia.com/gpu", nvidia__gpu=count) for name in ("a", "b")],
        classes=[f"{product} x{count}{host}: a b"],
        pins=[f"nvidia.com/gpu.product={product}"],
        gib=gib,
    )


def radeon(device_id: str, name: str, product: str, vram: int, *, count: int = 8, partition: bool = True) -> Cluster:
    labels = amd(device_id, name, vram, partition="SPX_NPS1" if partition else None, count=count)
    return Cluster(
        nodes=[machine("a", labels, taint="amd.com/gpu", amd__gpu=count)],
        classes=[f"{product} x{count}: a"],
        pins=[f"amd.com/gpu.device-id={device_id}"],
        gib=vram,
    )


def named(resources: dict[str, int]) -> dict[str, int]:
    """``nvidia__gpu`` stands for nvidia.com/gpu."""
    return {key.replace("__", ".com/"): amount for key, amount in resources.items()}


def one(
    labels: dict[str, str],
    result: str,
    *,
    gib: float | None = None,
    pin: str | None = None,
    taint: str | None = None,
    extra: dict[str, int] | None = None,
    **resources: int,
) -> Cluster:
    """A cluster of one node ``a``: ``result`` is its class, or ``!Reason``."""
    node = machine("a", labels, taint=taint, extra={**(extra or {}), **named(resources)})
    if result.startswith("!"):
        return Cluster(nodes=[node], classes=[], skipped={"a": result[1:]})
    return Cluster(nodes=[node], classes=[f"{result}: a"], gib=gib, pins=[pin] if pin else None)


def sliced(
    result: str,
    *slices: Manifest,
    classes: list[Manifest],
    labels: dict[str, str] | None = None,
    devices: dict[str, int] | None = None,
) -> Cluster:
    """One node ``a`` whose devices stand in ResourceSlices."""
    cluster = one(labels or {}, result, extra=devices)
    return Cluster(
        nodes=cluster.nodes,
        classes=cluster.classes,
        skipped=cluster.skipped,
        slices=list(slices),
        device_classes=classes,
    )
