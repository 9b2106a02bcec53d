"""What a pod requests beside its accelerators, and how long it may take until it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deepseek_operator.plan.types import HardwareClass, Requests, WeightsPlan, WeightsVolume

_GIB: Final = 2**30
_SHARE: Final = 0.9
"""Of a node's allocatable; the rest is for daemons that come later than the plan."""
_SHM_BYTES: Final = 32 * _GIB
"""SGLang's own container runs use --shm-size 32g (benchmark/deepseek_v3/README.md)."""
_EXPECTED_MILLICORES: Final = 2000
"""For each device of a node that does not exist yet: scheduler, tokenizer and loader threads."""
_EXPECTED_BYTES: Final = 16 * _GIB
"""The same for memory, beside /dev/shm."""
_READ_GIB_PER_SECOND: Final[Mapping[WeightsVolume, float]] = {
    "node": 0.5,
    "ephemeral": 0.5,
    "perRank": 0.25,
    "shared": 0.25,
    "claim": 0.25,
    "mounted": 0.25,
}
"""Cautious rates of one node. A network disk: 12 to 20 minutes for DeepSeek-V3 (SGLang issues #3783 and #39128). A
node's own disk reads several times faster (2.2 GiB/s, issue #3416); half a GiB covers SATA, too."""
_WARM_UP_SECONDS: Final = 1800
"""Kernel compilation and graph capture on a cold cache (SGLang issue #18823: about 30 minutes)."""
_LEAST_SECONDS: Final = 3600


def requests(hardware: HardwareClass, *, devices: int) -> Requests:
    """Resources of one pod with ``devices`` accelerators, in proportion to the node."""
    share = _SHARE * devices / hardware.accelerators_per_node
    if hardware.nodes and hardware.memory_bytes:
        memory = int(hardware.memory_bytes * share)
        cpu = int(hardware.cpu_millicores * share)
        return Requests(
            accelerators=devices,
            cpu_millicores=cpu,
            memory_bytes=memory,
            shm_bytes=min(_SHM_BYTES, int(hardware.memory_bytes * share / _SHARE) // 4),
        )
    return Requests(
        accelerators=devices,
        cpu_millicores=_EXPECTED_MILLICORES * devices,
        memory_bytes=_EXPECTED_BYTES * devices + _SHM_BYTES,
        shm_bytes=_SHM_BYTES,
    )


def startup_seconds(weights: WeightsPlan) -> int:
    """The budget from start to serving: reading at a slow rate of its volume and warming up, at least an hour."""
    return budget_seconds(weights.size_gib, gib_per_second=_READ_GIB_PER_SECOND[weights.volume])


def budget_seconds(size_gib: float, *, gib_per_second: float) -> int:
    """The same at a known rate."""
    return max(_LEAST_SECONDS, int(size_gib / gib_per_second) + _WARM_UP_SECONDS)
