"""Where compiled kernels are kept between starts: a directory of each node, where the administrator configured one.

Compiling takes minutes to half an hour (SGLang issue 18823), and what comes out depends on the image, the device's
architecture and driver, the model and its split, all of which name the directory. Files of another key are never read.
"""

from __future__ import annotations

import hashlib

from deepseek_operator.plan.types import EngineChoice, Facts, HardwareClass, KernelCache, Parallelism, WeightsPlan


def kernel_cache(
    *,
    facts: Facts,
    namespace: str,
    model: str,
    weights: WeightsPlan,
    engine: EngineChoice,
    hardware: HardwareClass,
    split: Parallelism,
) -> KernelCache | None:
    """The directory of one kind of start; None without a directory of the nodes.

    Where the weights lie on the node, so do the kernels: one volume is enough.
    """
    if facts.node_path is None:
        return None
    parts = (
        engine.image,
        hardware.architecture,
        hardware.driver or "",
        model,
        weights.layout,
        f"tp{split.tensor}-pp{split.pipeline}-dp{split.attention_data}-ep{split.expert}",
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
    if weights.volume == "node":
        return KernelCache(folder=f"kernels/{key}")
    path = f"{facts.node_path}/{namespace}/kernels/{key}"
    return KernelCache(folder="cache", claim=f"kernels-{key}", node_path=path)
