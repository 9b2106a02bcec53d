"""What an engine gives to render: commands, environment, ports and probes as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_operator.catalog.types import Mount


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How every rank of a group starts, and how one sees that it works.

    One pod template serves all ranks: ``script`` branches on NODE_RANK. ``leader_command`` and
    ``worker_command`` are what the script finally executes, with rank, leader address and keys already
    written as in a running pod where they are constant; they are for people, tests and `plan`.
    """

    script: str
    """Shell text for ``/bin/bash -c``; complete, every value quoted."""
    leader_command: tuple[str, ...]
    worker_command: tuple[str, ...]
    """Rank 1's; further workers differ in --node-rank only. Empty for a group of one node."""
    env: Mapping[str, str]
    """Constant environment of the engine container."""
    ports: Mapping[str, int]
    """Declared container ports by name (http, rendezvous, barrier), outside NodePort and ephemeral ranges."""
    startup_probe: tuple[str, ...]
    readiness_probe: tuple[str, ...]
    """Exec commands that branch on the rank."""
    probe_timeout_seconds: int
    probe_period_seconds: int
    startup_seconds: int
    termination_grace_seconds: int
    mounts: tuple[Mount, ...]
    """Driver directories of the node, where the vendor's runtime does not bring them."""
    writable: tuple[str, ...]
    """Directories of the container that need a scratch volume (caches)."""
