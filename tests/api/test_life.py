"""What a user sees of a deployment on a real API server, from apply to delete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import GROUP, Operator, UseNodes, World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")
RECONCILES = "deepseek_operator_reconciles_total"
QUIET_SECONDS = 2.0


def test_ten_lines_become_a_serving_group_over_two_nodes(world: World) -> None:
    world.apply()
    status = world.wait_ready()["status"]
    assert status["plan"]["product"] == "NVIDIA-H100-80GB-HBM3"
    assert (status["plan"]["nodesPerGroup"], status["plan"]["tensor"]) == (2, 16)
    pods = world.pods()
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    kinds = {item["kind"] for item in world.items("sts,svc,netpol,pdb,secret,controllerrevision", f"{GROUP}/uid")}
    assert {"StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget", "Secret"} <= kinds


def test_status_before_the_first_visit_is_unknown(world: World, operator: Operator) -> None:
    operator.stop()
    world.apply()
    conditions = world.deployment()["status"]["conditions"]
    assert {c["status"] for c in conditions} == {"Unknown"}
    operator.start()
    world.wait_ready()


def test_a_settled_cluster_sees_no_write_even_across_a_restart_and_then_changes_are_acted_on(
    world: World, operator: Operator
) -> None:
    begun = world.mark()
    world.apply()
    world.wait_ready()
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert any(write.startswith("create persistentvolumes ") for write in world.writes(after=begun))
    mark = world.mark()
    operator.stop()
    operator.start()
    eventually(lambda: operator.metric(RECONCILES) >= 1, what="a reconcile")
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert world.writes(after=mark) == []
    world.kubectl("-n", world.namespace, "delete", "service", "x-g0")
    eventually(lambda: world.items("svc", f"{GROUP}/group=0"), seconds=5, what="the Service is back")
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    eventually(lambda: len(world.items("sts")) == 2, seconds=5, what="the second group")


def quiet(world: World, operator: Operator) -> bool:
    """For two seconds of the audit log's own time the operator neither wrote nor had anything to look at."""
    mark, before = world.mark(), operator.metric(RECONCILES)

    def passed() -> bool:
        world.deployment()
        return world.seconds(after=mark) >= QUIET_SECONDS

    eventually(passed, what="the audit log goes on")
    return before > 0 and operator.metric(RECONCILES) == before and not world.writes(after=mark)


