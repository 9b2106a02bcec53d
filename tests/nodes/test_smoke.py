"""What a user sees on nodes that run pods: an answer through the Service, and a group that restarts as one."""

from __future__ import annotations

import json

import pytest

from tests.nodes.asking import chat
from tests.nodes.site import Site, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_two_nodes_serve_one_model_and_restart_as_one_when_a_rank_is_killed(site: Site, below: None) -> None:
    site.serve()
    assert len({pod["spec"]["nodeName"] for pod in site.pods()}) == 2
    assert "all 2 ranks joined" in site.log(0)
    assert chat(site) == "16 ranks on 2 nodes heard: good morning"

    first = {pod["metadata"]["uid"] for pod in site.pods()}
    victim = site.machine_of(1)
    victim.signal(site.engine_of(1))

    # Well below the pods' grace period of 120 s: no rank may sit it out.
    wait_for(lambda: site.incarnations() == {"2"} and len(site.pods()) == 2, seconds=60, what="incarnation 2")
    assert not first & {pod["metadata"]["uid"] for pod in site.pods()}
    site.wait_ready(seconds=150)
    # A kubelet on a busy machine may tell of the other rank's end first; the evidence is put right when it tells.
    named = {"rank": 1, "node": victim.name, "exitCode": 137}
    wait_for(lambda: named.items() <= site.group()["incidents"][0].items(), seconds=30, what=json.dumps(named))
    assert site.group()["restarts"] == 1
    assert chat(site) == "16 ranks on 2 nodes heard: good morning"
