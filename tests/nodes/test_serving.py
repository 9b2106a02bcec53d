"""What a user gets on nodes that run pods, when nothing goes wrong."""

from __future__ import annotations

import json

import pytest

from tests.nodes.asking import ask, chat
from tests.nodes.site import Site, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.scenario, pytest.mark.timeout(600)]

RESOLVE = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
INTERFACES = """
import fcntl, json, socket, struct
def address(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return socket.inet_ntoa(fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))[20:24])
found = {}
for _, name in socket.if_nameindex():
    try:
        found[name] = address(name)
    except OSError:
        pass
print(json.dumps(found))
"""
# What an engine that was broken into would try first.
READ_SECRETS = """
import json, ssl, sys, urllib.error, urllib.request
from pathlib import Path
token = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
headers = {"Authorization": "Bearer " + token.read_text()} if token.exists() else {}
request = urllib.request.Request(f"https://{sys.argv[1]}/api/v1/namespaces/{sys.argv[2]}/secrets", headers=headers)
try:
    code = urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()).status
except urllib.error.HTTPError as error:
    code = error.code
print(json.dumps({"token": token.exists(), "code": code}))
"""


def environment(site: Site, rank: int) -> dict[str, str]:
    """Of the running engine, as its process has it."""
    pairs = site.exec(rank, "python3", "-c", "print(open('/proc/1/environ').read())").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_every_rank_knows_its_place_and_finds_the_leader_by_name(site: Site) -> None:
    site.serve()
    addresses = {rank: site.pod(rank)["status"]["podIP"] for rank in (0, 1)}
    for rank in (0, 1):
        found = environment(site, rank)
        assert (found["NODE_RANK"], found["GROUP_SIZE"], found["INCARNATION"]) == (str(rank), "2", "1")
        assert found["POD_IP"] == addresses[rank]
        leader = found["LEADER_ADDRESS"]
        assert leader == f"x-g0-0.x-g0.{site.namespace}.svc.cluster.local"
        assert site.exec(rank, "python3", "-c", RESOLVE, leader).strip() == addresses[0]
        interfaces = json.loads(site.exec(rank, "python3", "-c", INTERFACES))
        assert interfaces[found["GLOO_SOCKET_IFNAME"]] == addresses[rank]
    commands = [site.machine_of(rank).processes()[site.engine_of(rank)] for rank in (0, 1)]
    for rank, command in enumerate(commands):
        assert f"--nnodes 2 --node-rank {rank} --dist-init-addr x-g0-0.x-g0." in command


def test_on_the_nodes_own_network_ranks_have_the_nodes_addresses_and_the_service_answers(site: Site) -> None:
    site.serve(fabric={"mode": "host"})
    nodes = {node["metadata"]["name"]: node for node in site.kubectl.json("nodes")["items"]}
    for pod in site.pods():
        (address,) = [
            each["address"]
            for each in nodes[pod["spec"]["nodeName"]]["status"]["addresses"]
            if each["type"] == "InternalIP"
        ]
        assert pod["status"]["podIP"] == address
    assert chat(site) == "16 ranks on 2 nodes heard: good morning"


def test_only_who_has_the_key_gets_an_answer_and_a_new_key_ends_the_old_one(site: Site) -> None:
    for name in ("first", "second"):
        keys = ("--from-literal=api-key=key-" + name, "--from-literal=admin-key=admin-" + name)
        site.kubectl("-n", site.namespace, "create", "secret", "generic", name, *keys)
    site.serve(access={"keys": {"mode": "secret", "secretName": "first"}})
    assert [ask(site, key=key) for key in ("", "wrong", "key-second", "key-first")] == [401, 401, 401, 200]
    site.deploy(access={"keys": {"mode": "secret", "secretName": "second"}})
    site.wait_ready(seconds=150)
    assert [ask(site, key=key) for key in ("key-first", "key-second")] == [401, 200]


def test_a_serving_pod_has_no_token_and_may_read_no_secret(site: Site) -> None:
    site.serve()
    server = site.kubectl.json("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    for rank in (0, 1):
        found = json.loads(site.exec(rank, "python3", "-c", READ_SECRETS, server, site.namespace))
        assert found["token"] is False
        assert found["code"] in {401, 403}
    assert not [name for name in environment(site, 0) if "HF_TOKEN" in name or "HUGGING" in name]
    # The workers serve nobody and are given no keys.
    worker = site.machine_of(1).processes()[site.engine_of(1)]
    assert "api-key" not in worker


def test_groups_come_and_go_with_replicas_and_the_first_one_serves_on(site: Site, h200: None) -> None:
    site.serve()
    first = {pod["metadata"]["uid"] for pod in site.pods()}
    scale = ("-n", site.namespace, "scale", "dsd/x")
    site.kubectl(*scale, "--replicas=3")
    site.wait_ready(seconds=150)
    assert len(site.pods()) == 3
    assert len({pod["spec"]["nodeName"] for pod in site.pods()}) == 3
    leaders = site.items("endpointslices", "kubernetes.io/service-name=x")[0]["endpoints"]
    assert len([each for each in leaders if each["conditions"]["ready"]]) == 3
    site.kubectl(*scale, "--replicas=1")
    wait_for(lambda: {pod["metadata"]["uid"] for pod in site.pods()} == first, seconds=60, what="the first pod is left")
    site.wait_ready(seconds=30)
    assert chat(site) == "8 ranks on 1 nodes heard: good morning"


def test_suspending_frees_the_nodes_and_resuming_brings_the_answer_back(site: Site) -> None:
    site.serve()
    site.patch("dsd", "x", {"spec": {"suspend": True}})
    wait_for(lambda: not site.pods(), seconds=60, what="no pod is left")
    wait_for(lambda: site.group()["stage"] == "Suspended", seconds=30, what="status says so")
    site.patch("dsd", "x", {"spec": {"suspend": False}})
    site.wait_ready(seconds=150)
    assert site.group()["restarts"] == 0
    assert chat(site) == "16 ranks on 2 nodes heard: good morning"
