"""Carrying out: what goes over the wire for each action, and what a world that moved on makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import JSON_PATCH, ApiError, ConflictError, KubeClient
from deepseek_operator.control.execute import Executor, NameTakenError, TooEarlyError
from deepseek_operator.control.leader import Elector, LeadershipLostError
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.metrics import REGISTRY
from deepseek_operator.control.projections import project_deployment
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Delete,
    DeletePod,
    Event,
    StartGroup,
    StopGroup,
)
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn

DEPLOYMENT = project_deployment(bodies.deployment())
SELECTOR = f"{names.UID_LABEL}=cr,{names.GROUP_LABEL}=0"


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    cache.put(kinds.DEPLOYMENT, bodies.deployment())
    return cache


@pytest.fixture
async def executor(server: StandIn, client: KubeClient, cache: Cache) -> Executor:
    elector = Elector(client, namespace="default", identity="one")
    await elector.acquire()
    server.requests.clear()
    return Executor(client, cache, elector, WriteLimiter(per_second=1000, burst=1000))


def service(*, labels: dict[str, str] | None = None, port: int = 8000) -> dict[str, Any]:
    owner = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": "x", "uid": "cr", "controller": True}
    own = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.UID_LABEL: "cr"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "x",
            "namespace": "default",
            "labels": own | (labels or {}),
            "ownerReferences": [owner],
        },
        "spec": {"ports": [{"port": port}]},
    }


def stateful_set(*, incarnation: int = 1, replicas: int = 2) -> dict[str, Any]:
    manifest = bodies.stateful_set()
    for field in ("uid", "resourceVersion", "generation"):
        del manifest["metadata"][field]
    del manifest["status"]
    manifest["apiVersion"] = "apps/v1"
    manifest["spec"]["replicas"] = replicas
    manifest["spec"]["template"]["metadata"]["labels"][names.INCARNATION_LABEL] = str(incarnation)
    return manifest


def missing(manifest: dict[str, Any]) -> Apply:
    return Apply(manifest=manifest, uid=None, why="missing")


def live_uid(server: StandIn, kind: kinds.Kind, name: str) -> str:
    uid: str = server.find(kind, name)["metadata"]["uid"]
    return uid


def counted(action: str, kind: str) -> float:
    return REGISTRY.get_sample_value("deepseek_operator_writes_total", {"action": action, "kind": kind}) or 0.0


async def test_what_is_missing_is_posted_and_read_back_without_waiting_for_the_watch(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    before = counted("create", "Service")
    await executor.run(DEPLOYMENT, missing(service()))
    assert [request.what for request in server.requests] == ["POST services"]
    child = cache.child("cr", ("Service", "x"))
    assert child is not None
    assert child.uid == live_uid(server, kinds.SERVICE, "x")
    assert counted("create", "Service") == before + 1


async def test_a_foreign_object_of_our_name_is_told_and_left_alone(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    foreign = server.add(kinds.SERVICE, {"metadata": {"name": "x", "namespace": "default"}, "spec": {"a": 1}})
    with pytest.raises(NameTakenError) as caught:
        await executor.run(DEPLOYMENT, missing(service()))
    assert caught.value.key == ("Service", "x")
    assert server.find(kinds.SERVICE, "x") == foreign
    assert cache.child("cr", ("Service", "x")) is None


async def test_our_own_object_that_the_cache_had_missed_is_no_name_taken(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    cache.forget(kinds.SERVICE, live_uid(server, kinds.SERVICE, "x"))
    await executor.run(DEPLOYMENT, missing(service()))
    assert cache.child("cr", ("Service", "x")) is not None


async def test_what_exists_is_applied_with_its_uid_after_our_post_was_made_an_apply(
    server: StandIn, executor: Executor
) -> None:
    await executor.run(DEPLOYMENT, missing(service(labels={"a": "1", "b": "1"})))
    uid = live_uid(server, kinds.SERVICE, "x")
    server.requests.clear()
    await executor.run(DEPLOYMENT, Apply(manifest=service(labels={"a": "1"}), uid=uid, why="changed"))
    assert [request.what for request in server.requests] == ["GET services/x", *["PATCH services/x"] * 2]
    rename, apply = server.asked("PATCH services/x")
    assert rename.body == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": rename.body[0]["value"]},
        {"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Apply"},
    ]
    assert apply.body["metadata"]["uid"] == uid
    stored = server.find(kinds.SERVICE, "x")["metadata"]
    assert "b" not in stored["labels"]
    assert [entry["operation"] for entry in stored["managedFields"]] == ["Apply"]


async def test_an_applied_object_is_not_renamed_again(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    uid = live_uid(server, kinds.SERVICE, "x")
    for port in (1, 2):
        server.requests.clear()
        await executor.run(DEPLOYMENT, Apply(manifest=service(port=port), uid=uid, why="changed"))
    assert [request.what for request in server.requests] == ["GET services/x", "PATCH services/x"]


async def test_the_entry_of_another_manager_keeps_its_place(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    stored = server.find(kinds.SERVICE, "x")
    theirs = {"manager": "kubectl", "operation": "Update", "fieldsV1": {}}
    status = {"manager": names.FIELD_MANAGER, "operation": "Update", "subresource": "status", "fieldsV1": {}}
    stored["metadata"]["managedFields"][:0] = [theirs, status]
    uid = live_uid(server, kinds.SERVICE, "x")
    server.requests.clear()
    await executor.run(DEPLOYMENT, Apply(manifest=service(), uid=uid, why="changed"))
    assert server.asked("PATCH services/x")[0].body[1]["path"] == "/metadata/managedFields/2/operation"


async def test_an_object_made_anew_under_its_name_is_not_touched(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    stored = dict(server.find(kinds.SERVICE, "x"))
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, Apply(manifest=service(port=1), uid="the one before", why="changed"))
    assert server.find(kinds.SERVICE, "x")["spec"] == stored["spec"]
    assert "DELETE services/x" not in server.writes


async def test_a_service_that_no_apply_can_mend_is_put_and_never_deleted(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    await executor.run(DEPLOYMENT, Apply(manifest=service(port=1), uid=live_uid(server, kinds.SERVICE, "x"), why="w"))
    server.find(kinds.SERVICE, "x")["spec"] |= {"clusterIP": "10.0.0.1", "externalIPs": ["1.2.3.4"]}
    server.fail_next("PATCH", 422, "Invalid")
    uid = live_uid(server, kinds.SERVICE, "x")
    await executor.run(DEPLOYMENT, Apply(manifest=service(port=2), uid=uid, why="changed"))
    assert server.requests[-1].what == "PUT services/x"
    assert not server.asked("DELETE services/x")
    stored = server.find(kinds.SERVICE, "x")
    assert (stored["metadata"]["uid"], stored["spec"]) == (uid, {"clusterIP": "10.0.0.1", "ports": [{"port": 2}]})
    child = cache.child("cr", ("Service", "x"))
    assert child is not None
    assert child.resource_version == int(stored["metadata"]["resourceVersion"])


async def test_a_policy_that_forbids_the_service_is_told_and_nothing_is_deleted(
    server: StandIn, executor: Executor
) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    uid = live_uid(server, kinds.SERVICE, "x")
    server.refused = dict.fromkeys(("PATCH services/x", "PUT services/x"), (422, "Invalid"))
    with pytest.raises(ApiError, match="a policy forbids it"):
        await executor.run(DEPLOYMENT, Apply(manifest=service(port=2), uid=uid, why="changed"))
    assert server.find(kinds.SERVICE, "x")["spec"] == {"ports": [{"port": 8000}]}


async def test_a_stateful_set_is_never_deleted_because_an_apply_failed(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(stateful_set()))
    uid = live_uid(server, kinds.STATEFUL_SET, "x-g0")
    await executor.run(DEPLOYMENT, Apply(manifest=stateful_set(replicas=3), uid=uid, why="w"))
    server.fail_next("PATCH", 422, "Invalid")
    with pytest.raises(ApiError, match="422 Invalid"):
        await executor.run(DEPLOYMENT, Apply(manifest=stateful_set(), uid=uid, why="changed"))
    assert {request.method for request in server.requests if request.what.endswith("/x-g0")} == {"GET", "PATCH"}


async def test_a_stop_changes_one_number_of_the_very_object(server: StandIn, executor: Executor, cache: Cache) -> None:
    await executor.run(DEPLOYMENT, missing(stateful_set()))
    uid = live_uid(server, kinds.STATEFUL_SET, "x-g0")
    await executor.run(DEPLOYMENT, StopGroup(name="x-g0", uid=uid, group=0, incarnation=1))
    request = server.requests[-1]
    assert (request.what, request.content_type) == ("PATCH statefulsets/x-g0", JSON_PATCH)
    assert [step["op"] for step in request.body] == ["test", "test", "replace"]
    assert request.body[-1] == {"op": "replace", "path": "/spec/replicas", "value": 0}
    deployment = cache.deployment(("default", "x"))
    assert deployment is not None
    assert cache.snapshot(deployment).workloads[0].replicas == 0


async def test_a_late_stop_of_a_stateful_set_made_anew_changes_nothing(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(stateful_set()))
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, StopGroup(name="x-g0", uid="the one before", group=0, incarnation=1))
    assert server.find(kinds.STATEFUL_SET, "x-g0")["spec"]["replicas"] == 2


async def test_a_late_stop_does_not_hit_the_next_incarnation(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(stateful_set(incarnation=2)))
    uid = live_uid(server, kinds.STATEFUL_SET, "x-g0")
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, StopGroup(name="x-g0", uid=uid, group=0, incarnation=1))
    assert server.find(kinds.STATEFUL_SET, "x-g0")["spec"]["replicas"] == 2


async def test_stopping_what_is_gone_is_done(executor: Executor) -> None:
    await executor.run(DEPLOYMENT, StopGroup(name="x-g7", uid="u", group=7, incarnation=1))


def start(incarnation: int, *, uid: str | None = None, version: int | None = None) -> StartGroup:
    return StartGroup(
        manifest=stateful_set(incarnation=incarnation),
        uid=uid,
        resource_version=version,
        group=0,
        pod_selector=SELECTOR,
        incarnation=incarnation,
    )


async def test_a_start_looks_at_the_pods_that_really_are_there(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, start(1))
    assert [request.what for request in server.requests] == ["GET pods", "POST statefulsets"]
    assert server.requests[0].query["labelSelector"] == SELECTOR


async def test_a_start_waits_for_a_pod_that_the_cache_did_not_show(server: StandIn, executor: Executor) -> None:
    server.add(kinds.POD, bodies.pod(1))
    with pytest.raises(TooEarlyError, match="x-g0-1"):
        await executor.run(DEPLOYMENT, start(3))
    assert server.writes == []


async def test_pods_of_the_same_start_and_of_other_groups_hold_nothing_back(
    server: StandIn, executor: Executor
) -> None:
    server.add(kinds.POD, bodies.pod(0))
    server.add(kinds.POD, bodies.pod(0, group=1))
    await executor.run(DEPLOYMENT, start(2))
    assert server.writes == ["POST statefulsets"]


async def test_the_next_start_is_one_apply_of_number_and_incarnation(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, start(1))
    uid = live_uid(server, kinds.STATEFUL_SET, "x-g0")
    await executor.run(DEPLOYMENT, StopGroup(name="x-g0", uid=uid, group=0, incarnation=1))
    stopped = int(server.find(kinds.STATEFUL_SET, "x-g0")["metadata"]["resourceVersion"])
    await executor.run(DEPLOYMENT, start(2, uid=uid, version=stopped))
    spec = server.find(kinds.STATEFUL_SET, "x-g0")["spec"]
    assert (spec["replicas"], spec["template"]["metadata"]["labels"][names.INCARNATION_LABEL]) == (2, "2")


@pytest.mark.parametrize("renamed", [False, True], ids=["as posted", "as applied"])
async def test_a_start_that_was_decided_before_somebody_else_acted_changes_nothing(
    server: StandIn,
    executor: Executor,
    renamed: bool,  # noqa: FBT001 - a table's column
) -> None:
    await executor.run(DEPLOYMENT, start(1))
    uid = live_uid(server, kinds.STATEFUL_SET, "x-g0")
    if renamed:
        await executor.run(DEPLOYMENT, start(1, uid=uid))
    judged = int(server.find(kinds.STATEFUL_SET, "x-g0")["metadata"]["resourceVersion"])
    await executor.run(DEPLOYMENT, StopGroup(name="x-g0", uid=uid, group=0, incarnation=1))
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, start(2, uid=uid, version=judged))
    assert server.find(kinds.STATEFUL_SET, "x-g0")["spec"]["replicas"] == 0


async def test_an_orphaned_pod_ends_with_its_grace(server: StandIn, executor: Executor) -> None:
    uid = server.add(kinds.POD, bodies.pod())["metadata"]["uid"]
    await executor.run(DEPLOYMENT, DeletePod(name="x-g0-0", uid=uid, grace_seconds=None))
    assert server.requests[-1].body["preconditions"] == {"uid": uid}
    assert "gracePeriodSeconds" not in server.requests[-1].body


async def test_what_a_deleted_namesake_left_behind_is_waited_for(server: StandIn, executor: Executor) -> None:
    server.add(kinds.SERVICE, bodies.service(owner="the deployment before"))
    with pytest.raises(TooEarlyError, match="Service x of an earlier deployment"):
        await executor.run(DEPLOYMENT, missing(service()))


async def test_a_secret_is_posted_once_and_never_read_or_changed(server: StandIn, executor: Executor) -> None:
    def secret(key: str) -> CreateOnce:
        metadata = {"name": "x-keys", "namespace": "default"}
        return CreateOnce(manifest={"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"k": key}})

    await executor.run(DEPLOYMENT, secret("first"))
    await executor.run(DEPLOYMENT, secret("second"))
    assert [request.what for request in server.requests] == ["POST secrets"] * 2
    assert server.find(kinds.SECRET, "x-keys")["data"] == {"k": "first"}


async def test_a_volume_of_the_cluster_is_posted_outside_namespaces(server: StandIn, executor: Executor) -> None:
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "default.weights"}, "spec": {}}
    await executor.run(DEPLOYMENT, CreateOnce(manifest=volume))
    assert server.requests[0].path == "/api/v1/persistentvolumes"


async def test_deletes_mean_one_object_only(server: StandIn, executor: Executor) -> None:
    await executor.run(DEPLOYMENT, missing(service()))
    with pytest.raises(ConflictError):
        await executor.run(DEPLOYMENT, Delete(kind="Service", name="x", uid="the one before"))
    uid = live_uid(server, kinds.SERVICE, "x")
    await executor.run(DEPLOYMENT, Delete(kind="Service", name="x", uid=uid))
    assert "gracePeriodSeconds" not in server.requests[-1].body
    await executor.run(DEPLOYMENT, Delete(kind="Service", name="x", uid=uid))


async def test_a_pod_of_a_dead_node_goes_without_grace(server: StandIn, executor: Executor) -> None:
    uid = server.add(kinds.POD, bodies.pod())["metadata"]["uid"]
    await executor.run(DEPLOYMENT, DeletePod(name="x-g0-0", uid=uid, grace_seconds=0))
    assert server.requests[-1].body["gracePeriodSeconds"] == 0
    assert server.requests[-1].body["preconditions"] == {"uid": uid}


async def test_status_is_put_for_exactly_the_version_decided_upon(
    server: StandIn, executor: Executor, cache: Cache
) -> None:
    stored = server.add(kinds.DEPLOYMENT, bodies.deployment())
    deployment = project_deployment(stored)
    fresh = await executor.write_status(deployment, {"replicas": 1})
    assert server.requests[-1].what == "PUT deepseekdeployments/x/status"
    assert server.requests[-1].body["metadata"]["resourceVersion"] == str(deployment.resource_version)
    assert (fresh.status, fresh.resource_version > deployment.resource_version) == ({"replicas": 1}, True)
    assert cache.deployment(("default", "x")) == fresh
    with pytest.raises(ConflictError):
        await executor.write_status(deployment, {"replicas": 2})
    assert server.find(kinds.DEPLOYMENT, "x")["status"] == {"replicas": 1}


async def test_the_operator_never_writes_the_users_fields(server: StandIn, executor: Executor) -> None:
    stored = server.add(kinds.DEPLOYMENT, bodies.deployment())
    await executor.write_status(project_deployment(stored), {"replicas": 1})
    live = server.find(kinds.DEPLOYMENT, "x")
    assert live["spec"] == stored["spec"]
    assert {k: v for k, v in live["metadata"].items() if k not in ("resourceVersion", "generation")} == {
        k: v for k, v in stored["metadata"].items() if k not in ("resourceVersion", "generation")
    }


async def test_an_event_speaks_of_the_deployment_and_a_lost_one_stops_nothing(
    server: StandIn, executor: Executor
) -> None:
    event = Event(type="Warning", reason="OOMKilled", message="rank 1")
    await executor.record(DEPLOYMENT, event)
    body = server.requests[-1].body
    assert (body["type"], body["reason"], body["note"], body["regarding"]["uid"]) == (
        "Warning",
        "OOMKilled",
        "rank 1",
        "cr",
    )
    server.fail_next("POST", 403, "Forbidden")
    await executor.record(DEPLOYMENT, event)


ACTIONS: dict[str, Action] = {
    "create": missing(service()),
    "start": start(1),
    "stop": StopGroup(name="x-g0", uid="u", group=0, incarnation=1),
    "delete": Delete(kind="Service", name="x", uid="u"),
    "force": DeletePod(name="x-g0-0", uid="u", grace_seconds=0),
    "once": CreateOnce(manifest={"kind": "Secret", "metadata": {"name": "x-keys", "namespace": "default"}}),
}


@pytest.mark.parametrize("action", ACTIONS)
async def test_who_does_not_lead_writes_nothing(server: StandIn, client: KubeClient, cache: Cache, action: str) -> None:
    idle = Elector(client, namespace="default", identity="two")
    executor = Executor(client, cache, idle, WriteLimiter(per_second=1000, burst=1000))
    with pytest.raises(LeadershipLostError):
        await executor.run(DEPLOYMENT, ACTIONS[action])
    with pytest.raises(LeadershipLostError):
        await executor.write_status(DEPLOYMENT, {})
    with pytest.raises(LeadershipLostError):
        await executor.record(DEPLOYMENT, Event(type="Normal", reason="R", message=""))
    assert server.writes == []
