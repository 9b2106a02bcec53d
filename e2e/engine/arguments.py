"""The command line, read and resolved by the parser of the SGLang release that the image claims to be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(os.environ.get("STAND_IN_HOME", "/opt/engine"))
PROGRAM: Final = Path(__file__).parents[1] / "sglang_under_stubs.py"
PARSE_SECONDS: Final = 120
# An image is made for one vendor; SGLang asks torch, which is not here.
VENDOR: Final = os.environ.get("STAND_IN_VENDOR", "nvidia")


class RefusedError(Exception):
    """The engine would not start so; says why, and how it ends."""

    def __init__(self, reason: str, *, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


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
    request = {"model": _model(argv), "commands": [{"argv": list(argv), "vendor": VENDOR}]}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(home / "sources")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=PARSE_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(home / "packages")},
    )
    if done.returncode != 0:
        raise RuntimeError(f"SGLang's parser cannot be built: {done.stderr[-2000:]}")
    (outcome,) = json.loads(done.stdout)["outcomes"]
    if outcome["error"] is not None:
        # argparse ends with 2 and its own prefix, a failed check with a traceback and 1.
        raise RefusedError(outcome["error"], code=1 if outcome["values"] else 2)
    found: dict[str, Any] = outcome["values"]
    return found


def _model(argv: Sequence[str]) -> dict[str, Any]:
    """The checkpoint's config.json: SGLang reads it before it resolves anything else."""
    path = next((value for flag, value in pairwise(argv) if flag == "--model-path"), None)
    if path is None:
        return {"max_position_embeddings": 4096, "num_attention_heads": 1, "num_hidden_layers": 1}
    file = Path(path) / "config.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(f"Can't load the configuration of '{path}': {error}") from error
    return found
