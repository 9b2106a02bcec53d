"""One deployment, once: status before actions, nothing twice, and progress that does not flood the API server."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.catalog.load import load
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache, Key
from deepseek_operator.control.catalogue import Catalogue
from deepseek_operator.control.client import ApiError, KubeClient
from deepseek_operator.control.execute import Executor
from deepseek_operator.control.lastlines import LogReader
from deepseek_operator.control.leader import Elector
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.metrics import REGISTRY
from deepseek_operator.control.progress import ProgressReader
from deepseek_operator.control.queue import WorkQueue
from deepseek_operator.control.reconcile import Observers, Reconciler, _pressing
from deepseek_operator.control.reported import Reporter
from deepseek_operator.control.usage import Usage
from deepseek_operator.control.verify import Verifier
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn
from tests.unit.plan.nodes import h100, h200

KEY = ("default", "x")
PUT_STATUS = "PUT deepseekdeployments/x/status"


class World:
    """A reconciler with everything real but the API server."""

    def __init__(self, server: StandIn, client: KubeClient, elector: Elector) -> None:
        self.server = server
        self.elector = elector
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.verifier = Verifier(client, self.cache, load(), namespaces=())
        self.reporter = Reporter(lambda _: None)
        self.progress = ProgressReader(lambda _: None)
        self.logs = LogReader(client, lambda _: None)
        self.reconciler = Reconciler(
            client=client,
            cache=self.cache,
            executor=Executor(client, self.cache, elector, WriteLimiter(per_second=1000, burst=1000)),
            observers=Observers(
                verifier=self.verifier,
                usage=Usage(client, self.cache, load(), namespaces=()),
                catalogue=Catalogue(client, namespace="default", changed=lambda: None, may_write=lambda: False),
                reporter=self.reporter,
                progress=self.progress,
                logs=self.logs,
            ),
            queue=self.queue,
            config=OperatorConfig(),
        )

    async def look(self) -> None:
        """What the watches would bring."""
        await self.verifier.fill()

    async def reconcile(self) -> list[str]:
        """One pass; returns its writes."""
        self.server.requests.clear()
        await self.reconciler.reconcile(KEY)
        return [write for write in self.server.writes if write != "POST events"]

    async def attempt(self) -> None:
        """One pass as the workers make it."""
        worker = asyncio.ensure_future(self.reconciler.work())
        self.queue.add(KEY)
        while len(self.queue) or self.queue._working:  # noqa: ASYNC110, SLF001 - the queue has no other end
            await asyncio.sleep(0)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.find(kinds.DEPLOYMENT, "x")["status"]
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.status()["conditions"] if c["type"] == kind)
        return found

    def edit(self, **spec: Any) -> None:
        stored = self.server.find(kinds.DEPLOYMENT, "x")
        stored["spec"] = {**stored["spec"], **spec}
        self.server.version += 1
        stored["metadata"]["resourceVersion"] = str(self.server.version)
        stored["metadata"]["generation"] += 1
        self.cache.put(kinds.DEPLOYMENT, copy.deepcopy(stored))


@pytest.fixture
async def world(server: StandIn, client: KubeClient) -> AsyncIterator[World]:
    elector = Elector(client, namespace="default", identity="one")
    await elector.acquire()
    for name in ("a", "b"):
        server.add(kinds.NODE, h100(name))
    server.add(kinds.DEPLOYMENT, bodies.deployment())
    server.add(kinds.STORAGE_CLASS, {"metadata": {"name": "s", "annotations": _DEFAULT}})
    world = World(server, client, elector)
    await world.look()
    yield world
    for task in world.reconciler._asking.values():  # noqa: SLF001 - nor ask
        task.cancel()
    for timer in world.queue._timers.values():  # noqa: SLF001 - nothing may fire after the test
        timer.cancel()


_DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


async def test_status_is_written_before_anything_is_done(world: World) -> None:
    writes = await world.reconcile()
    assert writes[0] == PUT_STATUS
    assert writes[-1] == "POST statefulsets"
    assert writes.count(PUT_STATUS) == 1
    assert sorted(writes[1:-1]) == [
        "POST controllerrevisions",
        "POST networkpolicies",
        "POST networkpolicies",
        "POST poddisruptionbudgets",
        "POST secrets",
        "POST services",
        "POST services",
    ]


async def test_events_tell_of_the_plan_once(world: World) -> None:
    await world.reconcile()
    (event,) = world.server.asked("POST events")
    assert (event.body["type"], event.body["reason"]) == ("Normal", "Planned")
    await world.reconcile()
    assert world.server.asked("POST events") == []


async def test_repeating_it_writes_nothing_even_when_all_is_read_anew(world: World) -> None:
    await world.reconcile()
    # Only now the policies exist that condition NetworkIsolated speaks of.
    assert await world.reconcile() == [PUT_STATUS]
    await world.look()
    assert await world.reconcile() == []
    assert world.server.writes == []


async def test_a_restarted_operator_writes_nothing(world: World, client: KubeClient) -> None:
    await world.reconcile()
    await world.reconcile()
    elector = Elector(client, namespace="default", identity="one")
    await elector.acquire()
    fresh = World(world.server, client, elector)
    await fresh.look()
    assert await fresh.reconcile() == []
    assert world.server.writes == []


async def test_a_deployment_that_is_gone_or_going_is_left_alone(world: World) -> None:
    going = bodies.deployment(version=10_000)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    world.cache.put(kinds.DEPLOYMENT, going)
    assert await world.reconcile() == []
    world.cache.remove(kinds.DEPLOYMENT, going)
    assert await world.reconcile() == []


async def test_a_name_that_is_taken_is_told_and_looked_at_again_without_further_writes(world: World) -> None:
    world.server.add(kinds.SERVICE, {"metadata": {"name": "x", "namespace": "default"}, "spec": {}})
    await world.reconcile()
    assert world.condition("Stalled")["reason"] == "NameTaken"
    before = copy.deepcopy(world.server.objects)
    # What the pods need and nobody watches is asked for again; that it exists is fine.
    assert await world.reconcile() == ["POST secrets"]
    assert world.server.objects == before
    world.server.drop(kinds.SERVICE, "x")
    writes = await world.reconcile()
    assert writes[0] == PUT_STATUS
    assert "POST services" in writes
    assert world.condition("Stalled")["status"] == "False"


async def test_a_conflict_reads_the_deployment_again_and_tries_later(world: World) -> None:
    world.server.version += 1
    world.server.find(kinds.DEPLOYMENT, "x")["metadata"]["resourceVersion"] = str(world.server.version)
    await world.attempt()
    assert KEY in world.queue._timers  # noqa: SLF001 - a retry is due
    assert (await world.reconcile())[0] == PUT_STATUS


async def test_a_pod_that_the_cache_did_not_show_is_waited_for(world: World) -> None:
    found = world.server.find(kinds.DEPLOYMENT, "x")["metadata"]["uid"]
    stray = bodies.pod(0, label=found)
    stray["metadata"]["labels"]["serving.deepseek-operator.io/deployment"] = "x"
    world.server.add(kinds.POD, stray)
    before = outcomes("waiting")
    await world.attempt()
    assert outcomes("waiting") > before
    assert not world.server.asked("POST statefulsets")
    assert KEY in world.queue._timers  # noqa: SLF001 - a retry is due


def outcomes(outcome: str) -> float:
    return REGISTRY.get_sample_value("deepseek_operator_reconciles_total", {"outcome": outcome}) or 0.0


async def test_a_server_that_asks_to_wait_is_not_asked_before(world: World) -> None:
    world.server.fail_next("PUT", 429, "TooManyRequests", Retry_After="40")
    await world.attempt()
    loop = asyncio.get_running_loop()
    assert world.queue._timers[KEY].when() - loop.time() > 35  # noqa: SLF001 - when the retry is due


async def serving(world: World) -> None:
    """Bring both pods up, as the StatefulSet's controller and the kubelets would."""
    await world.reconcile()
    uid = world.server.find(kinds.DEPLOYMENT, "x")["metadata"]["uid"]
    world.server.find(kinds.STATEFUL_SET, "x-g0")["status"] = {"replicas": 2, "observedGeneration": 1}
    for rank, node in enumerate("ab"):
        body = bodies.pod(rank, node=node, label=uid)
        body["metadata"]["labels"]["serving.deepseek-operator.io/incarnation"] = "1"
        world.server.add(kinds.POD, body)
    await world.look()


