"""The engine as an image with any tag: its files are the environment's, which every container sees (``mounts``)."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster.images import write
from e2e.cluster.requirements import SYSTEM_PATH
from e2e.vllm_cpu.environment import SEEN_AT


def build(archive: Path, *, tag: str) -> Path:
    """Write the archive; return its path."""
    return write(
        archive,
        tags=[tag],
        command=["/bin/bash"],
        environment={
            "PATH": f"{SEEN_AT}/bin:{SYSTEM_PATH}",
            "PYTHONUNBUFFERED": "1",
            # What the build for processors wants to be told: GiB of KV cache, and that its threads are not pinned.
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
        },
    )
