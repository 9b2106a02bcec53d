"""What the cache keeps of each API object."""

from __future__ import annotations

import json
import zlib
from types import MappingProxyType
from typing import Any

import pytest

from deepseek_operator.control.projections import (
    MESSAGE_LIMIT,
    project_child,
    project_deployment,
    project_job,
    project_node,
    project_pod,
    project_revision,
    project_stateful_set,
)
from deepseek_operator.lifecycle.records import ContainerRecord, JobRecord
from tests.unit.control import bodies


def test_a_deployment() -> None:
    record = project_deployment(bodies.deployment(version=12, status={"replicas": 1}))
    assert (record.name, record.namespace, record.uid, record.generation) == ("x", "default", "cr", 1)
    assert (record.resource_version, record.deleting, record.status) == (12, False, {"replicas": 1})
    body = bodies.deployment()
    body["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert project_deployment(body).deleting


def test_views_of_the_framework_become_plain_data() -> None:
    body = bodies.deployment(status=MappingProxyType({"groups": (MappingProxyType({"index": 0}),)}))
    assert json.dumps(project_deployment(body).status) == '{"groups": [{"index": 0}]}'


def test_a_child_remembers_its_hash_and_what_is_ours_of_it() -> None:
    record = project_child(bodies.service(version=4))
    assert (record.kind, record.name, record.uid, record.owner) == ("Service", "x", "svc", "cr")
    assert (record.resource_version, record.desired_hash) == (4, "hash")
    assert json.loads(zlib.decompress(record.owned_fields)) == {"f:spec": {"f:ports": {}}}


def test_only_the_controller_is_the_owner() -> None:
    body = bodies.service()
    body["metadata"]["ownerReferences"] = [{"uid": "a"}, {"uid": "b", "controller": True}]
    assert project_child(body).owner == "b"
    del body["metadata"]["ownerReferences"]
    assert project_child(body).owner == ""


def test_a_stateful_set() -> None:
    record = project_stateful_set(bodies.stateful_set(group=4))
    assert (record.group, record.replicas, record.current_replicas, record.observed) == (4, 2, 2, True)
    assert (record.incarnation, record.revision) == (2, "r1")
    assert (record.template_hash, record.immutable_hash) == ("t1", "i1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [({}, (0, False)), ({"replicas": 1, "observedGeneration": 2}, (1, False)), ({"observedGeneration": 4}, (0, True))],
)
def test_a_controller_that_lags_is_seen(status: dict[str, int], expected: tuple[int, bool]) -> None:
    record = project_stateful_set(bodies.stateful_set(status=status))
    assert (record.current_replicas, record.observed) == expected


def test_a_revision_keeps_its_content_packed() -> None:
    record = project_revision(bodies.revision(number=6))
    assert (record.revision, record.number) == ("r6", 6)
    assert json.loads(zlib.decompress(record.content)) == {"hash": "r6"}


def test_a_serving_pod() -> None:
    record = project_pod(bodies.pod(1, group=2, node="n"))
    assert (record.name, record.group, record.rank, record.incarnation) == ("x-g2-1", 2, 1, 2)
    assert (record.node, record.phase, record.ready, record.scheduled) == ("n", "Running", True, True)
    assert (record.deleting, record.fetching, record.init_reason) == (False, False, "")
    assert record.engine == ContainerRecord(state="running", started=True)


def test_a_pod_without_the_index_label_has_its_rank_from_its_name() -> None:
    body = bodies.pod(11)
    del body["metadata"]["labels"]["apps.kubernetes.io/pod-index"]
    assert project_pod(body).rank == 11


def test_a_pending_pod_tells_the_schedulers_words() -> None:
    body = bodies.pod(node="")
    body["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "no nodes " * 200}],
    }
    record = project_pod(body)
    assert (record.scheduled, record.ready, record.engine.state) == (False, False, "unknown")
    assert record.waiting_message.startswith("no nodes")
    assert len(record.waiting_message) == MESSAGE_LIMIT


def test_a_pod_that_is_going() -> None:
    body = bodies.pod()
    body["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    body["status"] |= {"phase": "Failed", "reason": "Evicted"}
    record = project_pod(body)
    assert (record.deleting, record.phase, record.phase_reason) == (True, "Failed", "Evicted")


RUNNING: dict[str, Any] = {"name": "engine", "state": {"running": {}}, "restartCount": 0, "started": True}
ENDED = {"exitCode": 137, "reason": "OOMKilled", "message": "killed"}
CONTAINERS: dict[str, tuple[dict[str, Any], ContainerRecord]] = {
    "running": (RUNNING, ContainerRecord(state="running", started=True)),
    "not started by its probe": (RUNNING | {"started": False}, ContainerRecord(state="running")),
    "ended": (
        RUNNING | {"state": {"terminated": ENDED}, "started": False},
        ContainerRecord(state="terminated", reason="OOMKilled", exit_code=137, message="killed"),
    ),
    "restarted: the last end is the evidence": (
        RUNNING | {"restartCount": 1, "lastState": {"terminated": ENDED}},
        ContainerRecord(state="running", started=True, restarts=1, reason="OOMKilled", exit_code=137, message="killed"),
    ),
    "crash loop": (
        RUNNING
        | {
            "started": False,
            "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m"}},
            "lastState": {"terminated": ENDED},
        },
        ContainerRecord(state="waiting", reason="CrashLoopBackOff", restarts=4, exit_code=137, message="killed"),
    ),
    "no state yet": ({"name": "engine"}, ContainerRecord()),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_an_engine_that_is(case: str) -> None:
    status, expected = CONTAINERS[case]
    body = bodies.pod()
    body["status"]["containerStatuses"] = [{"name": "sidecar", "state": {"terminated": ENDED}}, status]
    assert project_pod(body).engine == expected


def test_the_end_of_a_long_message_is_what_is_kept() -> None:
    body = bodies.pod()
    ended = ENDED | {"message": "log " * 500 + "the error"}
    body["status"]["containerStatuses"] = [RUNNING | {"state": {"terminated": ended}}]
    message = project_pod(body).engine.message
    assert message.endswith("the error")
    assert len(message) == MESSAGE_LIMIT


def test_a_step_that_waits_for_its_next_try_tells_its_last_words() -> None:
    waiting = {
        "name": "fetch-weights",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 2, "message": "error: hf://a/b: it is private (401)"}},
    }
    record = project_pod(initialising(waiting))
    assert (record.step, record.init_message) == ("fetch-weights", "error: hf://a/b: it is private (401)")


