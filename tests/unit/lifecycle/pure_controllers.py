"""What Kubernetes' own controllers do to a cluster in memory, each for itself, so that a test can let any of them lag.

Sources: pkg/controller/statefulset/stateful_set_control.go (Parallel: missing ordinals are created and condemned ones
deleted at once; a pod that failed is deleted and made again; a name is free only when its pod is gone),
pkg/controller/podgc (pods of nodes that do not exist end), pkg/controller/garbagecollector (what a deleted owner
leaves).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import INCARNATION_LABEL
from deepseek_operator.lifecycle.clock import stamp
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord
from tests.unit.lifecycle.observed import pod

if TYPE_CHECKING:
    from tests.unit.lifecycle.pure_cluster import PureCluster

NEVER_READY: Final = {"annotations": {"kwok.e2e/ready": "false"}}
"""A pod template whose engines never come up, as the fake nodes' stages read it."""
WAITING: Final = ContainerRecord(state="waiting", reason="ContainerCreating")


def everything(cluster: PureCluster) -> None:
    """All of them, twice over where one waits for another."""
    stateful_sets(cluster)
    ends(cluster)
    stateful_sets(cluster)
    jobs(cluster)
    schedule(cluster)
    run(cluster)


def stateful_sets(cluster: PureCluster) -> None:
    """Pods beyond the replicas, and failed ones, are deleted; missing ones are made; status counts them."""
    for (kind, name), body in list(cluster.objects.items()):
        if kind == "StatefulSet":
            _one(cluster, name, body)


def _one(cluster: PureCluster, name: str, body: Mapping[str, Any]) -> None:
    group, uid = int(name.rpartition("-g")[2]), body["metadata"]["uid"]
    replicas = body["spec"]["replicas"]
    named = [found for found in cluster.pods if found.group == group]
    mine = [found for found in named if cluster.pod_owners.get(found.uid, uid) == uid]
    condemned = [found.uid for found in mine if found.rank >= replicas or found.phase in ("Failed", "Succeeded")]
    delete_pods(cluster, condemned)
    free = [rank for rank in range(replicas) if rank not in {found.rank for found in named}]
    for rank in free:
        made = _new(cluster, body, group, rank)
        cluster.pods.append(made)
        cluster.pod_owners[made.uid] = uid
        cluster.pod_templates[made.uid] = body["spec"]["template"]
    status = {"replicas": len(mine) + len(free), "observedGeneration": body["metadata"]["generation"]}
    if body["status"] != status:
        cluster.objects["StatefulSet", name]["status"] = status
        cluster.touched(("StatefulSet", name))


def jobs(cluster: PureCluster) -> None:
    """Each index of a group's Job that has not ended gets a pod once; backoffLimit 0 allows no second."""
    for (kind, name), body in list(cluster.objects.items()):
        if kind != "Job" or "completions" not in body["spec"] or body["status"].get("conditions"):
            continue
        group, uid = int(name.rpartition("-g")[2]), body["metadata"]["uid"]
        had = {found.rank for found in cluster.pods if found.group == group}
        for rank in range(0 if had else body["spec"]["completions"]):
            made = _new(cluster, body, group, rank)
            cluster.pods.append(made)
            cluster.pod_owners[made.uid] = uid
            cluster.pod_templates[made.uid] = body["spec"]["template"]


def _new(cluster: PureCluster, body: Mapping[str, Any], group: int, rank: int) -> PodRecord:
    labels = body["spec"]["template"]["metadata"]["labels"]
    made = pod(rank, group=group, incarnation=int(labels[INCARNATION_LABEL]))
    uid, number = made.uid, 1
    while uid in cluster.pod_owners:
        number += 1
        uid = f"{made.uid}-{number}"
    return replace(
        made,
        uid=uid,
        node="",
        scheduled=False,
        ready=False,
        phase="Pending",
        engine=WAITING,
        created=stamp(cluster.now),
        waiting_message="0 nodes are available",
    )


def delete_pods(cluster: PureCluster, uids: Collection[str], *, force: bool = False) -> None:
    """Deleted pods end within their grace; one that has no node, and a forced one, is gone at once."""
    doomed = [found for found in cluster.pods if found.uid in uids]
    gone = {found.uid for found in doomed if force or not found.scheduled}
    cluster.pods = [
        replace(found, deleting=True, terminating_until=stamp(cluster.now)) if found.uid in uids else found
        for found in cluster.pods
        if found.uid not in gone
    ]


def ends(cluster: PureCluster) -> None:
    """Kubelets that live end the pods that are being deleted; a lost node's kubelet ends nothing."""
    cluster.pods = [found for found in cluster.pods if not found.deleting or found.node in cluster.dead_nodes]


def evict(cluster: PureCluster) -> None:
    """The taint of a lost node deletes its pods; they stay, since nobody is there to end them."""
    delete_pods(cluster, [found.uid for found in cluster.pods if found.node in cluster.dead_nodes])


def schedule(cluster: PureCluster) -> None:
    """Each waiting pod gets a node of its own, where one is free and its template allows it."""
    for waiting in [found for found in cluster.pods if not found.scheduled and not found.deleting]:
        taken = {found.node for found in cluster.pods}
        avoided = set(_avoided(cluster.pod_templates.get(waiting.uid)))
        fit = [node for node in cluster.nodes if node not in taken | avoided | cluster.dead_nodes]
        if not cluster.nodes:
            fit = [f"node-{waiting.rank}"]
        if fit:
            _change(cluster, waiting.uid, node=fit[0], scheduled=True, waiting_message="")


def run(cluster: PureCluster) -> None:
    """Kubelets start what has a node; engines whose template is good are ready at once."""
    for placed in [found for found in cluster.pods if found.scheduled and not found.deleting]:
        if placed.node in cluster.dead_nodes or placed.phase != "Pending":
            continue
        template = cluster.pod_templates.get(placed.uid, {"metadata": {}})
        good = template["metadata"].get("annotations", {}).get("kwok.e2e/ready") != "false"
        engine = ContainerRecord(state="running", started=good, since=stamp(cluster.now))
        _change(cluster, placed.uid, phase="Running", ready=good, ready_changed=stamp(cluster.now), engine=engine)


def collect(cluster: PureCluster, owner: str) -> None:
    """The garbage collector after the deletion of an owner: what it controls goes, and what that controls."""
    for key, body in list(cluster.objects.items()):
        if owner in _owners(body):
            del cluster.objects[key]
            collect(cluster, body["metadata"]["uid"])
    cluster.once = {key: body for key, body in cluster.once.items() if owner not in _owners(body)}
    delete_pods(cluster, [uid for uid, of in cluster.pod_owners.items() if of == owner])


def _owners(body: Mapping[str, Any]) -> Iterator[str]:
    return (owner["uid"] for owner in body["metadata"].get("ownerReferences", ()))


def _avoided(value: Any) -> Iterator[str]:
    """Names of nodes that an affinity excludes."""
    if isinstance(value, Mapping):
        if value.get("operator") == "NotIn":
            yield from value["values"]
        for member in value.values():
            yield from _avoided(member)
    elif isinstance(value, list):
        for member in value:
            yield from _avoided(member)


def _change(cluster: PureCluster, uid: str, **changes: Any) -> None:
    cluster.pods = [replace(found, **changes) if found.uid == uid else found for found in cluster.pods]
