"""What vLLM's ranks do when something ends (0.32.0: v1/executor/multiproc_executor.py, entrypoints/cli/serve.py).

Nobody watches another node. The leader learns of a lost rank when it asks for a step and no answer comes for
VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS; a headless node whose leader is gone goes on for ever (vLLM issue 32136).
"""

from __future__ import annotations

from typing import Final

from e2e.engine.manners import Manners, nothing

MANNERS: Final = Manners(
    # torch's own limit of a collective with gloo (torch.distributed, default_pg_timeout).
    load_barrier_seconds=1800.0,
    notices_when_idle=False,
    ends_with_neighbour=False,
    ignores_sigterm=False,
    on_error=nothing,
)
