"""What may last only so long: half a group placed, ranks that do not meet, a start, a rank that is not ready.

Each is a moment that follows from what the API server shows (times of pods and containers) and from the policy, so
that a restarted operator comes to the same moment. One that has passed is an incident; the next to come is when the
deployment is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deepseek_operator.lifecycle.batch import finished_ranks
from deepseek_operator.lifecycle.clock import moment, stamp
from deepseek_operator.lifecycle.entries import GroupEntry, Incident
from deepseek_operator.lifecycle.incidents import stretch
from deepseek_operator.lifecycle.policy import Policy, Shape
from deepseek_operator.lifecycle.records import PodRecord
from deepseek_operator.plan.requests import budget_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """What is wrong with the group from ``due`` on."""

    due: datetime
    reason: str
    message: str
    pod: PodRecord

    def bark(self) -> Incident:
        """The incident, at the moment when it was due."""
        return Incident(
            time=stamp(self.due),
            reason=self.reason,
            message=self.message,
            rank=self.pod.rank,
            pod=self.pod.name,
            node=self.pod.node,
        )


def watchdogs(
    entry: GroupEntry, pods: Sequence[PodRecord], *, shape: Shape, policy: Policy, seed: str
) -> Iterator[Watchdog]:
    """The watchdogs that run for a group's current incarnation."""
    finished = finished_ranks(pods, shape)
    own = [pod for pod in pods if pod.incarnation == entry.incarnation and not pod.deleting]
    current = [pod for pod in own if pod.uid not in finished]
    if not current:
        return
    if any(not pod.scheduled for pod in current) or len(own) < shape.size:
        yield from _half_placed(entry, current, policy=policy, seed=seed)
    elif entry.formed:
        yield from _unready(current, policy=policy)
    elif all(pod.engine.state == "running" and pod.engine.since for pod in current):
        yield from _starting(current, shape=shape, policy=policy)


def _half_placed(entry: GroupEntry, pods: Sequence[PodRecord], *, policy: Policy, seed: str) -> Iterator[Watchdog]:
    """Two half-placed groups would hold each other's nodes for ever; the stretch lets one go before the other."""
    placed = [pod for pod in pods if pod.scheduled and pod.created]
    if not placed:
        return
    seconds = policy.hold_timeout * (1 + stretch(f"{seed}/{entry.index}/{entry.incarnation}") / 2)
    yield Watchdog(
        due=_latest(pod.created for pod in placed) + timedelta(seconds=seconds),
        reason="HoldTimeout",
        message=f"only {len(placed)} pods found a node within {seconds:.0f} s; their nodes are let go",
        pod=placed[0],
    )


def _unready(pods: Sequence[PodRecord], *, policy: Policy) -> Iterator[Watchdog]:
    for pod in pods:
        if not pod.ready and pod.ready_changed:
            yield Watchdog(
                due=moment(pod.ready_changed) + timedelta(seconds=policy.unready_after),
                reason="RankUnready",
                message=f"Rank {pod.rank} hangs: its pod runs and has not been ready for {policy.unready_after} s",
                pod=pod,
            )


def _starting(pods: Sequence[PodRecord], *, shape: Shape, policy: Policy) -> Iterator[Watchdog]:
    begun = _latest(pod.engine.since for pod in pods)
    if late := [pod for pod in pods if pod.rank > 0 and not pod.engine.started]:
        ranks = ", ".join(str(pod.rank) for pod in late)
        yield Watchdog(
            due=begun + timedelta(seconds=policy.rendezvous_after),
            reason="RendezvousTimeout",
            message=f"Ranks {ranks} did not join within {policy.rendezvous_after} s after all engines ran",
            pod=late[0],
        )
    if late := [pod for pod in pods if not pod.ready]:
        seconds = policy.startup_deadline or _startup_seconds(pods, shape)
        yield Watchdog(
            due=begun + timedelta(seconds=seconds),
            reason="StartupDeadlineExceeded",
            message=f"Rank {late[0].rank} was not ready {seconds} s after the engines ran; "
            "spec.startup.deadlineSeconds sets the limit",
            pod=late[0],
        )


def _startup_seconds(pods: Sequence[PodRecord], shape: Shape) -> int:
    """The budget of a start: at the rate that the slowest rank's volume was seen to give, else the plan's.

    Engines read in another order, and several ranks at once: half the rate is counted on.
    """
    rate = min((pod.read_rate for pod in pods if pod.read_rate), default=0)
    if not rate or not shape.weights_gib:
        return shape.startup_seconds
    return budget_seconds(shape.weights_gib, gib_per_second=rate / 2**30 / 2)


def _latest(stamps: Iterable[str]) -> datetime:
    return max(moment(each) for each in stamps)