def change(world: World, rank: int, **container: Any) -> None:
    body = world.server.find(kinds.POD, f"x-g0-{rank}")
    body["status"]["containerStatuses"][0] |= container
    ready = container.get("started", True)
    body["status"]["conditions"][1]["status"] = "True" if ready else "False"
    world.server.version += 1
    body["metadata"]["resourceVersion"] = str(world.server.version)
    world.cache.put(kinds.POD, copy.deepcopy(body) | {"kind": "Pod"})


async def test_progress_is_told_at_most_once_a_second_and_never_lost(world: World) -> None:
    await serving(world)
    for rank in range(2):
        change(world, rank, started=False)
    assert await world.reconcile() in ([], [PUT_STATUS])
    change(world, 1, started=True)
    assert await world.reconcile() == []
    assert KEY in world.queue._timers  # noqa: SLF001 - told later
    world.reconciler._told.clear()  # noqa: SLF001 - the second is over
    assert await world.reconcile() == [PUT_STATUS]
    assert world.status()["groups"][0]["stage"] == "Loading"


async def test_serving_and_failing_are_told_at_once(world: World) -> None:
    await serving(world)
    assert await world.reconcile() == [PUT_STATUS]
    assert world.condition("Ready")["status"] == "True"
    change(world, 1, state={"terminated": {"exitCode": 1}}, started=False)
    assert await world.reconcile() == [PUT_STATUS, "PATCH statefulsets/x-g0"]
    assert world.status()["groups"][0]["incidents"][0]["rank"] == 1