def test_what_keeps_a_step_from_starting_is_told() -> None:
    state = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}
    record = project_pod(initialising({"name": "fetch-weights", "state": state}))
    assert (record.init_reason, record.init_message) == ("CreateContainerConfigError", 'secret "hub" not found')


@pytest.mark.parametrize(
    ("message", "rate"),
    [('{"bytesPerSecond": 5000, "readBytes": 9}', 5000), ('{"bytesPerSecond": null}', 0), ("no JSON", 0), ("[1]", 0)],
)
def test_the_rate_of_a_volume_is_read_from_the_step_that_read_it(message: str, rate: int) -> None:
    ended = {"name": "verify-weights", "state": {"terminated": {"exitCode": 0, "message": message}}}
    assert project_pod(initialising(ended)).read_rate == rate


def test_a_pod_of_a_job_is_no_rank_and_its_last_step_is_its_container() -> None:
    body = initialising({"name": "fetch-weights", "state": {"terminated": {"exitCode": 0}}})
    body["metadata"] |= {"name": "x-weights-1-abcde"}
    body["metadata"]["ownerReferences"] = [{"uid": "job", "controller": True, "kind": "Job", "name": "x-weights-1"}]
    body["status"]["containerStatuses"] = [{"name": "verify-weights", "state": {"running": {}}}]
    record = project_pod(body)
    assert (record.job, record.step, record.deployment, record.rank) == ("x-weights-1", "verify-weights", "", -1)


def test_a_job_is_complete_when_it_says_so() -> None:
    def seen(*conditions: dict[str, str]) -> tuple[bool, str]:
        record = project_job({**bodies.job(), "status": {"conditions": conditions}})
        assert isinstance(record, JobRecord)
        return record.complete, record.trouble

    assert seen() == (False, "")
    assert seen({"type": "Complete", "status": "True"}) == (True, "")
    assert seen({"type": "Failed", "status": "True", "message": "too many"}) == (False, "too many")


def initialising(*statuses: dict[str, Any], phase: str = "Pending") -> dict[str, Any]:
    body = bodies.pod()
    body["spec"]["initContainers"] = [{"name": "fetch-weights"}]
    body["status"] = {"phase": phase, "initContainerStatuses": list(statuses)}
    return body


