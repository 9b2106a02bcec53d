"""Where the story takes place, and what can be done there: run kubectl, make nodes, plan, apply, wait."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseek_operator.api.names import GROUP, INCARNATION_LABEL, MANAGED_BY, MANAGED_BY_LABEL, PLURAL
from e2e.cluster import nodes as fake_nodes
from e2e.cluster.components import FAKE_NODE
from e2e.cluster.handle import Cluster
from e2e.demo import operator, screen
from e2e.demo.launch import executed
from e2e.demo.screen import DemoError
from e2e.demo.state import State

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
NODES = ROOT / "e2e" / "cluster" / "nodes"
CRD_FILE = ROOT / "crds" / f"{PLURAL}.yaml"
CRD = f"{PLURAL}.{GROUP}"
NAMESPACES = ("demo-nvidia", "demo-amd", "demo-ascend")
MARK = f"{GROUP}/demo"
"""Label of everything that the demonstration makes and may therefore delete."""
READY_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story takes place."""

    cluster: Cluster
    operator: operator.Operator
    state: State
    fake: bool
    """Fake nodes may be made: the cluster is ours, or kwok keeps the nodes of the user's."""


def prepare(cluster: Cluster, state: State) -> State:
    """The cluster as a first run finds it: what an earlier one left is removed, the CRD is there."""
    screen.heading("The cluster")
    remove(cluster, state)
    known = cluster.kubectl("get", "crd", CRD, "--ignore-not-found", "--output=name").strip()
    state = replace(state, nodes=(), created_crd=state.created_crd or not known)
    state.save()
    kubectl(cluster, "apply", "--server-side", "--force-conflicts", f"--filename={shown(CRD_FILE)}")
    cluster.wait_for_crd(CRD)
    return state


def remove(cluster: Cluster, state: State) -> None:
    """Delete what the demonstration made in the cluster, apart from the CRD."""
    gone = ("delete", "--ignore-not-found", "--wait", "--timeout=60s")
    cluster.kubectl(*gone, "namespace", f"--selector={MARK}")
    if state.nodes:
        cluster.kubectl(*gone, "node", *state.nodes)
    cluster.kubectl(*gone, "persistentvolume", f"--selector={MARK}")
    # The operator's own volumes outlive their claims on purpose: the weights on the nodes are worth keeping.
    if volumes := _volumes_of_demo(cluster):
        cluster.kubectl(*gone, "persistentvolume", *volumes)


def _volumes_of_demo(cluster: Cluster) -> list[str]:
    found = cluster.kubectl("get", "persistentvolume", f"--selector={MANAGED_BY_LABEL}={MANAGED_BY}", "--output=json")
    return [
        item["metadata"]["name"]
        for item in json.loads(found)["items"]
        if item["spec"].get("claimRef", {}).get("namespace") in NAMESPACES
    ]


def remove_crd(cluster: Cluster) -> None:
    """Delete the CRD unless somebody uses it: with it every DeepSeekDeployment would go."""
    if not cluster.kubectl("get", PLURAL, "--all-namespaces", "--output=name").strip():
        cluster.kubectl("delete", "--ignore-not-found", "crd", CRD)


def may_fake_nodes(cluster: Cluster) -> bool:
    """Whether the cluster's nodes are kwok's: fake nodes in a real cluster would attract real pods."""
    if not cluster.external:
        return True
    found = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    return bool(found) and all(FAKE_NODE in node["metadata"].get("annotations", {}) for node in found)


def add_nodes(stage: Stage, file: str) -> Stage:
    """Make the fake nodes of a file and record their names."""
    # Not Cluster.apply_nodes: that refuses a user's cluster, and one that kwok runs is welcome here.
    wanted = {node["metadata"]["name"] for node in fake_nodes.read(NODES / file)}
    there = set(stage.cluster.kubectl("get", "nodes", "--output=name").replace("node/", "").split())
    if taken := wanted & there - set(stage.state.nodes):
        raise DemoError(f"your cluster has nodes with the names of the fake ones: {', '.join(sorted(taken))}")
    names = fake_nodes.apply(NODES / file, kubectl=stage.cluster.kubectl)
    state = replace(stage.state, nodes=(*stage.state.nodes, *names))
    state.save()
    return replace(stage, state=state)


def change_nodes(stage: Stage, file: str) -> Stage:
    """Cordon the nodes there are and add others; what serves on a cordoned node goes on serving."""
    stage.cluster.kubectl("cordon", *stage.state.nodes)
    stage = add_nodes(stage, file)
    kubectl(stage.cluster, "get", "nodes")
    return stage