def test_scale_up_and_down_by_kubectl_scale(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.kubectl("-n", world.namespace, "scale", "dsd/x", "--replicas=2")
    assert world.wait_ready()["status"]["readyReplicas"] == 2
    world.kubectl("-n", world.namespace, "scale", "dsd/x", "--replicas=1")
    eventually(lambda: [s["metadata"]["name"] for s in world.items("sts")] == ["x-g0"], what="x-g1 removed")
    leftovers = world.items("svc,netpol,pdb", f"{GROUP}/group=1")
    eventually(lambda: not world.items("svc,netpol,pdb", f"{GROUP}/group=1"), what=str(leftovers))


def test_a_killed_worker_restarts_the_whole_group_as_one(world: World) -> None:
    world.apply()
    world.wait_ready()
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(lambda: world.incarnations() == {"2"} and len(world.pods()) == 2, what="incarnation 2")
    status = world.wait_ready()["status"]
    assert not before & {pod["metadata"]["uid"] for pod in world.pods()}
    incident = status["groups"][0]["incidents"][0]
    assert (incident["rank"], incident["reason"]) == (1, "PodDeleted")


def test_no_pod_of_the_next_incarnation_exists_before_a_slow_rank_is_gone(world: World) -> None:
    world.apply(podTemplate={"annotations": {"kwok.e2e/termination-seconds": "20"}})
    world.wait_ready()
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-1", "--wait=false")
    eventually(lambda: world.get("sts", "x-g0")["spec"]["replicas"] == 0, seconds=5, what="stopped at 0")
    seen = []

    def restarted() -> bool:
        seen.append(world.incarnations())
        return seen[-1] == {"2"}

    eventually(restarted, seconds=60, what="incarnation 2")
    assert {"1"} in seen, "the slow rank was never seen terminating"
    assert {"1", "2"} not in seen


def test_a_changed_spec_replaces_groups_one_at_a_time(world: World) -> None:
    world.apply(replicas=2)
    world.wait_ready()
    down: set[tuple[str, ...]] = set()
    world.patch("dsd", "x", {"spec": {"servedName": "other"}})

    def replaced() -> bool:
        groups = world.deployment()["status"]["groups"]
        down.add(tuple(str(g["index"]) for g in groups if not g["ready"]))
        status = world.deployment()["status"]
        return bool((status["updatedReplicas"], status["readyReplicas"]) == (2, 2))

    eventually(replaced, seconds=60, what="both groups on the new revision")
    assert all(len(groups) <= 1 for groups in down), down
    assert len(world.items("controllerrevision", f"{GROUP}/revision-of")) == 2


def test_suspend_frees_the_nodes_and_resume_brings_the_group_back(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.patch("dsd", "x", {"spec": {"suspend": True}})
    eventually(lambda: not world.pods(), what="no pod is left")
    eventually(lambda: world.condition("Ready")["reason"] == "Suspended", what="reason Suspended")
    world.patch("dsd", "x", {"spec": {"suspend": False}})
    world.wait_ready()


def test_a_serving_group_survives_an_edit_to_something_invalid(world: World) -> None:
    world.apply()
    world.wait_ready()
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    world.patch("dsd", "x", {"spec": {"parallelism": {"tensor": 12}}})
    stalled = eventually(lambda: (c := world.condition("Stalled")).get("status") == "True" and c, what="Stalled")
    assert "spec.parallelism.tensor" in stalled["message"]
    assert world.condition("Available")["status"] == "True"
    assert before == {pod["metadata"]["uid"] for pod in world.pods()}
    world.patch("dsd", "x", {"spec": {"parallelism": None}})
    world.wait_ready()
    assert before == {pod["metadata"]["uid"] for pod in world.pods()}


def test_deletion_leaves_nothing_but_the_shared_weights(world: World) -> None:
    world.apply()
    world.wait_ready()
    uid = world.deployment()["metadata"]["uid"]
    world.kubectl("-n", world.namespace, "delete", "dsd", "x")
    kinds = "sts,pods,svc,netpol,pdb,secret,controllerrevision"
    eventually(lambda: not world.items(kinds, f"{GROUP}/uid={uid}"), seconds=60, what="children are collected")
    eventually(lambda: not world.items("controllerrevision"), seconds=60, what="revisions are collected")


def test_weights_on_the_nodes_are_found_again_after_their_claim_was_deleted(world: World) -> None:
    world.apply()
    world.wait_ready()
    (claim,) = world.items("pvc")
    world.kubectl("-n", world.namespace, "delete", "dsd", "x")
    world.kubectl("-n", world.namespace, "delete", "pvc", claim["metadata"]["name"])
    world.apply()
    world.wait_ready()
    (again,) = world.items("pvc")
    assert again["metadata"]["uid"] != claim["metadata"]["uid"]
    assert again["status"]["phase"] == "Bound"


def test_a_child_edited_by_hand_is_put_right(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.patch("pdb", "x-g0", {"spec": {"maxUnavailable": 1}})
    eventually(lambda: world.get("pdb", "x-g0")["spec"]["maxUnavailable"] == 0, seconds=5, what="mended")
    world.patch("netpol", "x-g0", {"spec": {"ingress": None}})
    eventually(lambda: world.get("netpol", "x-g0")["spec"].get("ingress"), seconds=5, what="mended")


def test_labels_that_others_add_to_children_are_left_alone(world: World, operator: Operator) -> None:
    world.apply()
    world.wait_ready()
    eventually(lambda: quiet(world, operator), what="the operator settles")
    mark = world.mark()
    world.kubectl("-n", world.namespace, "label", "svc", "x", "team=serving")
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert world.writes(after=mark) == []


def test_a_foreign_object_of_our_name_is_never_taken_over(world: World) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
    }
    world.kubectl.apply(foreign, namespace=world.namespace)
    world.apply()
    stalled = eventually(lambda: (c := world.condition("Stalled")).get("reason") == "NameTaken" and c, what="NameTaken")
    assert "Service x" in stalled["message"]
    assert world.get("svc", "x")["spec"]["selector"] == {"app": "theirs"}


def test_a_deleted_secret_does_not_keep_a_group_from_its_next_start(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.kubectl("-n", world.namespace, "delete", "secret", "x-keys")
    world.kubectl("-n", world.namespace, "delete", "pod", "x-g0-0", "--wait=false")
    eventually(lambda: world.incarnations() == {"2"}, what="incarnation 2")
    assert world.get("secret", "x-keys")["data"].keys() == {"api-key", "admin-key"}


def test_a_namespace_deleted_under_the_operator_ends_quietly(world: World) -> None:
    world.kubectl("create", "namespace", f"{world.namespace}-b")
    other = World(kubectl=world.kubectl, cluster=world.cluster, namespace=f"{world.namespace}-b")
    other.apply()
    other.wait_ready()
    world.kubectl("delete", "namespace", other.namespace, "--timeout=60s")
    world.apply()
    world.wait_ready()


def test_the_api_server_may_restart_under_the_operator(world: World, operator: Operator) -> None:
    world.apply()
    world.wait_ready()
    world.cluster.restart_apiserver()
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    assert world.wait_ready(seconds=60)["status"]["readyReplicas"] == 2
    assert operator.process is not None
    assert operator.process.poll() is None


def test_of_two_operators_only_one_acts(world: World, operator: Operator, tmp_path: Path) -> None:
    second = Operator(kubeconfig=operator.kubeconfig, directory=tmp_path)
    second.start()
    try:
        eventually(lambda: "Initial authentication has finished" in second.log, what="the second runs")
        world.apply()
        world.wait_ready()
        assert "leading as" not in second.log
        operator.stop()
        eventually(lambda: "leading as" in second.log, seconds=30, what="the second takes over")
        world.patch("dsd", "x", {"spec": {"replicas": 0}})
        eventually(lambda: not world.items("sts"), what="the second acts")
    finally:
        second.stop()


def test_labels_that_appear_late_make_a_waiting_deployment_start(world: World, use_nodes: UseNodes) -> None:
    use_nodes("nvidia-h100.yaml")
    names = [n["metadata"]["name"] for n in world.kubectl.json("nodes")["items"]]
    saved = {name: world.kubectl.json("node", name)["metadata"]["labels"]["nvidia.com/gpu.product"] for name in names}
    world.kubectl("label", "nodes", "--all", "nvidia.com/gpu.product-")
    world.apply()
    planned = eventually(lambda: (c := world.condition("Planned")).get("status") == "False" and c, what="Planned=False")
    assert planned["message"]
    for name, product in saved.items():
        world.kubectl("label", "node", name, f"nvidia.com/gpu.product={product}")
    world.wait_ready()


def test_a_lost_revision_comes_back_and_its_group_stays_where_it_is(
    world: World, operator: Operator, use_nodes: UseNodes
) -> None:
    world.apply()
    world.wait_ready()
    before = {pod["metadata"]["uid"] for pod in world.pods()}
    use_nodes("nvidia-h100.yaml", "nvidia-h200.yaml")
    (revision,) = world.items("controllerrevision", f"{GROUP}/revision-of")
    name = revision["metadata"]["name"]
    world.kubectl("-n", world.namespace, "delete", "controllerrevision", name)

    def back() -> Any:
        found = world.items("controllerrevision", f"{GROUP}/revision-of")
        return found and found[0]

    again = eventually(back, seconds=10, what="the revision is back")
    assert again["metadata"]["uid"] != revision["metadata"]["uid"]
    assert again["data"] == revision["data"]
    eventually(lambda: quiet(world, operator), what="the operator settles")
    assert before == {pod["metadata"]["uid"] for pod in world.pods()}
    assert world.condition("Ready")["status"] == "True"


def test_a_service_that_no_apply_can_mend_is_put_right_and_then_left_alone(world: World, operator: Operator) -> None:
    world.apply()
    world.wait_ready()
    before = world.get("svc", "x")
    world.patch("svc", "x", {"spec": {"ports": [{"port": 9999}]}})
    eventually(lambda: world.get("svc", "x")["spec"]["ports"] == before["spec"]["ports"], what="mended")
    assert world.get("svc", "x")["metadata"]["uid"] == before["metadata"]["uid"]
    eventually(lambda: quiet(world, operator), what="the operator settles")


def test_the_objects_are_what_render_prints(world: World, operator: Operator) -> None:
    world.apply()
    deployment = world.wait_ready()
    program = str(Path(sys.executable).with_name("deepseek-operator"))
    printed = subprocess.run(
        [program, "render", "-f", "-", "-o", "json", "--config", str(operator.directory / "config.json")],
        env={**os.environ, "KUBECONFIG": str(world.cluster.kubeconfig)},
        input=json.dumps({key: deployment[key] for key in ("apiVersion", "kind", "metadata", "spec")}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rendered = json.loads(printed)["items"]
    assert {manifest["kind"] for manifest in rendered} >= RENDERED_KINDS
    for manifest in rendered:
        kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
        live = world.get(kind, name)
        assert live["metadata"].get("namespace") == manifest["metadata"].get("namespace")
        assert list(differing(manifest, live)) == [], f"{kind} {name}"
        added = set(surplus(manifest, live)) - {f"metadata.{field}" for field in SERVER_METADATA} - {"status"}
        assert sorted(added - SERVER_SET.get(kind, set())) == [], f"{kind} {name}"


def differing(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Where something that was rendered is not so."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            yield from differing(value, live.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, value in enumerate(wanted):
            yield from differing(value, live[index], f"{path}[{index}]")
    elif wanted != live:
        yield f"{path}: {wanted!r} is {live!r}"


def surplus(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Fields that nobody rendered, without the places in lists."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in live.items():
            below = f"{path}.{key}".lstrip(".")
            if key in wanted:
                yield from surplus(wanted[key], value, below)
            else:
                yield below
    elif isinstance(wanted, list) and isinstance(live, list):
        for index, value in enumerate(live[: len(wanted)]):
            yield from surplus(wanted[index], value, path)


RENDERED_KINDS = {
    "ControllerRevision",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Secret",
    "Service",
    "StatefulSet",
}
SERVER_METADATA = ("creationTimestamp", "finalizers", "generation", "resourceVersion", "uid")
_CONTAINER = {"imagePullPolicy", "terminationMessagePath"}
_POD = "spec.template.spec"
SERVER_SET: dict[str, set[str]] = {
    "secret": {"data"},  # random, and never printed
    "persistentvolume": {"spec.claimRef.resourceVersion", "spec.claimRef.uid", "spec.volumeMode"},
    "persistentvolumeclaim": {"metadata.annotations.pv.kubernetes.io/bind-completed", "spec.volumeMode"},
    "service": {
        "spec.clusterIP",
        "spec.clusterIPs",
        "spec.internalTrafficPolicy",
        "spec.ipFamilies",
        "spec.ipFamilyPolicy",
        "spec.sessionAffinity",
        "spec.type",
    },
    "statefulset": {
        "spec.persistentVolumeClaimRetentionPolicy",
        f"{_POD}.dnsPolicy",
        f"{_POD}.schedulerName",
        f"{_POD}.containers.readinessProbe.successThreshold",
        f"{_POD}.containers.startupProbe.successThreshold",
        *(f"{_POD}.{kind}.{field}" for kind in ("containers", "initContainers") for field in _CONTAINER),
    },
}
"""What the API server and its controllers add to each kind."""
