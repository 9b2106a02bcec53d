"""Nodes from a file, as ``kubectl get nodes -o yaml`` prints them, become fake nodes of the cluster.

What a labeller, an administrator or a kubelet would have written is taken over; what belongs to the life of
one cluster (UID, conditions, times) is not: kwok writes the conditions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from e2e.cluster.components import FAKE_NODE
from e2e.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_SECONDS = 60
FIELD_MANAGER = "e2e-nodes"
DOWN = {"kwok.e2e/node": "down"}
SPEC_FIELDS = ("taints", "unschedulable", "providerID")
STATUS_FIELDS = ("capacity", "allocatable", "addresses", "nodeInfo")


class Kubectl(Protocol):
    """Runs kubectl with the arguments and returns what it printed."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it; raises ``ClusterError`` when it fails."""


def read(file: Path) -> list[dict[str, Any]]:
    """Return the Node objects in ``file``: a ``v1/List``, a NodeList or a stream of documents, YAML or JSON.

    Raises ``ClusterError`` naming the file and what in it is not a node.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ClusterError(f"{file}: {error}") from error
    found = list(_items(documents))
    for index, node in enumerate(found):
        if not isinstance(node, dict) or node.get("kind") != "Node":
            raise ClusterError(f"{file}: item {index} is no Node; expected what kubectl get nodes -o yaml prints")
        if not node.get("metadata", {}).get("name"):
            raise ClusterError(f"{file}: item {index} has no metadata.name")
    if not found:
        raise ClusterError(f"{file}: no nodes in it")
    return found


def apply(file: Path, *, kubectl: Kubectl) -> tuple[str, ...]:
    """Create or update the nodes of ``file``, wait until those that should be Ready are, return the names."""
    found = read(file)
    ssa = ("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--filename=-")
    kubectl(*ssa, stdin=_as_list([_identity(node) for node in found]))
    kubectl(*ssa, "--subresource=status", stdin=_as_list([_status(node) for node in found]))
    expected = [f"node/{node['metadata']['name']}" for node in found if _is_up(node)]
    if expected:
        kubectl("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", *expected)
    return tuple(node["metadata"]["name"] for node in found)


def _items(documents: list[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
            # Items of a NodeList printed as JSON may leave out their kind.
            default = {"kind": "Node"} if document["kind"] == "NodeList" else {}
            yield from ({**default, **item} for item in document.get("items") or [])
        elif document is not None:
            yield document


def _is_up(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return all(item["status"] == "True" for item in conditions if item["type"] == "Ready")


def _identity(node: dict[str, Any]) -> dict[str, Any]:
    metadata = node["metadata"]
    fake = {FAKE_NODE: "fake"} if _is_up(node) else {FAKE_NODE: "fake", **DOWN}
    spec = node.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": metadata["name"],
            "labels": metadata.get("labels") or {},
            "annotations": {**(metadata.get("annotations") or {}), **fake},
        },
        "spec": {field: spec[field] for field in SPEC_FIELDS if field in spec},
    }


def _status(node: dict[str, Any]) -> dict[str, Any]:
    status = node.get("status") or {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node["metadata"]["name"]},
        "status": {field: status[field] for field in STATUS_FIELDS if field in status},
    }


def _as_list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
