"""The command line, read by the parser of the vLLM release that the image claims to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.engine.machine import RefusedError, devices
from e2e.engine.parser import HOME, VENDOR, ask, checkpoint

STORE_PORT: Final = 29501
"""Of torch's store; --master-port's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the ranks of a node need to know; ``values`` is everything vLLM's parser found."""

    model: str
    path: str
    host: str
    port: int
    tensor: int
    pipeline: int
    nodes: int
    node: int
    headless: bool
    store: tuple[str, int]
    dist_seconds: float
    keys: tuple[str, ...]
    values: Mapping[str, Any]

    @property
    def world(self) -> int:
        """Ranks of the whole group, one a device."""
        return self.tensor * self.pipeline

    @property
    def local(self) -> int:
        """Ranks of this node."""
        return self.world // self.nodes


def read(argv: Sequence[str], environment: Mapping[str, str], *, home: Path = HOME) -> Arguments:
    """Return what the command line means; raises ``RefusedError`` with vLLM's own words."""
    values = _ask_vllm(argv, environment, home=home)
    nodes, node = int(values.get("nnodes") or 1), int(values.get("node_rank") or 0)
    path = str(values.get("model_tag") or values["model"])
    tensor, pipeline = int(values["tensor_parallel_size"]), int(values["pipeline_parallel_size"])
    if values.get("headless") and values.get("api_server_count"):
        # entrypoints/cli/serve.py: not the parser's, and not the configuration's.
        raise RefusedError("--api-server-count cannot be used with --headless (no API servers are started)")
    names = values.get("served_model_name") or [path]
    given = values.get("api_key") or environment.get("VLLM_API_KEY") or ()
    return Arguments(
        model=str(names if isinstance(names, str) else names[0]),
        path=path,
        host=str(values.get("host") or "0.0.0.0"),  # noqa: S104 - vLLM's default
        port=int(values["port"]),
        tensor=tensor,
        pipeline=pipeline,
        nodes=nodes,
        node=node,
        headless=bool(values.get("headless")),
        # A worker without --master-addr waits for itself.
        store=(str(values.get("master_addr") or "127.0.0.1"), int(values.get("master_port") or STORE_PORT)),
        dist_seconds=float(values.get("distributed_timeout_seconds") or 600),
        keys=(given,) if isinstance(given, str) else tuple(given),
        values=values,
    )


def _ask_vllm(argv: Sequence[str], environment: Mapping[str, str], *, home: Path) -> dict[str, Any]:
    path = next((word for word in argv if not word.startswith("-")), "")
    request = {
        "commands": [list(argv)],
        "vendor": VENDOR,
        "devices": len(devices(environment)),
        "model": checkpoint(path),
    }
    return ask("under_stubs/vllm.py", request, home=home)
