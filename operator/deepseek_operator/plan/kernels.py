"""Where compiled kernels are kept between starts: a directory of each node, where the administrator configured one.

Compiling takes minutes to half an hour (SGLang issue 18823), and what comes out depends on the image, the device's
architecture and driver, the model and its split, all of which name the directory. Files of another key are never read.
"""

from __future__ import annotations

import hashlib

from deepseek_operator.plan.types import EngineChoice, Facts, HardwareClass, KernelCache, Parallelism


def kernel_cache(
    *,
    facts: Facts,
    namespace: str,
    model: str,
    precision: str,
    engine: EngineChoice,
    hardware: HardwareClass,
    split: Parallelism,
) -> KernelCache | None:
    """The directory of one kind of start; None without a directory of the nodes."""
    if facts.node_path is None:
        return None
    parts = (
        namespace,
        engine.image,
        hardware.architecture,
        hardware.driver or "",
        model,
        precision,
        f"tp{split.tensor}-pp{split.pipeline}-dp{split.attention_data}-ep{split.expert}",
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
    return KernelCache(claim=f"kernels-{key}", node_path=f"{facts.node_path}/{namespace}/kernels/{key}")
