"""The fault proxy and the mask do what the tests that rest on them assume."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from e2e.faults.calls import read_call
from e2e.faults.mask import FILE, Mask
from e2e.faults.proxy import ProxyThread
from e2e.faults.rules import Delay, Drop, FirstOfEach, LoseAnswer, Match, OldLists, Refuse, Rule, Twice, writes
from tests.world import World


@pytest.mark.parametrize(
    ("method", "target", "verb", "resource", "namespace", "name"),
    [
        ("GET", "/api/v1/pods", "list", "pods", "", ""),
        ("GET", "/api/v1/namespaces/a/pods/b", "get", "pods", "a", "b"),
        ("GET", "/apis/apps/v1/statefulsets?watch=true&x=1", "watch", "statefulsets", "", ""),
        ("PUT", "/apis/g.io/v1/namespaces/a/things/b/status", "update", "things/status", "a", "b"),
        ("PATCH", "/apis/apps/v1/namespaces/a/statefulsets/b", "patch", "statefulsets", "a", "b"),
        ("DELETE", "/api/v1/namespaces/a/services/b", "delete", "services", "a", "b"),
        ("DELETE", "/api/v1/namespaces/a/services", "deletecollection", "services", "a", ""),
        ("GET", "/api/v1/namespaces/a", "get", "namespaces", "", "a"),
        ("GET", "/version", "", "", "", ""),
    ],
)
def test_a_request_is_named_as_the_audit_log_names_it(
    method: str, target: str, verb: str, resource: str, namespace: str, name: str
) -> None:
    call = read_call(method, target, headers={}, body=b"")
    assert (call.verb, call.resource, call.namespace, call.name) == (verb, resource, namespace, name)


def test_a_posted_object_is_named_by_its_body() -> None:
    body = json.dumps({"metadata": {"name": "x"}}).encode()
    assert read_call("POST", "/api/v1/namespaces/a/secrets", headers={}, body=body).label == "create secrets x"


def test_a_rule_counts_its_own_matches() -> None:
    rule = Rule(Match(verbs=("get",), resources=("pods",)), Drop(), first=2, last=3)
    get = read_call("GET", "/api/v1/namespaces/a/pods/b", headers={}, body=b"")
    other = read_call("GET", "/api/v1/namespaces/a/services/b", headers={}, body=b"")
    assert [rule.applies(call) for call in (get, other, get, get, get)] == [False, False, True, True, False]


def test_the_first_of_each_is_one_of_alike_calls() -> None:
    first = FirstOfEach(Match(verbs=("get",)))
    one, two = (read_call("GET", f"/api/v1/namespaces/a/pods/{name}", headers={}, body=b"") for name in "bc")
    assert [first(call) for call in (one, one, two, one, two)] == [True, False, True, False, False]


class Client:
    """A client of the proxy that speaks plain HTTP."""

    def __init__(self, proxy: ProxyThread, namespace: str) -> None:
        self._port = proxy.proxy.port
        self._maps = f"/api/v1/namespaces/{namespace}/configmaps"

    def __call__(self, method: str, name: str = "", body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            path = f"{self._maps}/{name}" if name else self._maps
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def create(self, name: str) -> int:
        return self("POST", body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})[0]

    def names(self) -> set[str]:
        return {item["metadata"]["name"] for item in self("GET")[1]["items"]} - {"kube-root-ca.crt"}


@pytest.fixture
def client(proxy: ProxyThread, world: World) -> Client:
    return Client(proxy, world.namespace)


def test_without_rules_the_proxy_is_transparent_and_numbers_writes(proxy: ProxyThread, client: Client) -> None:
    assert [client.create("a"), client.create("b"), client.create("b")] == [201, 201, 409]
    assert client.names() == {"a", "b"}
    numbered = [(seen.call.write, seen.status) for seen in proxy.proxy.seen if seen.call.mutating]
    assert numbered == [(1, 201), (2, 201), (3, 409)]


def test_a_lost_answer_is_a_write_that_happened_and_a_dropped_request_one_that_did_not(
    proxy: ProxyThread, client: Client
) -> None:
    for name, behaviour in (("lost", LoseAnswer()), ("dropped", Drop())):
        rule = proxy.rule(Rule(writes, behaviour, last=1))
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            client.create(name)
        assert rule.seen == 1
        proxy.clear()
    assert client.names() == {"lost"}


def test_a_refusal_never_reaches_the_server_and_says_when_to_come_back(proxy: ProxyThread, client: Client) -> None:
    proxy.rule(Rule(writes, Refuse(429, retry_after=1), last=1))
    assert client.create("a") == 429
    assert client.names() == set()
    assert client.create("a") == 201


def test_a_repeated_request_arrives_twice(proxy: ProxyThread, client: Client) -> None:
    proxy.rule(Rule(writes, Twice()))
    assert client.create("a") == 409


def test_old_lists_are_those_of_before(proxy: ProxyThread, client: Client) -> None:
    old = OldLists()
    proxy.rule(Rule(Match(verbs=("list",)), old))
    client.create("a")
    assert client.names() == {"a"}
    old.freeze()
    client.create("b")
    assert client.names() == {"a"}
    old.thaw()
    assert client.names() == {"a", "b"}


def test_rules_compose_in_their_order(proxy: ProxyThread, client: Client) -> None:
    delayed = proxy.rule(Rule(writes, Delay(0.01)))
    proxy.rule(Rule(writes, Refuse(500)))
    assert client.create("a") == 500
    assert delayed.seen == 1


def test_a_server_that_is_gone_refuses_connections_and_comes_back_on_its_port(
    proxy: ProxyThread, client: Client
) -> None:
    proxy.down()
    with pytest.raises(ConnectionRefusedError):
        client.create("a")
    proxy.up()
    assert client.create("a") == 201


def pod(uid: str, owner: str, **labels: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": "x-g0-0", "uid": uid, "ownerReferences": [{"kind": "StatefulSet", "uid": owner}]},
        "spec": {"nodeName": "n", "labels": labels},
    }


UID_A, UID_B, UID_C = (f"{number:08d}-0000-0000-0000-000000000000" for number in range(3))


def test_the_mask_hides_random_identity_but_not_who_points_to_whom() -> None:
    mask = Mask.load()
    owner_of_pod = {"kind": "StatefulSet", "metadata": {"name": "x-g0", "uid": UID_A}}
    same = {"kind": "StatefulSet", "metadata": {"name": "x-g0", "uid": UID_C}}
    one = mask.text([owner_of_pod, pod(UID_B, UID_A)], namespace="ns-1")
    assert one == mask.text([same, pod(UID_A, UID_C)], namespace="ns-2")
    assert one != mask.text([same, pod(UID_A, UID_B)], namespace="ns-2")


def test_the_mask_shows_what_it_does_not_name() -> None:
    mask = Mask.load()
    assert mask.text([pod(UID_A, UID_B, a="1")], namespace="ns-1") != mask.text(
        [pod(UID_A, UID_B, a="2")], namespace="ns-1"
    )


def test_a_mask_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.yaml"
    file.write_text(FILE.read_text().replace("why: The cluster's clock.", "why: ''", 1))
    with pytest.raises(ValueError, match="does not say why"):
        Mask.load(file)