INITS: dict[str, tuple[dict[str, Any], tuple[bool, str]]] = {
    "nothing reported yet": (initialising(), (True, "")),
    "fetching": (initialising({"name": "f", "state": {"running": {}}}), (True, "")),
    "done": (initialising({"name": "f", "state": {"terminated": {"exitCode": 0}}}), (False, "")),
    "failed once": (initialising({"name": "f", "state": {"terminated": {"exitCode": 1}}}), (True, "")),
    "no image": (initialising({"name": "f", "state": {"waiting": {"reason": "ErrImagePull"}}}), (True, "ErrImagePull")),
    "long past": (initialising({"name": "f", "state": {"running": {}}}, phase="Running"), (False, "")),
}


@pytest.mark.parametrize("case", INITS)
def test_init_containers(case: str) -> None:
    body, expected = INITS[case]
    record = project_pod(body)
    assert (record.fetching, record.init_reason) == expected


@pytest.mark.parametrize(
    ("name", "owner", "expected"),
    [
        ("x-g0-1", ("StatefulSet", "x-g0"), ("x", 0, 1)),
        ("a-g1-b-g12-3", ("StatefulSet", "a-g1-b-g12"), ("a-g1-b", 12, 3)),
        ("x-g0-1", None, ("x", 0, 1)),
        ("x-g0-1", ("StatefulSet", "y-g0"), ("", -1, -1)),
        ("x-g0-1", ("Job", "x-g0"), ("", -1, -1)),
        ("x-g0-1-debug", None, ("", -1, -1)),
        ("x-gone-1", None, ("", -1, -1)),
    ],
)
def test_whose_rank_a_pod_is_follows_from_its_name_and_owner(
    name: str, owner: tuple[str, str] | None, expected: tuple[str, int, int]
) -> None:
    body = bodies.pod()
    body["metadata"]["name"] = name
    body["metadata"]["ownerReferences"] = (
        [{"kind": owner[0], "name": owner[1], "uid": "u", "controller": True}] if owner else []
    )
    record = project_pod(body)
    assert (record.deployment, record.group, record.rank) == expected


def test_a_key_in_last_words_is_masked_before_they_are_cut() -> None:
    body = bodies.pod()
    key = "hf_" + "k" * (MESSAGE_LIMIT + 100)
    body["status"]["containerStatuses"] = [RUNNING | {"state": {"terminated": ENDED | {"message": f"token {key}"}}}]
    assert "kkkkkkkk" not in project_pod(body).engine.message


def test_devices_of_an_engine_and_which_of_them_are_reported_unhealthy() -> None:
    body = bodies.pod(1)
    body["spec"]["containers"] = [
        {"name": "sidecar", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
        {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "8", "rdma/hca": "1", "memory": "1Gi"}}},
    ]
    body["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = [
        {
            "name": "nvidia.com/gpu",
            "resources": [
                {"resourceID": "GPU-0", "health": "Healthy"},
                {"resourceID": "GPU-1", "health": "Unhealthy", "message": "Xid 79"},
                {"resourceID": "GPU-2", "health": "Unknown"},
            ],
        },
        {"name": "claim:fast", "resources": [{"resourceID": "dev-3", "health": "Unhealthy"}]},
    ]
    record = project_pod(body)
    assert record.devices == (("nvidia.com/gpu", 8), ("rdma/hca", 1))
    assert record.unhealthy == "nvidia.com/gpu GPU-1 is unhealthy (Xid 79); claim:fast dev-3 is unhealthy"
    assert (project_pod(bodies.pod(1)).devices, project_pod(bodies.pod(1)).unhealthy) == ((), "")


def test_a_node_tells_what_it_offers_and_which_agents_complain() -> None:
    body = bodies.node()
    body["status"]["allocatable"] |= {"cpu": "64", "hugepages-2Mi": "0", "memory": "1Gi", "rdma/hca": "1"}
    body["status"]["conditions"] += [
        {"type": "AcceleratedHardwareReady", "status": "False", "reason": "NvidiaXID79Error"},
        {"type": "GPUMissing", "status": "False"},
        {"type": "DiskPressure", "status": "True"},
    ]
    record = project_node(body)
    assert record.offered == (("nvidia.com/gpu", 8), ("rdma/hca", 1))
    assert record.ill == ("AcceleratedHardwareReady=False (NvidiaXID79Error)",)


def test_when_the_deletion_of_a_pod_was_asked_for() -> None:
    body = bodies.pod(1)
    assert project_pod(body).deletion_asked == ""
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T12:02:00Z", "deletionGracePeriodSeconds": 120}
    assert project_pod(body).deletion_asked == "2026-01-01T12:00:00Z"
