"""The chart on a cluster of its own: it installs the CRD, which other tests must not lose on uninstall."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.cluster import Cluster, binary, requests, up
from e2e.release.generate import CHART, INSTALL, ROOT, install_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "deepseek-system"
RELEASE = "deepseek-operator"
CRD_NAME = "deepseekdeployments.serving.deepseek-operator.io"
NODES = ROOT / "e2e" / "cluster" / "nodes"
SAMPLE = ROOT / "manifests" / "deepseek-fp8.yaml"

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An empty cluster, with the namespace for the operator under Pod Security `restricted`."""
    cluster = up(tmp_path_factory.mktemp("helm"))
    try:
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def installed(bare: Cluster) -> Cluster:
    """The cluster with the chart's defaults installed."""
    if RELEASE not in helm("list", "--short", cluster=bare).split():
        helm("install", RELEASE, str(CHART), cluster=bare)
    return bare


def helm(*arguments: str, cluster: Cluster | None = None) -> str:
    """Runs helm; without a cluster only what works offline."""
    target = [f"--kubeconfig={cluster.kubeconfig}"] if cluster else []
    command = [str(binary("helm")), *arguments, f"--namespace={NAMESPACE}", *target]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return result.stdout


def rendered(*options: str) -> list[dict[str, Any]]:
    text = helm("template", RELEASE, str(CHART), *options)
    return [item for item in yaml.safe_load_all(text) if item]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def may(cluster: Cluster, verb: str, resource: str, *options: str) -> bool:
    account = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
    query = ("auth", "can-i", verb, *resource.split(), f"--as={account}", *options)
    command = [str(binary("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *query]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    assert answer in {"yes", "no"}
    return answer == "yes"


def test_install_manifest_is_what_the_chart_renders() -> None:
    assert INSTALL.read_text(encoding="utf-8") == install_manifest(binary("helm")), "run `make generate`"


def test_the_chart_passes_helms_own_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("replicas=3", "replicas"),
        ("image.tags=x", "tags"),
        ("config.allow.hostPid=true", "hostPid"),
        ("config.workers=0", "workers"),
        ("image.digest=latest", "digest"),
    ],
)
def test_a_value_that_the_chart_does_not_know_is_refused(option: str, key: str) -> None:
    with pytest.raises(RuntimeError, match=key):
        rendered("--set", option)


def test_named_namespaces_take_away_rights_in_all_others() -> None:
    objects = rendered("--set", "watchNamespaces={blue,green},config.weights.nodePath=/weights")
    roles = {role["metadata"]["namespace"]: role for role in of_kind(objects, "Role")}
    assert set(roles) == {"blue", "green", NAMESPACE}
    everywhere = next(role for role in of_kind(objects, "ClusterRole") if role["metadata"]["name"] == RELEASE)
    kinds = {resource for rule in everywhere["rules"] for resource in rule["resources"]}
    assert kinds == {"nodes", "persistentvolumes", "storageclasses", "resourceslices", "deviceclasses"}
    (deployment,) = of_kind(objects, "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[-2:] == ["--namespace=blue", "--namespace=green"]


def test_a_changed_configuration_replaces_the_pods() -> None:
    def checksum(*options: str) -> str:
        (deployment,) = of_kind(rendered(*options), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "config.weights.nodePath=/mnt/models")


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "0" * 64
    (deployment,) = of_kind(
        rendered("--set", f"image.digest={digest},image.tag=x,image.repository=r.example/op"), "Deployment"
    )
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"r.example/op@{digest}"


def test_install_run_and_uninstall_keep_the_users_deployments(bare: Cluster, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("config: {weights: {nodePath: /mnt/models}, workers: 4}\n", encoding="utf-8")
    helm("uninstall", RELEASE, "--ignore-not-found", "--wait", cluster=bare)
    notes = helm("install", RELEASE, str(CHART), f"--values={values}", cluster=bare)
    assert "watches all namespaces" in notes

    # Two pods exist: Pod Security `restricted` has let them in.
    inside = f"--namespace={NAMESPACE}"
    bare.kubectl("wait", "--for=jsonpath={.status.replicas}=2", f"deployment/{RELEASE}", inside, "--timeout=60s")
    bare.kubectl("wait", "--for=create", "pod", "--selector=app.kubernetes.io/name=deepseek-operator", inside)
    config = json.loads(bare.kubectl("get", "configmap", RELEASE, inside, "--output=json"))["data"]
    settings = yaml.safe_load(config["config.yaml"])
    # The pods of deployments prepare weights with the operator's own image.
    assert settings.pop("image").startswith("deepseek-operator:")
    assert settings == {"weights": {"nodePath": "/mnt/models"}, "workers": 4}
    assert bare.kubectl("get", "pdb", RELEASE, inside, "--output=jsonpath={.spec.maxUnavailable}") == "1"

    bare.wait_for_crd(CRD_NAME)
    bare.kubectl("apply", "--namespace=default", f"--filename={SAMPLE}")
    helm("upgrade", RELEASE, str(CHART), "--set=replicaCount=3", cluster=bare)
    kept = ("get", "dsd/deepseek-fp8", "--namespace=default", "--output=name")
    helm("uninstall", RELEASE, "--wait", cluster=bare)
    assert bare.kubectl("get", "deployments,clusterroles", inside, "--selector=helm.sh/chart") == ""
    assert bare.kubectl(*kept)
    helm("install", RELEASE, str(CHART), cluster=bare)
    assert bare.kubectl(*kept)


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("watch", "deepseekdeployments.serving.deepseek-operator.io", True),
        ("patch", "deepseekdeployments.serving.deepseek-operator.io", False),
        ("update", "deepseekdeployments.serving.deepseek-operator.io --subresource=status", True),
        ("patch", "statefulsets.apps", True),
        ("watch", "jobs.batch", True),
        ("create", "jobs.batch", True),
        ("delete", "jobs.batch", True),
        ("create", "cronjobs.batch", False),
        ("delete", "pods", True),
        # A changed image is pulled by a pod on each node.
        ("create", "pods", True),
        ("create", "secrets", True),
        ("get", "secrets", False),
        ("list", "secrets", False),
        ("patch", "nodes", False),
        # A rank's claim that is bound to a node which is gone.
        ("delete", "persistentvolumeclaims", True),
        ("patch", "persistentvolumeclaims", False),
        ("get", "persistentvolumes", True),
        ("delete", "persistentvolumes", False),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", False),
        ("list", "customresourcedefinitions.apiextensions.k8s.io", False),
        # A model of the user's own: spec.modelConfig.
        ("get", "configmaps", True),
        ("list", "configmaps", False),
    ],
)
def test_the_operator_may_do_what_it_needs_and_nothing_else(
    installed: Cluster, verb: str, resource: str, *, allowed: bool
) -> None:
    assert may(installed, verb, resource, "--namespace=default") is allowed


def test_the_leaders_lease_is_writable_only_beside_the_operator(installed: Cluster) -> None:
    lease = "leases.coordination.k8s.io/deepseek-operator"
    assert may(installed, "update", lease, f"--namespace={NAMESPACE}")
    assert not may(installed, "update", lease, "--namespace=default")
    assert not may(installed, "update", "leases.coordination.k8s.io/other", f"--namespace={NAMESPACE}")


def test_editors_of_a_namespace_may_edit_deployments(installed: Cluster) -> None:
    roles = json.loads(installed.kubectl("get", "clusterroles", "--output=json"))["items"]
    labelled = {
        role["metadata"]["name"]
        for role in roles
        if "rbac.authorization.k8s.io/aggregate-to-edit" in role["metadata"].get("labels", {})
    }
    assert {f"{RELEASE}-edit", f"{RELEASE}-view"} <= labelled


@contextmanager
def operator(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The operator outside the cluster, as the chart's ServiceAccount."""
    account = cluster.service_account_kubeconfig(NAMESPACE, RELEASE)
    config = folder / "config.yaml"
    config.write_text("weights: {nodePath: /mnt/models}\n", encoding="utf-8")
    program = Path(sys.executable).with_name("deepseek-operator")
    environment = {"KUBECONFIG": str(account), "HTTP_PORT": "0", "POD_NAMESPACE": NAMESPACE, "PATH": os.defpath}
    with (folder / "operator.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "run", f"--config={config}"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_the_operator_needs_no_other_rights_from_creation_to_removal(installed: Cluster, tmp_path: Path) -> None:
    helm("upgrade", RELEASE, str(CHART), "--set=config.weights.nodePath=/mnt/models", cluster=installed)
    installed.apply_nodes(NODES / "nvidia-h100.yaml")
    installed.kubectl("create", "namespace", "rights")
    inside = "--namespace=rights"
    mark = installed.audit_log.stat().st_size
    with operator(installed, tmp_path):
        installed.kubectl("apply", inside, f"--filename={SAMPLE}")
        installed.kubectl("wait", "--for=create", "pod/deepseek-fp8-g0-1", inside, "--timeout=60s")
        installed.kubectl("wait", "--for=create", "secret/deepseek-fp8-keys", inside, "--timeout=60s")
        installed.kubectl("scale", "dsd/deepseek-fp8", "--replicas=0", inside)
        installed.kubectl("wait", "--for=delete", "statefulset/deepseek-fp8-g0", inside, "--timeout=90s")
    account = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
    asked = [request for request in requests(installed.audit_log, after=mark) if request.user == account]
    assert {"create", "delete"} <= {request.verb for request in asked}
    assert [request for request in asked if request.code == 403] == []
