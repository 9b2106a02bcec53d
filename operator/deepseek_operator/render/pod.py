"""The pod template of a revision: the same for all ranks of all groups, and stored with the revision.

What differs between groups or their starts (group, leader's address, incarnation) is added by
``group_pods``. Names of our volumes begin with ``deepseek-``; whatever of podTemplate meets ours is refused before
anything is rendered (``collisions``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import REVISION_LABEL, RUN_DIRECTORY, SHARED_MEMORY, SSH_DIRECTORY, VOLUME_PREFIX
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.volume_rules import overlap
from deepseek_operator.render import batch, kernels, weights
from deepseek_operator.render.container import engine_container
from deepseek_operator.render.gang import SCHEDULERS
from deepseek_operator.render.owner import Owner, labels
from deepseek_operator.render.preflight import preflight_container
from deepseek_operator.render.quantity import byte_quantity
from deepseek_operator.render.secret import ssh_volume
from deepseek_operator.render.security import pod_security
from deepseek_operator.render.weights_tool import containers as weights_containers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deepseek_operator.api.operation import Toleration
    from deepseek_operator.api.pod_template import Volume
    from deepseek_operator.api.resource import Spec
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.types import Plan

_MOST_EXCLUDED: Final = 256
"""Values of the topology key in a template; more would make each StatefulSet large for a rare case."""
_INJECTION_LABELS: Final = {"sidecar.istio.io/inject": "false"}
_INJECTION_ANNOTATIONS: Final = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
"""A mesh's proxy between ranks breaks rendezvous and RDMA; both forms are read by some version of Istio."""


def pod_template(*, owner: Owner, spec: Spec, plan: Plan, launch: Launch, revision: str) -> dict[str, Any]:
    """The template as it is stored; ours wins over podTemplate wherever both speak."""
    extra = spec.pod_template
    return {
        "metadata": {
            "labels": {**extra.labels, **_INJECTION_LABELS, **labels(owner), REVISION_LABEL: revision},
            "annotations": {**launch.annotations, **extra.annotations, **_INJECTION_ANNOTATIONS},
        },
        "spec": {
            **_identity(spec),
            **_network(plan),
            **_placement(spec, plan),
            **_containers(owner, spec, plan, launch),
        },
    }


def collisions(spec: Spec, plan: Plan, *, directories: Iterable[str]) -> tuple[Problem, ...]:
    """What of podTemplate would meet a volume or mount of ours; empty when nothing does.

    ``directories`` are those of the plan's engine and vendor. The rules of the API refuse most of this already;
    here it is held against the plan, and against objects that are older than the rules.
    """
    ours = [SHARED_MEMORY, RUN_DIRECTORY, SSH_DIRECTORY, *directories]
    own_mounts = [*batch.mounts(spec.batch), *weights.mounts(plan.weights, read_only=True)]
    ours += [mount["mountPath"] for mount in (*own_mounts, *weights.source_mounts(plan.weights))]
    names = [
        Problem(
            field=f"spec.podTemplate.volumes[{index}].name",
            reason="VolumeNameReserved",
            message=f"{volume.name} begins with {VOLUME_PREFIX}, like the operator's own volumes; choose another name",
        )
        for index, volume in enumerate(spec.pod_template.volumes)
        if volume.name.startswith(VOLUME_PREFIX)
    ]
    paths = [
        Problem(
            field=f"spec.podTemplate.volumeMounts[{index}].mountPath",
            reason="MountPathReserved",
            message=f"{mount.mount_path} is, holds or lies in {path}, which the operator mounts itself on "
            f"{plan.hardware.product}; choose a directory apart from it",
        )
        for index, mount in enumerate(spec.pod_template.volume_mounts)
        for path in [next((path for path in ours if overlap(mount.mount_path, path)), None)]
        if path is not None
    ]
    return (*names, *paths)


def _identity(spec: Spec) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # Variables of every Service of the namespace would be read as settings by engines (VLLM_PORT).
        "enableServiceLinks": False,
        # A Job's pods end; the operator makes the next start.
        "restartPolicy": "Never" if spec.batch else "Always",
        "securityContext": pod_security(),
    }
    if spec.engine.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(spec.engine.image_pull_secrets)]
    return pod


def _network(plan: Plan) -> dict[str, Any]:
    if plan.fabric.mode != "host":
        return {}
    return {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}


def _placement(spec: Spec, plan: Plan) -> dict[str, Any]:
    pod: dict[str, Any] = {"affinity": {"nodeAffinity": _node_affinity(spec, plan)}}
    if plan.hardware.topology_key is not None:
        pod["affinity"]["podAffinity"] = _together(plan.hardware.topology_key)
    tolerations = [{"key": key, "operator": "Exists"} for key in plan.hardware.tolerations]
    tolerations += [toleration(each) for each in spec.scheduling.tolerations]
    if tolerations:
        pod["tolerations"] = tolerations
    if spec.scheduling.priority_class_name:
        pod["priorityClassName"] = spec.scheduling.priority_class_name
    if scheduler := spec.scheduling.scheduler_name or SCHEDULERS.get(spec.scheduling.gang):
        pod["schedulerName"] = scheduler
    return pod


