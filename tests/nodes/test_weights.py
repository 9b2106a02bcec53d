"""Weights with real bytes on real nodes: fetched once, warm after a restart, shared, and told when they cannot come."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.weights.workspace import MARKER
from e2e.cluster.network import BRIDGE_HOST
from e2e.sglang_parser import DEEPSEEK_V3
from tests.nodes.site import Site, wait_for
from tests.unit.weights.checkpoints import Shape, write_checkpoint
from tests.unit.weights.hub import Fault, Hub, serve

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


RIGHT = "right"


@pytest.fixture
def hub(site: Site, tmp_path: Path) -> Iterator[Hub]:
    """A hub that pods reach, with a small checkpoint under the name of the model."""
    origin = tmp_path / "origin"
    write_checkpoint(origin, Shape(config=dict(DEEPSEEK_V3)))
    (origin / "config.json").write_text(json.dumps(dict(DEEPSEEK_V3)))
    hub = Hub(directory=origin)
    address = f"{site.cluster.real_nodes[0].address.rpartition('.')[0]}.{BRIDGE_HOST}"
    servers = serve(hub, address=address)
    yield hub
    for server in servers:
        server.shutdown()
        server.server_close()


def fetched(hub: Hub, **weights: Any) -> dict[str, Any]:
    """A spec whose weights come from the hub."""
    return {
        "revision": "main",
        "engine": {"env": [{"name": "HF_ENDPOINT", "value": hub.url}]},
        "weights": weights,
    }


def downloads(hub: Hub) -> int:
    return sum(request.host == "store" for request in hub.requests)


def markers(caches: Path, site: Site) -> list[Path]:
    return sorted((caches / site.namespace).rglob(MARKER))


def secret(site: Site, value: str) -> None:
    data = {"token": base64.b64encode(value.encode()).decode()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "data": data}
    site.kubectl.apply(manifest, namespace=site.namespace)


def steps(site: Site, rank: int) -> dict[str, float]:
    """Seconds that each container before the engine took."""
    (pod,) = [each for each in site.pods() if each["metadata"]["name"] == f"x-g0-{rank}"]
    found = {}
    for status in pod["status"]["initContainerStatuses"]:
        ended = status["state"]["terminated"]
        found[status["name"]] = seconds(ended["finishedAt"]) - seconds(ended["startedAt"])
    return found


def seconds(stamp: str) -> float:
    from datetime import datetime  # noqa: PLC0415 - only here

    return datetime.fromisoformat(stamp).timestamp()


def plugin(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("kubectl-deepseek")
    return subprocess.run(
        [program, *arguments, "-n", site.namespace],
        env={**os.environ, "KUBECONFIG": str(site.cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_weights_are_fetched_once_a_node_and_a_restart_fetches_nothing(site: Site, hub: Hub, caches: Path) -> None:
    site.apply(**fetched(hub))
    site.wait_ready(seconds=200)
    (marker,) = markers(caches, site)
    files = [name for name in json.loads(marker.read_text())["files"] if name.endswith(".safetensors")]
    # Both ranks look into one directory here: the lease let one of them fetch, each file once.
    assert all(len(hub.received(name)) == 1 for name in files)
    condition = site.condition("WeightsReady")
    assert (condition["status"], condition["reason"]) == ("True", "OnNodes")

    before = len(hub.requests)
    os.kill(site.engine_of(1), signal.SIGKILL)
    wait_for(lambda: site.incarnations() == {"2"} and len(site.pods()) == 2, seconds=90, what="incarnation 2")
    site.wait_ready(seconds=200)
    assert len(hub.requests) == before
    took = steps(site, 0)
    assert set(took) == {"fetch-weights", "verify-weights"}
    assert max(took.values()) < 30, took


def test_a_second_deployment_shares_what_the_first_left_and_it_can_be_pruned(
    site: Site, hub: Hub, caches: Path
) -> None:
    site.apply(**fetched(hub))
    site.wait_ready(seconds=200)
    before = len(hub.requests)
    site.kubectl("-n", site.namespace, "delete", "dsd", "x", "--wait=true")
    wait_for(lambda: not site.pods(), seconds=180, what="the pods of x end")
    assert len(markers(caches, site)) == 1
    site.apply("y", **fetched(hub))
    site.wait_ready("y", seconds=200)
    assert len(hub.requests) == before

    listed = json.loads(plugin(site, "cache", "list", "-o", "json").stdout)
    weights = next(each for each in listed if each["kind"] == "node")
    assert weights["source"] == "hf://deepseek-ai/DeepSeek-V3-0324"
    assert weights["usedBy"] == ["y"]
    refused = plugin(site, "cache", "prune", weights["name"], "--yes")
    assert refused.returncode == 2
    assert "y would miss it" in refused.stderr
    site.kubectl("-n", site.namespace, "delete", "dsd", "y", "--wait=true")
    wait_for(lambda: not site.pods("y"), seconds=180, what="the pods of y end")
    pruned = plugin(site, "cache", "prune", "--unused", "--yes")
    assert pruned.returncode == 0, pruned.stderr
    assert markers(caches, site) == []
    assert json.loads(plugin(site, "cache", "list", "-o", "json").stdout) == []


def test_a_wrong_token_is_told_and_a_right_one_needs_no_hand(site: Site, hub: Hub) -> None:
    hub.token = RIGHT
    secret(site, "wrong")
    site.apply(**fetched(hub, tokenSecret={"name": "hub"}))
    condition = wait_for(
        lambda: (found := site.condition("WeightsReady")).get("reason") == "HubRefused" and found,
        seconds=150,
        what="the refused token is told",
    )
    assert "(401)" in condition["message"]
    assert "spec.weights.tokenSecret" in condition["message"]
    assert site.deployment()["status"]["groups"][0]["stage"] == "FetchingWeights"
    secret(site, RIGHT)
    site.wait_ready(seconds=300)
    assert site.deployment()["status"]["groups"][0].get("restarts", 0) == 0
    engine = next(c for c in site.pods()[0]["spec"]["containers"] if c["name"] == "engine")
    assert "HF_TOKEN" not in {each["name"] for each in engine["env"]}


def test_a_shared_claim_is_filled_by_a_job_before_any_rank_exists(site: Site, hub: Hub, caches: Path) -> None:
    place = caches / site.namespace / "shared"
    place.mkdir(parents=True)
    shared_claim(site, place)
    hub.fail("model-00001-of-000003.safetensors", Fault(kind="slow", times=1))
    site.apply(**fetched(hub, claimName="big"))
    wait_for(lambda: site.items("jobs"), seconds=60, what="the Job exists")
    assert not site.items("statefulsets")
    site.wait_ready(seconds=240)
    (marker,) = place.rglob(MARKER)
    assert marker.parent.parent.name == "deepseek-ai--DeepSeek-V3-0324"
    assert site.condition("WeightsReady")["status"] == "True"
    (job,) = site.items("jobs")
    started = min(pod["metadata"]["creationTimestamp"] for pod in ranks(site))
    assert job["status"]["completionTime"] <= started
    weights = json.loads(plugin(site, "cache", "list", "-o", "json").stdout)
    assert [each["claim"] for each in weights if each["kind"] == "shared"] == ["big"]


def ranks(site: Site) -> list[dict[str, Any]]:
    return [pod for pod in site.pods() if pod["metadata"]["name"].startswith("x-g0-")]


def shared_claim(site: Site, place: Path) -> None:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"big-{site.namespace}"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(place)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": "big",
                "namespace": site.namespace,
            },
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "big"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": f"big-{site.namespace}",
        },
    }
    for manifest in (volume, claim):
        site.kubectl.apply(manifest, namespace=site.namespace)
