"""Security contexts, as tight as the engines' images and the fabric allow."""

from __future__ import annotations

from typing import Any


def container_security(*, locks_memory: bool = False) -> dict[str, Any]:
    """The security context of every container.

    RDMA pins memory, so its pods get IPC_LOCK; that is beyond Pod Security ``baseline``, and their
    namespace must be labelled for it. Images of the engines run as root: runAsNonRoot would refuse them
    all.
    """
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if locks_memory:
        capabilities["add"] = ["IPC_LOCK"]
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}


def pod_security() -> dict[str, Any]:
    """The security context of the pod."""
    return {"seccompProfile": {"type": "RuntimeDefault"}}
