"""What kubelets and agents report of the accelerators that a group runs on, and what follows from it.

A device plugin's ``Unhealthy`` is taken for what it is worth. NVIDIA's marks a device for ever because of one critical
Xid, even when the driver has recovered (NVIDIA/k8s-device-plugin issue 234, NVIDIA/gpu-operator issue 1065), and after
a restart of the plugin forgets it (issue 111). So a group that serves goes on serving, and condition
``DevicesHealthy`` names the rank, its node and the device; a group that does not serve is restarted at once instead of
being waited for, and away from that node where the class has others. ``Unknown`` (a plugin that is restarted) means
nothing. A kubelet gives no new pod an unhealthy device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from deepseek_operator.lifecycle.conditions import Condition
from deepseek_operator.lifecycle.records import NodeRecord, PodRecord

UNHEALTHY = "DeviceUnhealthy"
_TOLD_AT_MOST = 8


def troubled(pod: PodRecord, nodes: Mapping[str, NodeRecord]) -> str:
    """What is reported of the devices and the node of a pod; empty when nothing is."""
    return "; ".join(_troubles(pod, nodes))


def devices_healthy(pods: Iterable[Sequence[PodRecord]], nodes: Mapping[str, NodeRecord]) -> Condition:
    """The condition: False with rank, node and what is reported where anything is."""
    placed = [pod for found in pods for pod in found if pod.node]
    if not placed:
        return Condition(type="DevicesHealthy", status="Unknown", reason="NotStarted", message="no rank is placed yet")
    told = [(pod, trouble) for pod in placed if (trouble := troubled(pod, nodes))]
    if not told:
        return Condition(type="DevicesHealthy", status="True", reason="NothingReported", message="")
    reason = UNHEALTHY if any(pod.unhealthy for pod, _ in told) else "NodeTroubled"
    text = "; ".join(f"{pod.name} on {pod.node}: {trouble}" for pod, trouble in told[:_TOLD_AT_MOST])
    return Condition(type="DevicesHealthy", status="False", reason=reason, message=text)


def _troubles(pod: PodRecord, nodes: Mapping[str, NodeRecord]) -> Iterator[str]:
    if pod.unhealthy:
        yield pod.unhealthy
    node = nodes.get(pod.node)
    if node is None:
        return
    yield from (f"the node reports {condition}" for condition in node.ill)
    offered = dict(node.offered)
    for resource, count in pod.devices:
        # None offered at all is a plugin that restarts, not eight broken devices.
        if 0 < offered.get(resource, 0) < count:
            yield f"the node offers {offered[resource]} {resource} of the {count} that the rank runs with"
