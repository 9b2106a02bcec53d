"""The engine as an image with any tag: its files are the environment's, which every container sees (``mounts``)."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster.images import write


def build(archive: Path, *, tag: str, environment: Path) -> Path:
    """Write the archive; return its path."""
    return write(
        archive,
        tags=[tag],
        command=["/bin/bash"],
        environment={
            "PATH": f"{environment}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONUNBUFFERED": "1",
            # What the build for processors wants to be told: GiB of KV cache, and that its threads are not pinned.
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
        },
    )
