"""NetworkPolicies: ranks trust only their own group, clients reach only the leaders.

Engines open unauthenticated ports between ranks and choose many of them at run time, so a list of ports
cannot protect them; the pods of the group are let in on all ports and nobody else on any but the API's.
Only ingress is restricted. Policies do not apply to pods on the host's network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepseek_operator.api.names import API_PORT, LEADER_INDEX, POD_INDEX_LABEL, UID_LABEL, group_name
from deepseek_operator.render.owner import Owner, child, group_labels, labels, pod_selector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deepseek_operator.api.resource import Peer


def group_policy(
    owner: Owner, index: int, *, metrics_namespace_labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The policy of one group: every port from its own ranks, metrics from the given namespaces.

    Metrics are served on the API's port by every rank, workers included; that rule is here because this
    policy is the one that selects all ranks. It lets the metrics namespaces call the leader's API too,
    which its keys guard.
    """
    rules: list[dict[str, Any]] = [{"from": [{"podSelector": {"matchLabels": pod_selector(owner, index)}}]}]
    if metrics_namespace_labels:
        peer = {"namespaceSelector": {"matchLabels": dict(metrics_namespace_labels)}}
        rules.append({"from": [peer], "ports": [_api_port()]})
    return _policy(
        owner,
        group_name(owner.name, index),
        group_labels(owner, index),
        selector=pod_selector(owner, index),
        rules=rules,
    )


def api_policy(owner: Owner, sources: Sequence[Peer]) -> dict[str, Any]:
    """The policy of the deployment: the API port of the leaders, from ``spec.access.from``.

    Without sources the pods of the same namespace are let in.
    """
    peers = [_peer(source) for source in sources] or [{"podSelector": {}}]
    return _policy(
        owner,
        owner.name,
        labels(owner),
        selector={UID_LABEL: owner.uid, POD_INDEX_LABEL: LEADER_INDEX},
        rules=[{"from": peers, "ports": [_api_port()]}],
    )


def _policy(
    owner: Owner,
    name: str,
    labels: dict[str, str],
    *,
    selector: dict[str, str],
    rules: list[dict[str, Any]],
) -> dict[str, Any]:
    policy = child(owner, api_version="networking.k8s.io/v1", kind="NetworkPolicy", name=name, labels=labels)
    policy["spec"] = {
        "podSelector": {"matchLabels": selector},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return policy


def _peer(source: Peer) -> dict[str, Any]:
    peer: dict[str, Any] = {}
    if source.namespace_labels:
        peer["namespaceSelector"] = {"matchLabels": dict(source.namespace_labels)}
    if source.pod_labels:
        peer["podSelector"] = {"matchLabels": dict(source.pod_labels)}
    return peer or {"podSelector": {}}


def _api_port() -> dict[str, Any]:
    return {"port": API_PORT, "protocol": "TCP"}
