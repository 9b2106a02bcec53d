"""Weights before a group starts: the Job that a shared claim needs, how far all of it is, and what is in its way.

For other volumes the containers that prepare weights run in the group's own pods, and nothing comes before these. With
a shared claim no pod of a group exists before the Job is complete, and no serving group is stopped for a revision whose
weights are still on their way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from deepseek_operator.api.names import CONVERT_CONTAINER, FETCH_CONTAINER, VERIFY_CONTAINER
from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.conditions import Condition
from deepseek_operator.lifecycle.entries import GroupEntry, Progress
from deepseek_operator.lifecycle.masking import masked
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.records import JobRecord, PodRecord, Snapshot
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.weights_job import KIND, weights_job

_STEPS: Final = {
    FETCH_CONTAINER: ("FetchingWeights", "fetches weights"),
    CONVERT_CONTAINER: ("ConvertingWeights", "converts weights"),
    VERIFY_CONTAINER: ("VerifyingWeights", "verifies weights and reads them into memory"),
}
_SHOWN: Final = 4
"""Pods that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What must be complete before a group of the current revision starts."""

    job: Mapping[str, Any] | None
    """Wanted; None where the group's own pods do everything."""
    seen: JobRecord | None
    pods: tuple[PodRecord, ...]
    """Of that Job."""
    progress: Progress | None

    @property
    def complete(self) -> bool:
        """Groups may start."""
        return self.job is None or (self.seen is not None and self.seen.complete)

    @property
    def message(self) -> str:
        """What groups wait for."""
        if self.job is None or self.complete:
            return ""
        name = self.job["metadata"]["name"]
        if not self.pods:
            return f"Job {name} has no pod yet" + (f": {self.seen.trouble}" if self.seen and self.seen.trouble else "")
        words = [_told(pod, self.progress) for pod in self.pods[:_SHOWN]]
        return f"Job {name}: {'; '.join(words)}"


def preparation(snapshot: Snapshot, outcome: Outcome) -> Preparation:
    """What the weights of the current plan need, and how far that is."""
    job = None
    if outcome.spec is not None and outcome.plan is not None:
        deployment = snapshot.deployment
        owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)
        job = weights_job(owner, outcome.spec, outcome.plan)
    seen = snapshot.children.get((KIND, job["metadata"]["name"])) if job else None
    if isinstance(seen, JobRecord):
        seen = replace(seen, trouble=seen.trouble or snapshot.troubles.get(seen.uid, ""))
    pods = tuple(pod for pod in snapshot.preparing if job and pod.job == job["metadata"]["name"] and not pod.deleting)
    return Preparation(
        job=job,
        seen=seen if isinstance(seen, JobRecord) else None,
        pods=pods,
        progress=together(snapshot.progress[pod.uid] for pod in pods if pod.uid in snapshot.progress),
    )


def together(parts: Iterable[Progress]) -> Progress | None:
    """The progress of several pods as one: bytes and rates add up, the slowest tells how long it takes."""
    found = tuple(parts)
    if not found:
        return None
    rates = [each.bytes_per_second for each in found if each.bytes_per_second is not None]
    left = [each.seconds_left for each in found if each.seconds_left is not None]
    slowest = max(found, key=lambda each: (each.seconds_left or 0, each.bytes_total - each.bytes_done))
    return Progress(
        phase=slowest.phase,
        bytes_done=sum(each.bytes_done for each in found),
        bytes_total=sum(each.bytes_total for each in found),
        bytes_per_second=sum(rates) if rates else None,
        seconds_left=max(left) if len(left) == len(found) else None,
    )


def with_progress(entry: GroupEntry, snapshot: Snapshot, prepared: Preparation) -> GroupEntry:
    """The entry with what its pods, or the Job before them, told of their work."""
    if entry.stage != "FetchingWeights":
        return replace(entry, progress=None)
    pods = [pod for pod in snapshot.pods.get(entry.index, ()) if pod.fetching]
    progress = together(snapshot.progress[pod.uid] for pod in pods if pod.uid in snapshot.progress)
    if not pods:
        return replace(entry, progress=prepared.progress)
    return replace(entry, progress=progress, message=_with(entry.message, progress))


def weights_ready(
    snapshot: Snapshot, outcome: Outcome, active: Sequence[GroupEntry], prepared: Preparation
) -> Condition:
    """Condition WeightsReady: which step, how far, and what is in the way on which node."""

    def verdict(status: Any, reason: str, message: str = "") -> Condition:
        return Condition(type="WeightsReady", status=status, reason=reason, message=message)

    plan = outcome.plan
    if plan is None:
        return verdict("Unknown", "NotPlanned")
    placed = [pod for entry in active for pod in snapshot.pods.get(entry.index, ()) if pod.scheduled]
    working = [pod for pod in placed if pod.fetching] or ([] if prepared.complete else list(prepared.pods))
    if failed := next((pod for pod in working if _words(pod)), None):
        known = load_operations().diagnose(_words(failed))
        remedy = f"; {known.remedy}" if known else ""
        return verdict(
            "False",
            known.name if known else "PreparationFailed",
            f"{_place(failed)}: {_words(failed)}{remedy}. It is tried again by itself.",
        )
    if not prepared.complete and not placed:
        return verdict("False", _step(prepared.pods), prepared.message)
    if working:
        progress = together(snapshot.progress[pod.uid] for pod in working if pod.uid in snapshot.progress)
        ranks = f"{len(working)} ranks prepare weights"
        return verdict("False", _step(working), _with(ranks, progress))
    if placed:
        return verdict("True", "OnNodes", f"{plan.weights.source} at {plan.weights.path}")
    if prepared.job is not None:
        return verdict("True", "InClaim", f"{plan.weights.source} in claim {plan.weights.claim}")
    return verdict("Unknown", "NotStarted", "no rank is placed yet")


def _step(pods: Sequence[PodRecord]) -> str:
    """The earliest step that somebody is at."""
    names = {pod.step for pod in pods}
    for container, (reason, _) in _STEPS.items():
        if any(name.startswith(container) for name in names):
            return reason
    return "FetchingWeights"


def _words(pod: PodRecord) -> str:
    """Last words of the container that failed, or why it cannot start."""
    if pod.init_message:
        # The last line is the error; lines of progress stand before it.
        return masked(pod.init_message.strip().splitlines()[-1].strip()).removeprefix("error: ")
    return f"{pod.init_reason}" if pod.init_reason.startswith(("Create", "Err", "Image", "Invalid")) else ""


def _place(pod: PodRecord) -> str:
    what = f"Job {pod.job}" if pod.job else f"rank {pod.rank}"
    return f"{what} ({pod.name} on {pod.node or 'no node yet'})"


def _told(pod: PodRecord, progress: Progress | None) -> str:
    if words := _words(pod):
        return f"{pod.name} on {pod.node} failed and tries again: {words}"
    if not pod.node:
        return f"{pod.name} waits for a node: {pod.waiting_message or 'not scheduled yet'}"
    doing = next((told for name, (_, told) in _STEPS.items() if pod.step.startswith(name)), "starts")
    return _with(f"{pod.name} on {pod.node} {doing}", progress)


def _with(words: str, progress: Progress | None) -> str:
    return f"{words} ({progress.told()})" if progress else words
