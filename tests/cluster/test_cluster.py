"""What somebody who starts the development cluster, or writes a test on it, relies on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e import cluster as e2e

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
NODES = ROOT / "e2e" / "cluster" / "nodes"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[e2e.Cluster]:
    running = e2e.up(tmp_path_factory.mktemp("cluster"))
    yield running
    running.down()


@pytest.fixture(scope="module")
def nodes(cluster: e2e.Cluster) -> tuple[str, ...]:
    return cluster.apply_nodes(NODES / "nvidia-h100.yaml")


def tool(*arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line tool as a user does, with KUBECONFIG set or unset."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    if kubeconfig is not None:
        environment["KUBECONFIG"] = str(kubeconfig)
    command = [sys.executable, "-m", "e2e.cluster", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def apply(cluster: e2e.Cluster, manifest: dict[str, Any]) -> None:
    cluster.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(manifest))


def pod(cluster: e2e.Cluster, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(cluster.kubectl("get", "pod", name, "--output=json"))
    return document


def pod_template(name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod that takes all accelerators of a node, as the operator's do, with an init container."""
    engine = {"name": "engine", "image": "engine:1", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    return {
        "metadata": {"labels": {"app": name}, "annotations": annotations or {}},
        "spec": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "initContainers": [{"name": "fetch", "image": "fetch:1"}],
            "containers": [engine],
        },
    }


def test_up_status_and_down_leave_nothing_running(tmp_path: Path) -> None:
    state = tmp_path / "state"
    option = f"--state={state}"

    assert tool("up", option).returncode == 0
    started = e2e.load(state)
    assert started is not None
    first = started.processes
    assert len(first) == 5
    again = tool("up", option)
    assert "already running" in again.stderr
    assert started.processes == first
    assert tool("kubeconfig", option).stdout.strip() == str(state / "kubeconfig")

    os.kill(first[-1].pid, 9)
    assert tool("status", option).returncode == 4
    assert "starting it anew" in tool("up", option).stderr
    second = started.processes
    assert tool("status", option).returncode == 0
    assert not any(process.alive for process in first)

    assert tool("down", option).returncode == 0
    assert not any(process.alive for process in second)
    assert e2e.load(state) is None
    assert tool("status", option).returncode == 4
    assert tool("down", option).returncode == 0


def test_nodes_of_a_file_show_up_ready_with_their_accelerators_and_applying_twice_changes_nothing(
    cluster: e2e.Cluster, nodes: tuple[str, ...]
) -> None:
    def shown() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(cluster.kubectl("get", "nodes", "--output=json"))
        return {item["metadata"]["name"]: item for item in document["items"]}

    before = shown()
    assert set(before) == set(nodes)
    node = before[nodes[0]]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["status"]["allocatable"]["rdma/hca"] == "1k"
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert {"type": "InternalIP", "address": "10.10.1.11"} in node["status"]["addresses"]
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=30s", "nodes", "--all")

    cluster.apply_nodes(NODES / "nvidia-h100.yaml")
    after = shown()
    for name in nodes:
        assert after[name]["metadata"]["labels"] == before[name]["metadata"]["labels"]
        assert after[name]["status"]["allocatable"] == before[name]["status"]["allocatable"]


@pytest.mark.usefixtures("nodes")
def test_pods_of_a_stateful_set_become_ready_on_different_nodes(cluster: e2e.Cluster) -> None:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "ranks"},
        "spec": {
            "replicas": 2,
            "serviceName": "ranks",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "ranks"}},
            "template": pod_template("ranks"),
        },
    }
    apply(cluster, manifest)
    cluster.kubectl("rollout", "status", "statefulset/ranks", "--timeout=60s")

    pods = [pod(cluster, f"ranks-{rank}") for rank in range(2)]
    assert len({item["spec"]["nodeName"] for item in pods}) == 2
    assert len({item["status"]["podIP"] for item in pods}) == 2
    (engine,) = pods[0]["status"]["containerStatuses"]
    assert (engine["ready"], engine["started"], engine["restartCount"]) == (True, True, 0)
    (fetch,) = pods[0]["status"]["initContainerStatuses"]
    assert fetch["state"]["terminated"]["reason"] == "Completed"

    cluster.kubectl("delete", "statefulset", "ranks", "--cascade=foreground", "--timeout=60s")
    assert cluster.kubectl("get", "pods", "--selector=app=ranks", "--output=name") == ""


