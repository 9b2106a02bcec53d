"""The volumes of a batch: its prompts, and where its answers go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_operator.api.names import ANSWERS_DIRECTORY, PROMPTS_DIRECTORY

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Batch

_PROMPTS = "deepseek-prompts"
_ANSWERS = "deepseek-answers"


def volumes(batch: Batch | None) -> list[dict[str, Any]]:
    """One or two volumes; none without a batch."""
    if batch is None:
        return []
    prompts = batch.prompts
    source: dict[str, Any] = (
        {"configMap": {"name": prompts.config_map}}
        if prompts.config_map is not None
        else {"persistentVolumeClaim": {"claimName": prompts.persistent_volume_claim}}
    )
    found = [{"name": _PROMPTS, **source}]
    if batch.answers is not None:
        found.append({"name": _ANSWERS, "persistentVolumeClaim": {"claimName": batch.answers.persistent_volume_claim}})
    return found


def mounts(batch: Batch | None) -> list[dict[str, Any]]:
    """Where they appear in the engine's container."""
    if batch is None:
        return []
    found: list[dict[str, Any]] = [{"name": _PROMPTS, "mountPath": PROMPTS_DIRECTORY, "readOnly": True}]
    if batch.answers is not None:
        found.append({"name": _ANSWERS, "mountPath": ANSWERS_DIRECTORY})
    return found
