"""What makes the pods of a group: a StatefulSet, which serves until it is stopped, or a Job, which ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_operator.render.job import batch_job
from deepseek_operator.render.statefulset import stateful_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.render.owner import Owner
    from deepseek_operator.render.revision import RevisionContent


def workload(
    *,
    owner: Owner,
    index: int,
    revision: RevisionContent,
    incarnation: int,
    replicas: int,
    cluster_domain: str,
    avoided_nodes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The one object; none for a Job of no replicas, which is stopped by being absent."""
    if revision.workload == "Job":
        if not replicas:
            return []
        return [
            batch_job(
                owner=owner,
                index=index,
                revision=revision,
                incarnation=incarnation,
                cluster_domain=cluster_domain,
                avoided_nodes=avoided_nodes,
            )
        ]
    return [
        stateful_set(
            owner=owner,
            index=index,
            revision=revision,
            incarnation=incarnation,
            replicas=replicas,
            cluster_domain=cluster_domain,
            avoided_nodes=avoided_nodes,
        )
    ]
