"""What SGLang 0.5.23's ranks do when something ends (managers/scheduler.py, model_runner.py)."""

from __future__ import annotations

from typing import Final

from e2e.engine.manners import Manners, quit_parent

MANNERS: Final = Manners(
    # UNBALANCED_MODEL_LOADING_TIMEOUT_S: no flag, no variable.
    load_barrier_seconds=480.0,
    notices_when_idle=True,
    ends_with_neighbour=True,
    ignores_sigterm=True,
    on_error=quit_parent,
)