async def test_the_log_of_a_failed_rank_is_told_and_not_lost_when_status_has_to_wait(world: World) -> None:
    await serving(world)
    await world.reconcile()
    world.server.logs["x-g0-1", False] = b"Traceback\nRuntimeError: CUDA out of memory.\n"
    change(world, 1, state={"terminated": {"exitCode": 1}}, started=False)
    assert await world.reconcile() == [PUT_STATUS, "PATCH statefulsets/x-g0"]
    await asyncio.gather(*world.logs._tasks.values())  # noqa: SLF001 - it is read beside the work
    assert await world.reconcile() == [], "a second has not passed since the last status"
    world.reconciler._told.clear()  # noqa: SLF001 - now it has
    assert await world.reconcile() == [PUT_STATUS]
    incident = world.status()["groups"][0]["incidents"][0]
    assert (incident["log"][-1], incident["diagnosis"]) == ("RuntimeError: CUDA out of memory.", "DeviceOutOfMemory")
    (event,) = world.server.asked("POST events")
    assert event.body["note"].startswith("group 0: lower spec.context.maxLength")
    assert event.body["note"].endswith("rank 1 said last:\nTraceback\nRuntimeError: CUDA out of memory.")
    await world.reconcile()
    assert world.logs.found(world.server.find(kinds.DEPLOYMENT, "x")["metadata"]["uid"]) == {}


async def test_an_event_never_holds_a_stop_back(world: World) -> None:
    await serving(world)
    await world.reconcile()
    world.server.requests.clear()
    world.server.held["POST events"] = asyncio.Event()
    change(world, 1, state={"terminated": {"exitCode": 1}}, started=False)
    passing = asyncio.ensure_future(world.reconcile())
    async with asyncio.timeout(30):
        while not world.server.asked("POST events"):  # noqa: ASYNC110 - the request is what is awaited
            await asyncio.sleep(0)
    assert "PATCH statefulsets/x-g0" in world.server.writes
    world.server.held["POST events"].set()
    await passing


async def test_an_incident_is_counted_once(world: World) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("deepseek_operator_incidents_total", {"reason": "EngineExited"}) or 0.0

    await serving(world)
    await world.reconcile()
    before = counted()
    change(world, 0, state={"terminated": {"exitCode": 1}}, started=False)
    await world.reconcile()
    await world.reconcile()
    assert counted() == before + 1


