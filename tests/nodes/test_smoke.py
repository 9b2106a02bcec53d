"""What a user sees on nodes that run pods: an answer through the Service, and a group that restarts as one."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.nodes.conftest import GPU, Site, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CLIENT = """
import json, os, urllib.request
body = {"model": "DeepSeek-V3-0324", "messages": [{"role": "user", "content": "good morning"}]}
request = urllib.request.Request("http://x:8000/v1/chat/completions", data=json.dumps(body).encode(),
    headers={"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["content"])
"""


def chat(site: Site, name: str) -> str:
    """What a pod in the deployment's namespace gets, with the generated key and the Service's name."""
    key = {"secretKeyRef": {"name": "x-keys", "key": "api-key"}}
    container = {
        "name": "client",
        "image": site.image,
        "command": ["python3", "-c", CLIENT],
        "env": [{"name": "KEY", "valueFrom": key}],
    }
    spec = {"restartPolicy": "Never", "tolerations": [GPU], "containers": [container]}
    site.kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, namespace=site.namespace
    )
    ended = wait_for(
        lambda: (phase := site.get("pod", name)["status"]["phase"]) in {"Succeeded", "Failed"} and phase,
        seconds=90,
        what="the client pod ends",
    )
    log = site.kubectl("-n", site.namespace, "logs", name)
    assert ended == "Succeeded", log
    return log.strip()


def test_two_nodes_serve_one_model_and_restart_as_one_when_a_rank_is_killed(site: Site) -> None:
    site.deploy()
    site.wait_ready(seconds=150)
    assert len({pod["spec"]["nodeName"] for pod in site.pods()}) == 2
    barrier = site.kubectl("-n", site.namespace, "logs", "x-g0-0", "-c", "engine")
    assert "all 2 ranks joined" in barrier
    assert chat(site, "before") == "16 ranks on 2 nodes heard: good morning"

    first = {pod["metadata"]["uid"] for pod in site.pods()}
    victim = site.node_of(1).name
    os.kill(site.engine_of(1), signal.SIGKILL)

    # Well below the pods' grace period of 120 s: no rank may sit it out.
    wait_for(lambda: site.incarnations() == {"2"} and len(site.pods()) == 2, seconds=60, what="incarnation 2")
    assert not first & {pod["metadata"]["uid"] for pod in site.pods()}
    status = site.wait_ready(seconds=150)["status"]["groups"][0]
    incident = status["incidents"][0]
    assert (incident["rank"], incident["node"]) == (1, victim), json.dumps(status["incidents"])
    assert status["restarts"] == 1
    assert chat(site, "after") == "16 ranks on 2 nodes heard: good morning"
