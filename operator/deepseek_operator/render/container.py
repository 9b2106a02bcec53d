"""The engine's container: environment, probes, resources and mounts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import ENGINE_CONTAINER, INCARNATION_LABEL, JOB_INDEX_LABEL, POD_INDEX_LABEL
from deepseek_operator.render import kernels
from deepseek_operator.render.quantity import byte_quantity, cpu_quantity, literal
from deepseek_operator.render.secret import keys_env
from deepseek_operator.render.security import container_security

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deepseek_operator.api.resource import Spec
    from deepseek_operator.engines.types import Launch
    from deepseek_operator.plan.types import Plan
    from deepseek_operator.render.owner import Owner

_READINESS_FAILURES: Final = 3
_STARTUP_SECONDS: Final = 7 * 24 * 3600
"""The kubelet counts from the start of its own container, and a rank may wait for hours for one whose weights are
still on their way. How long a start may take is judged for the group as a whole (lifecycle/watchdogs.py)."""
_STARTUP_PERIOD_SECONDS: Final = 5
"""Every start of a group ends at a tick of this clock: it is the wait that a start may have for nothing. Until the
engine serves its answer comes at once, and a kubelet never asks again before it has been answered."""
_BEFORE_SIGTERM_SECONDS: Final = "2"
"""A SIGTERM that meets process 1 of a container before its handler is set is lost, and the pod lasts for its whole
grace period. That is the rule, not chance, for the rank whose failure stops the group: its kubelet starts the container
again in the same moment. Services, too, take the pod out in this time."""
_DOWNWARD: Final = {
    "POD_IP": "status.podIP",
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_UID": "metadata.uid",
    "NODE_NAME": "spec.nodeName",
    "NODE_RANK": f"metadata.labels['{POD_INDEX_LABEL}']",
    "INCARNATION": f"metadata.labels['{INCARNATION_LABEL}']",
}
GROUP_VARIABLES: Final = ("GROUP", "LEADER_ADDRESS")
"""Added when a group's StatefulSet is made; the stored template does not know the group."""


def engine_container(
    owner: Owner, spec: Spec, plan: Plan, launch: Launch, *, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    """The container that runs the engine; the same for every rank."""
    startup_period = min(launch.probe_period_seconds, _STARTUP_PERIOD_SECONDS)
    return {
        "name": ENGINE_CONTAINER,
        "image": plan.engine.image,
        **_terminal(spec, plan),
        "command": ["/bin/bash", "-c", literal(launch.script)],
        "env": _environment(owner, spec, plan, launch),
        "ports": _ports(plan, launch),
        # No liveness probe: a kubelet must not restart one rank of a group. Hangs are judged above.
        "startupProbe": _probe(
            launch.startup_probe,
            launch,
            period=startup_period,
            failures=math.ceil(_STARTUP_SECONDS / startup_period),
        ),
        "readinessProbe": _probe(
            launch.readiness_probe, launch, period=launch.probe_period_seconds, failures=_READINESS_FAILURES
        ),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", _BEFORE_SIGTERM_SECONDS]}}},
        "resources": _resources(plan, launch),
        "securityContext": container_security(locks_memory=_locks_memory(plan), runs_sshd=launch.ssh),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _terminal(spec: Spec, plan: Plan) -> dict[str, Any]:
    """An engine without an API and without a batch is spoken to on rank 0's terminal (``kubectl attach``)."""
    return {} if plan.engine.api or spec.batch else {"stdin": True, "tty": True}


def _environment(owner: Owner, spec: Spec, plan: Plan, launch: Launch) -> list[dict[str, Any]]:
    """The contract first, then the engine's constants, then the user's; each name once.

    The user's values win over the engine's constants, and nothing wins over the contract.
    """
    contract = _contract(owner, spec, plan)
    taken = {variable["name"] for variable in contract} | set(GROUP_VARIABLES)
    user = {variable.name: variable.value for variable in spec.engine.env}
    fixed = {**kernels.environment(plan, launch.writable[0]), **launch.env} if launch.writable else launch.env
    constants = [(name, value) for name, value in sorted(fixed.items()) if name not in user]
    return contract + [_variable(name, value) for name, value in [*constants, *user.items()] if name not in taken]


def _contract(owner: Owner, spec: Spec, plan: Plan) -> list[dict[str, Any]]:
    """What the launch script relies on."""
    of_job = {"NODE_RANK": f"metadata.labels['{JOB_INDEX_LABEL}']"} if spec.batch else {}
    downward = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in {**_DOWNWARD, **of_job}.items()
    ]
    constants = {
        "GROUP_SIZE": str(plan.nodes_per_group),
        "ACCELERATORS": str(plan.accelerators_per_node),
        "IMAGE": plan.engine.image,
        # Weights are complete before the engine starts: it must neither need the hub nor its token.
        "HF_HUB_OFFLINE": "1",
    }
    return [
        *downward,
        *(_variable(name, value) for name, value in constants.items()),
        *(keys_env(owner, spec.access.keys) if plan.engine.api else []),
    ]


def _variable(name: str, value: str) -> dict[str, Any]:
    # The API server drops an empty value; one that is rendered would look like a change by somebody else.
    return {"name": name, "value": literal(value)} if value else {"name": name}


def _ports(plan: Plan, launch: Launch) -> list[dict[str, Any]]:
    """Declared ports. On the host's network they are host ports, which keeps two groups off one node."""
    host = plan.fabric.mode == "host"
    return [
        {"name": name, "containerPort": port, "protocol": "TCP", **({"hostPort": port} if host else {})}
        for name, port in launch.ports.items()
    ]


def _probe(command: Iterable[str], launch: Launch, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "exec": {"command": [literal(word) for word in command]},
        "periodSeconds": period,
        "timeoutSeconds": launch.probe_timeout_seconds,
        "failureThreshold": failures,
    }


def _locks_memory(plan: Plan) -> bool:
    """Adapters register memory; on some clouds they come without a resource."""
    return plan.fabric.rdma_resource is not None or plan.fabric.carrier == "rdma"


def _resources(plan: Plan, launch: Launch) -> dict[str, Any]:
    """Devices and RDMA as request and limit, CPU and memory as request only.

    /dev/shm and the page cache of the weights count as the pod's memory: a limit would have to foresee
    both, and reaching it kills one rank and with it the group. The request reserves what the plan says; on
    nodes that belong to the group alone nothing competes for the rest.
    """
    devices = {plan.hardware.resource: str(plan.accelerators_per_node)}
    if plan.fabric.rdma_resource is not None:
        devices[plan.fabric.rdma_resource] = str(plan.fabric.rdma_count)
    devices |= launch.resources
    requests = {
        "cpu": cpu_quantity(plan.requests.cpu_millicores),
        "memory": byte_quantity(plan.requests.memory_bytes),
    }
    return {"requests": {**requests, **devices}, "limits": devices}
