"""All objects of a deployment, in the order in which they are applied.

What a pod needs comes before the pod: policies and names before the StatefulSet or Job, so that no rank ever runs
unprotected or looks for a leader that has no address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.render.digest import with_desired_hash
from deepseek_operator.render.disruption import disruption_budget
from deepseek_operator.render.gang import pod_group
from deepseek_operator.render.kernels import kernels_volume
from deepseek_operator.render.networkpolicy import api_policy, group_policy
from deepseek_operator.render.revision import RevisionContent, controller_revision, new_revision
from deepseek_operator.render.secret import keys_secret, ssh_secret
from deepseek_operator.render.services import api_service, headless_service
from deepseek_operator.render.weights import node_volume
from deepseek_operator.render.weights_job import weights_job
from deepseek_operator.render.workload import workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.api.config import OperatorConfig
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.types import Plan
    from deepseek_operator.render.owner import Owner

_FIRST: Final = 1
"""Number of the first revision, and of the first start of a group."""
CREATED_ONCE_KINDS: Final = frozenset({"PersistentVolume", "PersistentVolumeClaim"})
"""Neither watched nor mended: made before a group starts, shared, and outliving the deployment."""
POD_GROUP: Final = "PodGroup"
"""Not watched either: it need not be served. Made so before each start."""


def shared_objects(
    owner: Owner,
    spec: Spec,
    plan: Plan,
    *,
    config: OperatorConfig,  # noqa: ARG001 - callers treat shared and group objects alike
) -> list[dict[str, Any]]:
    """What all groups share: volumes of weights and kernels with their claims; of an API, its policy and Service."""
    volumes = [*node_volume(owner, plan.weights), *kernels_volume(owner, plan)]
    api = [api_policy(owner, spec.access.sources), api_service(owner)] if plan.engine.api else []
    return [*volumes, *api]


def group_objects(
    owner: Owner,
    index: int,
    revision: RevisionContent,
    *,
    incarnation: int,
    replicas: int,
    config: OperatorConfig,
    avoided_nodes: Sequence[str] = (),
    open_for_drain: bool = False,
) -> list[dict[str, Any]]:
    """What one group consists of; its StatefulSet or Job comes last. A Job of no replicas is none."""
    gang = pod_group(owner, index, revision)
    job_ranks = revision.nodes_per_group if revision.workload == "Job" else None
    return [
        headless_service(owner, index),
        group_policy(owner, index, metrics_namespace_labels=config.metrics_namespace_labels),
        disruption_budget(owner, index, open_for_drain=open_for_drain, job_ranks=job_ranks),
        *([gang] if gang else []),
        *workload(
            owner=owner,
            index=index,
            revision=revision,
            incarnation=incarnation,
            replicas=replicas,
            cluster_domain=config.cluster_domain,
            avoided_nodes=avoided_nodes,
        ),
    ]


def all_objects(
    owner: Owner, spec: Spec, plan: Plan, launch: Launch, *, config: OperatorConfig
) -> list[dict[str, Any]]:
    """What the operator would create for a new deployment, for ``deepseek-operator render``.

    The generated Secret is there without its keys: they are random and never printed.
    """
    revision = new_revision(owner=owner, spec=spec, plan=plan, launch=launch)
    once = [controller_revision(owner, revision, _FIRST)]
    groups = [
        manifest
        for index in range(spec.replicas)
        for manifest in group_objects(
            owner,
            index,
            revision,
            incarnation=_FIRST,
            replicas=0 if spec.suspend else revision.nodes_per_group,
            config=config,
        )
    ]
    job = weights_job(owner, spec, plan)
    shared = [*shared_objects(owner, spec, plan, config=config), *([job] if job else [])]
    # The hash tells what was changed since; what is not watched needs none.
    objects = [
        manifest if manifest["kind"] in CREATED_ONCE_KINDS | {POD_GROUP} else with_desired_hash(manifest)
        for manifest in once + shared + groups
    ]
    if plan.engine.api and spec.access.keys.mode == "generate":
        objects.insert(0, keys_secret(owner, api_key=None, admin_key=None))
    if launch.ssh:
        objects.insert(0, ssh_secret(owner, seed=None))
    return objects
