"""PodDisruptionBudget: an eviction of one rank ends all of them, so none is allowed until a drain is let through."""

from __future__ import annotations

from typing import Any

from deepseek_operator.api.names import group_name
from deepseek_operator.render.owner import Owner, child, group_labels, pod_selector


def disruption_budget(
    owner: Owner, index: int, *, open_for_drain: bool = False, job_ranks: int | None = None
) -> dict[str, Any]:
    """The budget of one group; ``job_ranks``: of one whose pods a Job makes.

    A Job has no scale subresource, without which the disruption controller cannot compute ``maxUnavailable``; there
    the number of ranks that must stay says the same.

    Open, it lets one rank go; the operator then stops the others itself. ``AlwaysAllow`` lets a drain evict
    ranks that are not ready: a group that does not serve must never block one.
    """
    budget = child(
        owner,
        api_version="policy/v1",
        kind="PodDisruptionBudget",
        name=group_name(owner.name, index),
        labels=group_labels(owner, index),
    )
    budget["spec"] = {
        **_allowance(1 if open_for_drain else 0, job_ranks),
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": pod_selector(owner, index)},
    }
    return budget


def _allowance(evictions: int, job_ranks: int | None) -> dict[str, int]:
    return {"maxUnavailable": evictions} if job_ranks is None else {"minAvailable": job_ranks - evictions}