def plan(stage: Stage, manifest: str) -> bool:
    """Show the plan; returns whether nothing fits."""
    arguments = ["plan", "-f", shown(MANIFESTS / manifest), "--config", str(operator.config_file())]
    screen.command(["deepseek-operator", *arguments[:-1], shown(operator.config_file())])
    # Not captured: in a terminal the program draws in colour and to the terminal's width.
    ended = subprocess.run([operator.PROGRAM, *arguments], cwd=ROOT, env=_environment(stage), check=False, timeout=60)
    if ended.returncode not in (0, 3):
        raise DemoError(f"deepseek-operator plan ended with exit code {ended.returncode}")
    return ended.returncode == 3


def show_launch(stage: Stage, namespace: str) -> None:
    """Show what the first two ranks execute, by their pods."""
    for pod, role in zip(pods(stage, namespace), ("leader", "worker"), strict=False):
        screen.heading(f"What {pod['metadata']['name']} executes ({role})")
        screen.launch_command(executed(pod))


def apply(stage: Stage, manifest: str, *, namespace: str) -> None:
    """Apply a manifest in a namespace of the demonstration."""
    create_namespace(stage, namespace)
    kubectl(stage.cluster, "apply", f"--namespace={namespace}", f"--filename={shown(MANIFESTS / manifest)}")


def serve(stage: Stage, manifest: str, *, namespace: str) -> None:
    """Apply a manifest and show the deployment and its pods when it is Ready."""
    apply(stage, manifest, namespace=namespace)
    await_condition(stage, "Ready", Path(manifest).stem, namespace)
    kubectl(stage.cluster, "get", "dsd", f"--namespace={namespace}", "--output=wide")
    kubectl(stage.cluster, "get", "pods", f"--namespace={namespace}", "--output=wide")


def create_namespace(stage: Stage, namespace: str) -> None:
    """Make a marked namespace; one that is there already must carry the mark."""
    found = stage.cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "--output=json")
    if not found.strip():
        stage.cluster.kubectl("create", "namespace", namespace)
        stage.cluster.kubectl("label", "namespace", namespace, f"{MARK}=true")
    elif MARK not in json.loads(found)["metadata"].get("labels", {}):
        raise DemoError(f"your cluster has a namespace {namespace} that is not the demonstration's; rename it")


def await_condition(stage: Stage, kind: str, name: str, namespace: str) -> None:
    """Return when a condition of a deployment is True; raise when it is stalled or too slow."""

    def holds() -> bool | None:
        conditions = _conditions(stage, name, namespace)
        if conditions.get("Stalled", {}).get("status") == "True":
            raise DemoError(f"{namespace}/{name} is stalled: {conditions['Stalled'].get('message')}")
        return True if conditions.get(kind, {}).get("status") == "True" else None

    what = f"{namespace}/{name} to be {kind}"
    screen.until(holds, what=what, seconds=READY_SECONDS, check=stage.operator.check)


def _conditions(stage: Stage, name: str, namespace: str) -> dict[str, dict[str, Any]]:
    """The conditions by type, of the current generation only."""
    found = json.loads(stage.cluster.kubectl("get", "dsd", name, f"--namespace={namespace}", "--output=json"))
    generation = found["metadata"]["generation"]
    conditions: Sequence[dict[str, Any]] = found.get("status", {}).get("conditions", [])
    return {item["type"]: item for item in conditions if item.get("observedGeneration") == generation}


def pods(stage: Stage, namespace: str) -> list[dict[str, Any]]:
    """The pods of all groups in a namespace."""
    answer = stage.cluster.kubectl(
        "get", "pods", f"--namespace={namespace}", f"--selector={INCARNATION_LABEL}", "--output=json"
    )
    items: list[dict[str, Any]] = json.loads(answer)["items"]
    return items


def pods_line(pods: Sequence[dict[str, Any]]) -> str:
    """The pods on one line: name, UID, incarnation, state."""
    return "   ".join(_pod_text(pod) for pod in pods) or "no pods"


def _pod_text(pod: dict[str, Any]) -> str:
    metadata = pod["metadata"]
    if "deletionTimestamp" in metadata:
        state = "terminating"
    else:
        state = "ready" if is_ready(pod) else pod["status"].get("phase", "").lower()
    incarnation = metadata["labels"].get(INCARNATION_LABEL)
    return f"{metadata['name']} {metadata['uid'][:8]} incarnation {incarnation}: {state}"


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready and not on its way out."""
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def kubectl(cluster: Cluster, *arguments: str) -> None:
    """Run kubectl, showing the command and the answer."""
    screen.command(["kubectl", *arguments])
    screen.output(cluster.kubectl(*arguments))


def shown(path: Path) -> str:
    """A path as one would type it in the repository, where it is run from there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _environment(stage: Stage) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(stage.cluster.kubeconfig)}