async def test_an_edit_to_something_invalid_writes_status_only(world: World) -> None:
    await serving(world)
    await world.reconcile()
    world.edit(parallelism={"tensor": 12})
    assert await world.reconcile() == [PUT_STATUS]
    assert (world.condition("Stalled")["status"], world.condition("Available")["status"]) == ("True", "True")


def replicas(world: World, name: str = "x-g0") -> int:
    found: int = world.server.find(kinds.STATEFUL_SET, name)["spec"]["replicas"]
    return found


async def settled(world: World) -> None:
    """A group that serves, and status that says so."""
    await serving(world)
    await world.reconcile()
    assert await world.reconcile() == []
    assert world.condition("Ready")["status"] == "True"


def end(world: World) -> None:
    """The controller and the kubelets do what a stop asks for."""
    for rank in range(2):
        world.server.drop(kinds.POD, f"x-g0-{rank}")
    stored = world.server.find(kinds.STATEFUL_SET, "x-g0")
    world.server.add(kinds.STATEFUL_SET, stored | {"status": {"replicas": 0, "observedGeneration": 99}})


async def test_a_group_is_stopped_although_another_write_is_refused(world: World) -> None:
    await settled(world)
    world.server.drop(kinds.NETWORK_POLICY, "x")
    await world.look()
    world.server.refused["POST networkpolicies"] = (422, "Invalid")
    change(world, 1, state={"terminated": {"exitCode": 1}}, started=False)
    with pytest.raises(ApiError):
        await world.reconcile()
    assert replicas(world) == 0
    world.reconciler._told.clear()  # noqa: SLF001 - a second later
    with pytest.raises(ApiError):
        await world.reconcile()
    told = world.condition("Reconciling")
    assert (told["status"], told["reason"]) == ("True", "ApplyFailed")
    assert told["message"].startswith("NetworkPolicy x: 422 Invalid")
    end(world)
    await world.look()
    with pytest.raises(ApiError):
        await world.reconcile()
    assert replicas(world) == 0, "a group was started without its policy"
    world.server.refused.clear()
    await world.reconcile()
    assert replicas(world) == 2
    world.reconciler._told.clear()  # noqa: SLF001 - a second later
    await world.reconcile()
    assert world.condition("Reconciling")["reason"] == "Progressing"


async def test_no_rank_starts_without_the_policies_that_protect_it(world: World) -> None:
    world.server.refused["POST networkpolicies"] = (403, "Forbidden")
    with pytest.raises(ApiError):
        await world.reconcile()
    assert not world.server.asked("POST statefulsets")
    assert world.server.asked("POST services")
    world.reconciler._told.clear()  # noqa: SLF001 - a second later
    with pytest.raises(ApiError):
        await world.reconcile()
    assert world.condition("Reconciling")["reason"] == "ApplyFailed"


async def test_a_foreign_object_of_one_group_keeps_no_other_from_ending_and_starting_as_one(world: World) -> None:
    await settled(world)
    world.server.add(kinds.SERVICE, {"metadata": {"name": "x-g1", "namespace": "default"}, "spec": {}})
    world.edit(replicas=2)
    await world.reconcile()
    assert world.status()["nameTaken"] == {"kind": "Service", "name": "x-g1"}
    assert ("statefulsets", "default", "x-g1") not in world.server.objects
    world.server.drop(kinds.NETWORK_POLICY, "x-g1")
    await world.look()
    await world.reconcile()
    assert ("networkpolicies", "default", "x-g1") in world.server.objects
    change(world, 1, state={"terminated": {"exitCode": 1}}, started=False)
    await world.reconcile()
    assert replicas(world) == 0
    end(world)
    await world.look()
    await world.reconcile()
    assert (replicas(world), world.status()["groups"][0]["incarnation"]) == (2, 2)
    assert ("statefulsets", "default", "x-g1") not in world.server.objects


