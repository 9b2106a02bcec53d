"""What the demo's ranks do when something ends: torch 2.4.1, and no word of its own about it.

A rank that fails ends its node by torchrun; the other nodes wait in NCCL for ten minutes.
"""

from __future__ import annotations

from typing import Final

from e2e.engine.manners import Manners, nothing

MANNERS: Final = Manners(
    load_barrier_seconds=600.0,
    notices_when_idle=False,
    ends_with_neighbour=False,
    ignores_sigterm=False,
    on_error=nothing,
)
