"""Where a running group stands on its way to serving, from its pods alone."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_operator.api.names import PREFLIGHT_CONTAINER
from deepseek_operator.api.status import Stage
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.records import PodRecord

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError", "ErrImageNeverPull"}
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def stage_of(pods: Sequence[PodRecord], *, size: int) -> tuple[Stage, str]:
    """The stage of a group that should run, and a message that names the rank it waits for.

    The worker's startup probe counts its scheduler processes, which exist only after the rank barrier; the leader's
    asks the engine's health. So a worker that has not started means rendezvous, the leader alone means loading.
    """
    if len(pods) < size:
        missing = sorted(set(range(size)) - {pod.rank for pod in pods})
        return "Pending", f"waiting for the pods of ranks {_ranks(missing)}"
    if unplaced := [pod for pod in pods if not pod.scheduled]:
        return "WaitingForNodes", _waiting(unplaced, unplaced[0].waiting_message or "not scheduled yet")
    for pod in pods:
        reason = pod.init_reason or (pod.engine.reason if pod.engine.state == "waiting" else "")
        if reason in IMAGE_REASONS:
            return "PullingImage", f"rank {pod.rank}: {reason}"
        if reason in CONFIG_REASONS:
            return "Failed", f"rank {pod.rank}: {reason} {pod.engine.message}".rstrip()
    if before := _before_engines(pods):
        return before
    if pulling := [pod for pod in pods if pod.engine.state != "running"]:
        return "PullingImage", _waiting(pulling, "container not started yet")
    if late := [pod for pod in pods if pod.rank > 0 and not pod.engine.started]:
        return "Rendezvous", _waiting(late, "not joined yet")
    if not all(pod.engine.started for pod in pods):
        return "Loading", "loading weights"
    if waiting := [pod for pod in pods if not pod.ready]:
        return "Warming", _waiting(waiting, "not ready")
    return "Serving", ""


def _before_engines(pods: Sequence[PodRecord]) -> tuple[Stage, str] | None:
    """What init containers are at."""
    if checking := [pod for pod in pods if pod.step == PREFLIGHT_CONTAINER]:
        return "Rendezvous", _waiting(checking, "all devices of the group are to add up a tensor (preflight)")
    if fetching := [pod for pod in pods if pod.fetching]:
        failed = next((pod for pod in fetching if pod.init_message), None)
        words = f"; rank {failed.rank} failed and tries again: {masked(failed.init_message.strip())}" if failed else ""
        return "FetchingWeights", _waiting(fetching, "fetching or checking weights") + words
    return None


def _waiting(pods: Sequence[PodRecord], what: str) -> str:
    return f"ranks {_ranks([pod.rank for pod in pods])}: {what}"


def _ranks(ranks: Sequence[int]) -> str:
    return ", ".join(str(rank) for rank in sorted(ranks))