async def test_a_foreign_pod_group_is_told_and_asked_about_again(world: World) -> None:
    gang = kinds.POD_GROUPS["scheduling.x-k8s.io/v1alpha1"]
    world.server.add(gang, {"metadata": {"name": "x-g0", "namespace": "default"}, "spec": {}})
    world.edit(scheduling={"gang": "coscheduling"})
    await world.reconcile()
    assert world.status()["nameTaken"] == {"kind": "PodGroup", "name": "x-g0"}
    await world.reconcile()
    assert ("statefulsets", "default", "x-g0") not in world.server.objects
    world.server.drop(gang, "x-g0")
    await world.reconcile()
    assert "nameTaken" not in world.status()
    assert replicas(world) == 2


async def test_pods_of_strangers_that_wear_our_labels_change_nothing(world: World) -> None:
    await settled(world)
    for metadata in ({"namespace": "attacker"}, {"name": "x-g0-0-debug", "ownerReferences": []}):
        body = copy.deepcopy(world.server.find(kinds.POD, "x-g0-0"))
        body["status"]["phase"] = "Failed"
        body["metadata"] |= {"uid": f"stranger-{len(metadata)}", **metadata}
        world.server.add(kinds.POD, body)
    await world.look()
    assert await world.reconcile() == []


async def test_pods_whose_stateful_set_is_gone_are_deleted_by_uid(world: World) -> None:
    await settled(world)
    world.server.drop(kinds.STATEFUL_SET, "x-g0")
    await world.look()
    assert await world.reconcile() == [PUT_STATUS, "DELETE pods/x-g0-0", "DELETE pods/x-g0-1"]
    asked = [request.body["preconditions"]["uid"] for request in world.server.requests if request.method == "DELETE"]
    assert asked == ["pod-0-0", "pod-0-1"]
    assert world.status()["groups"][0]["incidents"][0]["reason"] == "StatefulSetDeleted"


async def test_a_stateful_set_that_lost_its_labels_gets_them_back_and_its_group_runs_on(world: World) -> None:
    await settled(world)
    stored = copy.deepcopy(world.server.find(kinds.STATEFUL_SET, "x-g0"))
    labels, stored["metadata"]["labels"] = stored["metadata"]["labels"], {}
    world.server.add(kinds.STATEFUL_SET, stored)
    await world.look()
    assert await world.reconcile() == ["PATCH statefulsets/x-g0"]
    assert world.server.find(kinds.STATEFUL_SET, "x-g0")["metadata"]["labels"] == labels
    await world.look()
    assert await world.reconcile() == []
    assert (replicas(world), world.status()["groups"][0]["incarnation"]) == (2, 1)


async def test_who_lost_the_lease_for_a_moment_comes_back_to_what_was_to_be_done(world: World) -> None:
    before = outcomes("not leading")
    world.elector._renewed = float("-inf")  # noqa: SLF001 - the Lease was not renewed in time
    await world.attempt()
    assert outcomes("not leading") == before + 1
    assert KEY in world.queue._timers  # noqa: SLF001 - a retry is due


def revision_of(world: World, name: str) -> dict[str, Any]:
    (found,) = [
        body
        for place, body in world.server.objects.items()
        if place[0] == "controllerrevisions" and place[2].startswith(f"{name}-")
    ]
    return found


async def test_a_lost_revision_comes_back_and_its_group_stays_where_it_is(world: World) -> None:
    await settled(world)
    lost = copy.deepcopy(revision_of(world, "x"))
    world.server.add(kinds.NODE, h200("c"))
    world.server.drop(kinds.REVISION, lost["metadata"]["name"])
    await world.look()
    assert await world.reconcile() == ["POST controllerrevisions"]
    assert revision_of(world, "x")["data"] == lost["data"]
    await world.look()
    assert await world.reconcile() == []
    assert (replicas(world), world.status()["groups"][0]["incarnation"]) == (2, 1)


async def test_two_deployments_of_one_spec_get_their_own_revisions_back(world: World) -> None:
    other = bodies.deployment(uid="cr-of-y")
    other["metadata"]["name"] = "y"
    world.server.add(kinds.DEPLOYMENT, other)
    await world.look()
    both = (KEY, ("default", "y"))
    for key in both:
        await world.reconciler.reconcile(key)
    lost = {name: copy.deepcopy(revision_of(world, name)) for name in "xy"}
    assert lost["x"]["data"]["hash"] == lost["y"]["data"]["hash"]
    for found in lost.values():
        world.server.drop(kinds.REVISION, found["metadata"]["name"])
    await world.look()
    for key in both:
        await world.reconciler.reconcile(key)
    assert {name: revision_of(world, name)["data"] for name in "xy"} == {name: lost[name]["data"] for name in "xy"}


