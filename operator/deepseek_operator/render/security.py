"""Security contexts, as tight as the engines' images and the fabric allow."""

from __future__ import annotations

from typing import Any, Final

_OF_SSHD: Final = ("SETGID", "SETUID", "SYS_CHROOT")


def container_security(*, locks_memory: bool = False, runs_sshd: bool = False) -> dict[str, Any]:
    """The security context of every container.

    RDMA pins memory, so its pods get IPC_LOCK; that is beyond Pod Security ``baseline``, and their
    namespace must be labelled for it. Images of the engines run as root: runAsNonRoot would refuse them
    all. sshd gives up rights before anybody has logged in, for which root needs three (OpenSSH's sshd.c,
    privsep_preauth_child, and session.c, do_setusercontext); ``baseline`` allows them.
    """
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if added := [*(["IPC_LOCK"] if locks_memory else []), *(_OF_SSHD if runs_sshd else [])]:
        capabilities["add"] = added
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}


def pod_security() -> dict[str, Any]:
    """The security context of the pod."""
    return {"seccompProfile": {"type": "RuntimeDefault"}}
