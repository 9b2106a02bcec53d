"""The command line, read and resolved by the parser of the SGLang release that the image claims to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from e2e.engine.machine import RefusedError
from e2e.engine.parser import HOME, VENDOR, ask, checkpoint

NO_MODEL: Final = {"max_position_embeddings": 4096, "num_attention_heads": 1, "num_hidden_layers": 1}
"""Without --model-path the parser refuses before it reads any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the ranks of a node need to know; ``values`` is everything SGLang's parser found."""

    model: str
    host: str
    port: int
    tensor: int
    pipeline: int
    attention_data: int
    nodes: int
    node: int
    store: tuple[str, int] | None
    dist_seconds: float
    watchdog_seconds: float
    api_key: str | None
    admin_key: str | None
    metrics: bool
    values: Mapping[str, Any]

    @property
    def world(self) -> int:
        """Ranks of the whole group, one a device."""
        return self.tensor * self.pipeline

    @property
    def local(self) -> int:
        """Ranks of this node."""
        return self.world // self.nodes

    @property
    def first(self) -> int:
        """The first of this node's ranks."""
        return self.node * self.local


def read(argv: Sequence[str], *, home: Path = HOME) -> Arguments:
    """Return what the command line means; raises ``RefusedError`` with SGLang's own words."""
    values = _ask_sglang(argv, home=home)
    nodes, node = int(values.get("nnodes") or 1), int(values.get("node_rank") or 0)
    if node not in range(nodes):
        raise RefusedError(f"node_rank {node} is not a node of nnodes {nodes}")
    store = values.get("dist_init_addr")
    if nodes > 1 and not store:
        raise RefusedError(f"nnodes is {nodes}, and no --dist-init-addr says where they meet")
    host, _, port = str(store or "").rpartition(":")
    if store and not (host and port.isdigit()):
        raise RefusedError(f"--dist-init-addr {store}: expected HOST:PORT")
    return Arguments(
        model=str(values.get("served_model_name") or values["model_path"]),
        host=str(values["host"]),
        port=int(values["port"]),
        tensor=int(values["tp_size"]),
        pipeline=int(values["pp_size"]),
        attention_data=int(values.get("attn_dp_size") or 1),
        nodes=nodes,
        node=node,
        store=(host.strip("[]"), int(port)) if store else None,
        dist_seconds=float(values.get("dist_timeout") or 1800),
        watchdog_seconds=float(values.get("watchdog_timeout") or 300),
        api_key=values.get("api_key"),
        admin_key=values.get("admin_api_key"),
        metrics=bool(values.get("enable_metrics")),
        values=values,
    )


def _ask_sglang(argv: Sequence[str], *, home: Path) -> dict[str, Any]:
    path = next((value for flag, value in pairwise(argv) if flag == "--model-path"), None)
    model = checkpoint(path) if path is not None else NO_MODEL
    request = {"model": model, "commands": [{"argv": list(argv), "vendor": VENDOR}]}
    return ask("sglang_under_stubs.py", request, home=home)