async def test_an_explanation_is_asked_for_beside_the_work_and_told_when_it_comes(world: World) -> None:
    await serving(world)
    for rank in range(2):
        change(world, rank, state={"waiting": {"reason": "ContainerCreating"}}, started=False)
    await world.reconcile()
    stored = world.server.find(kinds.DEPLOYMENT, "x")
    stored["status"]["groups"][0]["since"] = "2026-01-01T12:00:00Z"
    world.edit()
    note = {"regarding": {"uid": "pod-0-0"}, "type": "Warning", "reason": "FailedMount", "note": "no such volume"}
    world.server.add(kinds.EVENT, {"metadata": {"name": "e", "namespace": "default"}, **note})
    world.server.held["GET events"] = asyncio.Event()
    async with asyncio.timeout(30):
        await world.reconcile()
    # What was recorded is followed by another look; it is not of interest here.
    world.queue.done(await world.queue.get())
    assert not world.server.find(kinds.DEPLOYMENT, "x")["status"]["groups"][0].get("message", "").count("FailedMount")
    (asking,) = world.reconciler._asking.values()  # noqa: SLF001 - it goes on beside the work
    await world.reconcile()
    assert list(world.reconciler._asking.values()) == [asking]  # noqa: SLF001 - once is enough
    assert len(world.queue) == 0
    world.server.held["GET events"].set()
    async with asyncio.timeout(30):
        await asking
    assert len(world.queue) == 1
    world.reconciler._told.clear()  # noqa: SLF001 - a second later
    await world.reconcile()
    assert "FailedMount: no such volume" in world.status()["groups"][0]["message"]


async def test_a_deployment_deleted_under_our_hands_is_forgotten(world: World) -> None:
    world.server.drop(kinds.DEPLOYMENT, "x")
    await world.attempt()
    assert world.cache.deployment(KEY) is None
    assert await world.reconcile() == []


GROUP: dict[str, Any] = {
    "index": 0,
    "intent": "Run",
    "incarnation": 1,
    "revision": "r",
    "templateHash": "t",
    "ready": False,
    "restarts": 0,
    "stage": "Loading",
}
STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "groups": [GROUP],
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "Loading"},
        {"type": "WeightsReady", "status": "False", "reason": "FetchingWeights"},
    ],
}
PRESSING = {
    "intent": "Stop",
    "incarnation": 2,
    "revision": "s",
    "templateHash": "u",
    "ready": True,
    "restarts": 1,
    "index": 1,
}
PATIENT = {"stage": "Warming", "message": "m", "since": "s", "members": [{"rank": 0}], "formed": True}


@pytest.mark.parametrize("field", PRESSING)
def test_what_decisions_rest_on_is_written_at_once(field: str) -> None:
    assert _pressing(STATUS, STATUS | {"groups": [GROUP | {field: PRESSING[field]}]})


@pytest.mark.parametrize("field", PATIENT)
def test_mere_progress_may_wait(field: str) -> None:
    assert not _pressing(STATUS, STATUS | {"groups": [GROUP | {field: PATIENT[field]}]})


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "a generation was seen": ({"observedGeneration": 2}, True),
    "a group came": ({"groups": [GROUP, GROUP | {"index": 1}]}, True),
    "a group went": ({"groups": []}, True),
    "a condition flipped": ({"conditions": [STATUS["conditions"][0] | {"status": "True"}]}, True),
    "a reason changed": (
        {"conditions": [STATUS["conditions"][0] | {"reason": "Warming"}, STATUS["conditions"][1]]},
        False,
    ),
    "weights arrived": ({"conditions": [STATUS["conditions"][0], STATUS["conditions"][1] | {"status": "True"}]}, False),
    "a count": ({"readyReplicas": 1}, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_pressing_when(case: str) -> None:
    changed, expected = CHANGES[case]
    assert _pressing(STATUS, STATUS | changed) is expected
    assert _pressing({}, STATUS)
