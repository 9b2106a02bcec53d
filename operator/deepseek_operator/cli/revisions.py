"""What the stored revisions of a deployment say, and the patch that goes back to one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.render.revision import PATIENCE, POD_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A ControllerRevision as the API server has it."""

    number: int
    data: Mapping[str, Any]
    created: str

    @property
    def hash(self) -> str:
        """The revision's hash, as in labels and status."""
        return str(self.data["hash"])


def history_rows(stored: Sequence[Stored], deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a revision, the oldest first."""
    status = deployment.get("status", {})
    groups = status.get("groups", ())
    rows = []
    for each in sorted(stored, key=lambda item: item.number):
        plan = each.data["plan"]
        devices = f"{plan['nodes_per_group']}x{plan['accelerators_per_node']}"
        rows.append(
            {
                "revision": each.number,
                "hash": each.hash,
                "model": plan["model"],
                "precision": plan["precision"],
                "engine": f"{plan['engine']['name']} {plan['engine']['version']}",
                "hardware": f"{devices} {plan['hardware']['product']}",
                "groups": [group["index"] for group in groups if group.get("revision") == each.hash],
                "current": status.get("currentRevision") == each.hash,
                "created": each.created,
            }
        )
    return rows


def find_revision(stored: Sequence[Stored], deployment: Mapping[str, Any], *, number: int) -> Stored:
    """The revision with a number, or for 0 the last one that is not the current one.

    Raises InvalidInputError when there is none, or when it does not hold its spec.
    """
    current = deployment.get("status", {}).get("currentRevision")
    known = sorted(stored, key=lambda item: item.number)
    candidates = [each for each in known if (each.number == number if number else each.hash != current)]
    if not candidates:
        numbers = ", ".join(str(each.number) for each in known) or "none"
        raise _problem("RevisionNotFound", f"there is no such earlier revision; stored are: {numbers}")
    found = candidates[-1]
    if not found.data.get("spec"):
        raise _problem(
            "RevisionWithoutSpec", f"revision {found.number} was stored without its spec; apply that spec by hand"
        )
    return found


def undo_patch(current: Mapping[str, Any], wanted: Stored) -> dict[str, Any]:
    """The merge patch of a spec that brings back all that a revision is made of, and nothing else."""
    spec = wanted.data["spec"]
    patch: dict[str, Any] = {}
    for name in POD_FIELDS:
        kept = {PATIENCE[name]} if name in PATIENCE else set()
        patch |= _difference(name, current.get(name), spec.get(name), kept=kept)
    keys = current.get("access", {}).get("keys")
    return patch | (
        {"access": changed} if (changed := _difference("keys", keys, spec.get("access", {}).get("keys"))) else {}
    )


def _difference(name: str, before: Any, after: Any, *, kept: set[str] | frozenset[str] = frozenset()) -> dict[str, Any]:
    """``{name: patch}``, or nothing when both are the same; ``kept`` names members that stay as they are."""
    if before == after:
        return {}
    if not isinstance(before, Mapping):
        return {name: after}
    members = after if isinstance(after, Mapping) else {}
    inner: dict[str, Any] = {}
    for key in sorted({*before, *members} - kept):
        inner |= _difference(key, before.get(key), members.get(key))
    return {name: inner} if inner else {}


def _problem(reason: str, message: str) -> InvalidInputError:
    return InvalidInputError(Problem(field="--to-revision", reason=reason, message=message))
