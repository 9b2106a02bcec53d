"""The Job that fills a shared claim before the first group starts: no accelerator waits for a download.

It belongs to one deployment, and deployments that share a claim have a Job each: the lease of the directory lets one
of them work, and the others find its marker. It never gives up: a cause that is gone (a full volume, a wrong token)
needs no hand. A changed Job has another name, because a Job's template cannot be changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import WEIGHTS_ANNOTATION, WEIGHTS_LABEL, weights_job_name
from deepseek_operator.render import weights as storage
from deepseek_operator.render.digest import short_hash
from deepseek_operator.render.owner import child, labels
from deepseek_operator.render.pod import toleration, user_mounts, user_volume
from deepseek_operator.render.security import pod_security
from deepseek_operator.render.weights_tool import containers

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.plan.types import Plan
    from deepseek_operator.render.owner import Owner

KIND: Final = "Job"
_MOST_RETRIES: Final = 2**31 - 1
"""The kubelet waits up to five minutes between two tries; the number of tries is no measure of anything."""
_HASH_LENGTH: Final = 10


def weights_job(owner: Owner, spec: Spec, plan: Plan) -> dict[str, Any] | None:
    """The Job of a plan whose weights go to a shared claim; None for other volumes."""
    weights = plan.weights
    if weights.volume != "shared":
        return None
    own_mounts = user_mounts(spec) if _reads_mounts(spec) else []
    own_volumes = [user_volume(volume) for volume in spec.pod_template.volumes] if own_mounts else []
    *before, last = containers(spec, weights, user_mounts=own_mounts, read_ahead=False)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        "securityContext": pod_security(),
        "initContainers": before,
        "containers": [last],
        "volumes": storage.volumes(weights) + own_volumes,
    }
    if spec.engine.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(spec.engine.image_pull_secrets)]
    # Clusters may have accelerator nodes alone; no device is asked for, so other nodes serve as well.
    tolerations: list[dict[str, Any]] = [{"key": key, "operator": "Exists"} for key in plan.hardware.tolerations]
    tolerations += [toleration(each) for each in spec.scheduling.tolerations]
    if tolerations:
        pod["tolerations"] = tolerations
    name = weights_job_name(owner.name, short_hash(pod, length=_HASH_LENGTH))
    about = {"source": weights.source, "revision": weights.revision, "claim": weights.claim}
    about |= {"path": weights.path, "tool": weights.tool_image}
    own = labels(owner) | {WEIGHTS_LABEL: name}
    job = child(owner, api_version="batch/v1", kind=KIND, name=name, labels=own)
    job["metadata"]["annotations"] = {WEIGHTS_ANNOTATION: json.dumps(about, sort_keys=True)}
    job["spec"] = {
        "backoffLimit": _MOST_RETRIES,
        "template": {"metadata": {"labels": own, "annotations": _UNMESHED}, "spec": pod},
    }
    return job


_UNMESHED: Final = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
"""A mesh's proxy beside the container would keep the Job from ever ending."""


def _reads_mounts(spec: Spec) -> bool:
    """The source lies in a volume of podTemplate; any other would only tie the Job to a node."""
    return (spec.weights.source or "").startswith("path://")
