"""Events from the difference of two statuses: one for each transition, none for repetition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from deepseek_operator.lifecycle.actions import Event
from deepseek_operator.lifecycle.bounds import first_bytes, last_lines

NOTE_LIMIT = 1024
"""Bytes of an event's note: pkg/apis/core/validation/events.go, NoteLengthLimit."""

_BAD_WHEN_FALSE = ("Accepted", "Planned")
"""Their False is a warning at once; Ready and Available are False in every start."""
_OWN_WORDS = ("NameTaken", "RestartBudgetExhausted", "ImagePullFailed")
"""Reasons of Stalled that no other condition tells."""


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Event, ...]:
    """The events that the step from one status to the next is worth."""
    events = []
    earlier = {c["type"]: c for c in before.get("conditions", ())}
    for condition in after["conditions"]:
        old = earlier.get(condition["type"], {})
        if (old.get("status"), old.get("reason")) != (condition["status"], condition["reason"]):
            events.extend(_condition_event(condition, old))
    events.extend(_incident_events(before, after))
    events.extend(_warm_up_events(before, after))
    return tuple(events)


def _condition_event(condition: Mapping[str, Any], old: Mapping[str, Any]) -> list[Event]:
    kind, truth = condition["type"], condition["status"]
    if kind in _BAD_WHEN_FALSE and truth == "False":
        return [_event("Warning", condition["reason"], condition["message"])]
    if kind == "Planned" and truth == "True" and old.get("status") != "True":
        return [_event("Normal", condition["reason"], condition["message"])]
    if kind == "Ready" and truth == "True":
        return [_event("Normal", condition["reason"], condition["message"])]
    if kind == "DevicesHealthy" and truth == "False":
        return [_event("Warning", condition["reason"], condition["message"])]
    if kind == "MemoryAsPlanned" and truth == "False":
        return [_event("Warning", "MemoryOffPlan", condition["message"])]
    if kind == "Stalled" and truth == "True" and condition["reason"] in _OWN_WORDS:
        return [_event("Warning", condition["reason"], condition["message"])]
    return []


def _incident_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Event]:
    events = []
    for group, old, latest in latest_incidents(before, after):
        about = f"group {group['index']}: "
        if old.get("time") != latest["time"]:
            text = about + _joined(latest.get("message"), latest.get("remedy"), "the whole group restarts")
            events.append(_event("Warning", latest["reason"], text))
        elif old.get("rank") != latest.get("rank"):
            text = about + _joined(
                f"rank {latest.get('rank')} failed first", latest.get("message"), latest.get("remedy")
            )
            events.append(_event("Warning", latest["reason"], text))
        if latest.get("log") and not (old.get("time") == latest["time"] and old.get("log")):
            learnt = latest.get("remedy") if latest.get("remedy") != old.get("remedy") else None
            head = about + _joined(learnt, f"rank {latest.get('rank')} said last:") + "\n"
            lines = last_lines(latest["log"], NOTE_LIMIT - len(head.encode()))
            events.append(_event("Warning", latest["reason"], head + "\n".join(lines)))
    return events


_OF_WARM_UPS: Mapping[str, tuple[Literal["Normal", "Warning"], str]] = {
    "Pulling": ("Normal", "PullingImage"),
    "Failing": ("Warning", "ImagePullFailing"),
    "TimedOut": ("Warning", "WarmUpTimedOut"),
}
"""States of a warm-up that are worth an event; that it failed for too long, Stalled tells."""


def _warm_up_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Event]:
    known = {group["index"]: group.get("warmUp", {}) for group in before.get("groups", ())}
    events = []
    for group in after.get("groups", ()):
        old, new = known.get(group["index"], {}), group.get("warmUp", {})
        changed = (old.get("templateHash"), old.get("state")) != (new.get("templateHash"), new.get("state"))
        if changed and (told := _OF_WARM_UPS.get(new.get("state", ""))):
            events.append(_event(*told, f"group {group['index']}, before it is stopped: {new.get('message', '')}"))
    return events


def latest_incidents(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Each group that has an incident, with what was its latest before (empty for none) and what is it now.

    An incident is known by its time: what it tells may be completed, and may be told shorter when status grows.
    """
    known = {group["index"]: group.get("incidents", [])[:1] for group in before.get("groups", ())}
    for group in after.get("groups", ()):
        for latest in group.get("incidents", ())[:1]:
            yield group, next(iter(known.get(group["index"], ())), {}), latest


def _joined(*words: str | None) -> str:
    return "; ".join(word for word in words if word)


def _event(severity: Literal["Normal", "Warning"], reason: str, message: str) -> Event:
    return Event(type=severity, reason=reason, message=first_bytes(message, NOTE_LIMIT))
