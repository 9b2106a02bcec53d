from __future__ import annotations

from typing import Any

from deepseek_operator.api.resource import Peer
from deepseek_operator.render.networkpolicy import api_policy, group_policy
from deepseek_operator.render.owner import pod_selector
from tests.unit.render.samples import OWNER


def peers(**labels: dict[str, str]) -> list[dict[str, Any]]:
    policy = api_policy(OWNER, [Peer(**labels)])
    return list(policy["spec"]["ingress"][0]["from"])


def test_all_ports_of_a_group_are_open_to_its_own_ranks_only() -> None:
    spec = group_policy(OWNER, 1)["spec"]
    assert spec["podSelector"]["matchLabels"] == pod_selector(OWNER, 1)
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"from": [{"podSelector": {"matchLabels": pod_selector(OWNER, 1)}}]}]


def test_configured_namespaces_may_scrape_every_rank_on_the_api_port() -> None:
    _, metrics = group_policy(OWNER, 0, metrics_namespace_labels={"role": "monitoring"})["spec"]["ingress"]
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"role": "monitoring"}}}]
    assert metrics["ports"] == [{"port": 8000, "protocol": "TCP"}]


def test_the_api_is_open_to_its_own_namespace_by_default() -> None:
    spec = api_policy(OWNER, [])["spec"]
    assert spec["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": 8000, "protocol": "TCP"}]}]


def test_the_api_policy_selects_leaders_only() -> None:
    selector = api_policy(OWNER, [])["spec"]["podSelector"]["matchLabels"]
    assert selector == {
        "serving.deepseek-operator.io/uid": OWNER.uid,
        "apps.kubernetes.io/pod-index": "0",
    }


def test_a_peer_is_narrowed_by_namespace_and_pod_together() -> None:
    assert peers(namespace_labels={"a": "b"}, pod_labels={"c": "d"}) == [
        {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {"matchLabels": {"c": "d"}}}
    ]
    assert peers(namespace_labels={"a": "b"}) == [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    assert peers(pod_labels={"c": "d"}) == [{"podSelector": {"matchLabels": {"c": "d"}}}]


def test_an_empty_peer_means_this_namespace_and_never_everybody() -> None:
    assert peers() == [{"podSelector": {}}]


def test_named_peers_replace_the_default() -> None:
    assert {"podSelector": {}} not in peers(pod_labels={"c": "d"})
