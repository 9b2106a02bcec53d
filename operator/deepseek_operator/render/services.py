"""Services: names for the pods of a group, and the address that clients use."""

from __future__ import annotations

from typing import Any

from deepseek_operator.api.names import API_PORT, LEADER_INDEX, POD_INDEX_LABEL, UID_LABEL, group_name
from deepseek_operator.render.owner import Owner, child, group_labels, labels, pod_selector

HTTP_PORT_NAME = "http"


def headless_service(owner: Owner, index: int) -> dict[str, Any]:
    """The Service that gives every rank of a group a DNS name.

    Names are published before readiness: ranks must find the leader in order to become ready.
    """
    service = child(
        owner,
        api_version="v1",
        kind="Service",
        name=group_name(owner.name, index),
        labels=group_labels(owner, index),
    )
    service["spec"] = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": pod_selector(owner, index),
        "ports": [_http_port()],
    }
    return service


def api_service(owner: Owner) -> dict[str, Any]:
    """The Service of the API: the ready leaders of all groups, on port 8000 whatever the engine."""
    service = child(owner, api_version="v1", kind="Service", name=owner.name, labels=labels(owner))
    service["spec"] = {
        "selector": {UID_LABEL: owner.uid, POD_INDEX_LABEL: LEADER_INDEX},
        "ports": [_http_port()],
    }
    return service


def _http_port() -> dict[str, Any]:
    # The protocol is a key of the list: left to its default, server-side apply cannot merge the item.
    return {"name": HTTP_PORT_NAME, "port": API_PORT, "targetPort": API_PORT, "protocol": "TCP"}