@pytest.mark.usefixtures("nodes")
def test_a_pod_can_take_its_time_to_start_and_to_terminate(cluster: e2e.Cluster) -> None:
    slow = pod_template("slow", {"kwok.e2e/ready": "false", "kwok.e2e/termination-seconds": "4"})
    apply(cluster, {"apiVersion": "v1", "kind": "Pod", **slow, "metadata": {"name": "slow", **slow["metadata"]}})
    cluster.kubectl("wait", "pod/slow", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    cluster.kubectl("wait", "pod/slow", "--for=condition=Ready=false", "--timeout=60s")
    assert pod(cluster, "slow")["status"]["containerStatuses"][0]["started"] is False

    cluster.kubectl("annotate", "pod", "slow", "kwok.e2e/ready=true", "--overwrite")
    cluster.kubectl("wait", "pod/slow", "--for=condition=Ready", "--timeout=60s")

    begun = time.monotonic()
    cluster.kubectl("delete", "pod", "slow", "--wait=false")
    assert "deletionTimestamp" in pod(cluster, "slow")["metadata"]
    cluster.kubectl("wait", "pod/slow", "--for=delete", "--timeout=60s")
    assert time.monotonic() - begun > 2.5


def test_a_node_marked_down_stops_being_ready_until_the_mark_is_removed(
    cluster: e2e.Cluster, nodes: tuple[str, ...]
) -> None:
    node = f"node/{nodes[-1]}"
    cluster.kubectl("annotate", node, "kwok.e2e/node=down")
    cluster.kubectl("wait", node, "--for=condition=Ready=unknown", "--timeout=60s")
    cluster.kubectl("annotate", node, "kwok.e2e/node-")
    cluster.kubectl("wait", node, "--for=condition=Ready", "--timeout=60s")


@pytest.mark.usefixtures("nodes")
def test_data_survives_a_restart_of_the_api_server_and_pods_start_again(cluster: e2e.Cluster) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.restart_apiserver(kill=True)
    assert cluster.healthy
    assert cluster.kubectl("get", "configmap", "kept", "--output=jsonpath={.data.a}") == "b"
    later = pod_template("later")
    apply(cluster, {"apiVersion": "v1", "kind": "Pod", **later, "metadata": {"name": "later"}})
    cluster.kubectl("wait", "pod/later", "--for=condition=Ready", "--timeout=120s")


def test_the_audit_log_counts_the_writes_of_one_client(cluster: e2e.Cluster) -> None:
    mark = cluster.audit_log.stat().st_size
    cluster.kubectl("get", "configmaps")
    assert e2e.writes(cluster.audit_log, user_agent="kubectl", after=mark) == []
    cluster.kubectl("create", "configmap", "counted")
    (written,) = e2e.writes(cluster.audit_log, user_agent="kubectl", after=mark)
    assert (written.verb, written.resource, written.name) == ("create", "configmaps", "counted")


def test_a_service_account_may_do_only_what_rbac_grants(cluster: e2e.Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "reader")
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps")
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:reader")
    acting_as_reader = f"--kubeconfig={cluster.service_account_kubeconfig('default', 'reader')}"
    assert cluster.kubectl(acting_as_reader, "get", "configmaps", "--output=name")
    with pytest.raises(e2e.ClusterError, match="forbidden"):
        cluster.kubectl(acting_as_reader, "get", "secrets")


def test_the_users_own_cluster_is_used_and_left_alone(cluster: e2e.Cluster, tmp_path: Path) -> None:
    option = f"--state={tmp_path / 'state'}"
    started = tool("up", option, kubeconfig=cluster.kubeconfig)
    assert started.returncode == 0, started.stderr
    assert f"using your cluster: {cluster.kubeconfig}" in started.stderr
    assert e2e.load(tmp_path / "state") is None
    shown = tool("kubeconfig", option, kubeconfig=cluster.kubeconfig)
    assert shown.stdout.strip() == str(cluster.kubeconfig)
    refused = tool("nodes", "apply", str(NODES / "nvidia-h200.yaml"), option, kubeconfig=cluster.kubeconfig)
    assert refused.returncode == 1
    assert "unset KUBECONFIG" in refused.stderr
    assert tool("down", option, kubeconfig=cluster.kubeconfig).returncode == 0
    assert cluster.healthy


def test_a_kubeconfig_of_no_cluster_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    refused = tool("up", f"--state={tmp_path}", kubeconfig=missing)
    assert refused.returncode == 1
    assert str(missing) in refused.stderr


def test_the_tools_own_kubeconfig_in_the_environment_is_not_taken_for_a_users_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert e2e.users_kubeconfig(tmp_path) is None
    assert e2e.users_kubeconfig(tmp_path / "another") == tmp_path / "kubeconfig"


def test_more_real_nodes_than_the_file_has_are_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = tool("up", "--level=real-nodes", "--nodes=9", f"--state={tmp_path}")
    assert refused.returncode == 1
    assert "--nodes 9" in refused.stderr
    assert list(tmp_path.iterdir()) == []
