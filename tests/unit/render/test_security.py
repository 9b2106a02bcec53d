from __future__ import annotations

from deepseek_operator.render.security import container_security, pod_security


def test_containers_drop_every_capability() -> None:
    context = container_security()
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False


def test_only_rdma_may_lock_memory() -> None:
    assert container_security(locks_memory=True)["capabilities"]["add"] == ["IPC_LOCK"]


def test_images_that_run_as_root_are_not_refused() -> None:
    assert "runAsNonRoot" not in {**container_security(), **pod_security()}


def test_pods_run_under_the_runtimes_seccomp_profile() -> None:
    assert pod_security()["seccompProfile"]["type"] == "RuntimeDefault"