def _node_affinity(spec: Spec, plan: Plan) -> dict[str, Any]:
    wanted = {("kubernetes.io/arch", plan.hardware.host_architecture)}
    wanted |= set(plan.hardware.node_labels.items()) | set(spec.hardware.node_selector.items())
    expressions = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(wanted)]
    expressions += _whole_devices(plan)
    expressions += _large_domains(plan)
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    }


def _whole_devices(plan: Plan) -> list[dict[str, Any]]:
    """Keeps ranks off nodes that offer parts of devices under the same resource and the same product labels."""
    values: dict[str, list[str]] = {}
    for key, value in plan.hardware.avoided:
        values.setdefault(key, []).append(value)
    return [{"key": key, "operator": "NotIn", "values": values[key]} for key in sorted(values)]


def _together(topology_key: str) -> dict[str, Any]:
    """All ranks of a group in one domain: the first one's. The group's selector is added with the group."""
    return {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": topology_key}]}


def _large_domains(plan: Plan) -> list[dict[str, Any]]:
    """Keeps the first rank, which chooses the domain, out of those that are too small for its group.

    Values are excluded, not demanded: an autoscaler's new domain has a name that nobody knows yet.
    """
    hardware = plan.hardware
    small = [value for value, nodes in hardware.domains.items() if len(nodes) < plan.nodes_per_group]
    if hardware.topology_key is None or not small:
        return []
    return [{"key": hardware.topology_key, "operator": "NotIn", "values": sorted(small)[:_MOST_EXCLUDED]}]


def toleration(wanted: Toleration) -> dict[str, Any]:
    """A toleration of the user's."""
    fields = {"key": wanted.key, "operator": wanted.operator, "value": wanted.value, "effect": wanted.effect}
    return {name: value for name, value in fields.items() if value}


def _containers(owner: Owner, spec: Spec, plan: Plan, launch: Launch) -> dict[str, Any]:
    own_volumes, own_mounts = _own_volumes(owner, plan, launch)
    own_volumes += batch.volumes(spec.batch)
    own_mounts += batch.mounts(spec.batch) + weights.mounts(plan.weights, read_only=True)
    user_volumes = [user_volume(volume) for volume in spec.pod_template.volumes]
    extra = user_mounts(spec)
    # Only a path:/// source lies in a volume of the user's; no other may keep the weights from being prepared.
    needed = extra if plan.weights.source.startswith("path://") else []
    engine = engine_container(owner, spec, plan, launch, mounts=own_mounts + extra)
    preflight = preflight_container(engine, launch)
    return {
        "initContainers": [
            *([preflight] if preflight else []),
            *weights_containers(spec, plan.weights, user_mounts=needed),
        ],
        "containers": [engine],
        "volumes": own_volumes + weights.volumes(plan.weights) + user_volumes,
        "terminationGracePeriodSeconds": launch.termination_grace_seconds,
    }


def _own_volumes(owner: Owner, plan: Plan, launch: Launch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scratch and driver volumes with their mounts."""
    shm = {"medium": "Memory", "sizeLimit": byte_quantity(plan.requests.shm_bytes)}
    volumes: list[dict[str, Any]] = [
        {"name": "deepseek-shm", "emptyDir": shm},
        {"name": "deepseek-run", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "deepseek-shm", "mountPath": SHARED_MEMORY},
        {"name": "deepseek-run", "mountPath": RUN_DIRECTORY},
    ]
    if launch.ssh:
        volumes.append(ssh_volume(owner))
        mounts.append({"name": volumes[-1]["name"], "mountPath": SSH_DIRECTORY, "readOnly": True})
    if plan.kernels:
        volumes += kernels.volumes(plan.kernels)
    for number, path in enumerate(launch.writable):
        if plan.kernels:
            mounts.append(kernels.mount(plan.kernels, path))
            continue
        name = f"deepseek-cache-{number}"
        volumes.append({"name": name, "emptyDir": {}})
        mounts.append({"name": name, "mountPath": path})
    for number, mount in enumerate(launch.mounts):
        name = f"deepseek-driver-{number}"
        kind = {"type": mount.type} if mount.type else {}
        volumes.append({"name": name, "hostPath": {"path": mount.host_path, **kind}})
        mounts.append({"name": name, "mountPath": mount.container_path, "readOnly": True})
    return volumes, mounts


def user_mounts(spec: Spec) -> list[dict[str, Any]]:
    """The mounts of podTemplate."""
    return [
        {"name": m.name, "mountPath": m.mount_path, **({"readOnly": True} if m.read_only else {})}
        for m in spec.pod_template.volume_mounts
    ]


def user_volume(volume: Volume) -> dict[str, Any]:
    """A volume of podTemplate; validation left it exactly one source."""
    if volume.persistent_volume_claim:
        return {"name": volume.name, "persistentVolumeClaim": {"claimName": volume.persistent_volume_claim}}
    if volume.config_map:
        return {"name": volume.name, "configMap": {"name": volume.config_map}}
    if volume.secret:
        return {"name": volume.name, "secret": {"secretName": volume.secret}}
    return {"name": volume.name, "hostPath": {"path": volume.host_path, "type": "Directory"}}
