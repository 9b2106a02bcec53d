"""The node files are read by the cluster and by ``plan --nodes`` alike: what every one of them must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import ClusterError
from e2e.cluster.nodes import read

FOLDER = Path(__file__).parents[2] / "e2e" / "cluster" / "nodes"
FILES = sorted(FOLDER.glob("*.yaml"))
# Nodes, accelerators a node, resource, architecture.
EXPECTED = {
    "nvidia-h100": (4, "8", "nvidia.com/gpu", "amd64"),
    "nvidia-h100-noroce": (2, "8", "nvidia.com/gpu", "amd64"),
    "nvidia-h200": (2, "8", "nvidia.com/gpu", "amd64"),
    "nvidia-a100-80": (4, "8", "nvidia.com/gpu", "amd64"),
    "nvidia-b200": (2, "8", "nvidia.com/gpu", "amd64"),
    "amd-mi300x": (2, "8", "amd.com/gpu", "amd64"),
    "amd-mi325x": (2, "8", "amd.com/gpu", "amd64"),
    "amd-mi355x": (2, "8", "amd.com/gpu", "amd64"),
    "ascend-910b": (4, "8", "huawei.com/Ascend910", "arm64"),
    "ascend-910b-2026": (4, "8", "huawei.com/Ascend910", "arm64"),
    "ascend-910c": (2, "16", "huawei.com/Ascend910", "arm64"),
    "ascend-910c-2026": (2, "16", "huawei.com/Ascend910", "arm64"),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_node_offers_its_accelerators_and_keeps_other_pods_away(file: Path) -> None:
    count, devices, resource, architecture = EXPECTED[file.stem]
    nodes = read(file)
    assert len(nodes) == count
    for node in nodes:
        status: dict[str, Any] = node["status"]
        assert status["allocatable"][resource] == status["capacity"][resource] == devices
        assert {"cpu", "memory", "ephemeral-storage", "pods"} <= status["allocatable"].keys()
        assert status["nodeInfo"]["architecture"] == architecture
        assert node["metadata"]["labels"]["kubernetes.io/arch"] == architecture
        assert [taint["key"] for taint in node["spec"]["taints"]] == [resource]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_value_is_text_as_the_api_server_requires(file: Path) -> None:
    for node in read(file):
        values = {
            **node["metadata"]["labels"],
            **node["metadata"]["annotations"],
            **node["status"]["allocatable"],
        }
        assert [key for key, value in values.items() if not isinstance(value, str)] == []


def test_all_files_together_form_one_cluster() -> None:
    nodes = [node for file in FILES for node in read(file)]
    assert len({node["metadata"]["name"] for node in nodes}) == len(nodes)
    assert len({node["status"]["addresses"][0]["address"] for node in nodes}) == len(nodes)
    assert {file.stem for file in FILES} == EXPECTED.keys()


def test_a_stream_of_documents_reads_like_a_list(tmp_path: Path) -> None:
    nodes = read(FILES[0])
    stream = tmp_path / "nodes.yaml"
    stream.write_text(yaml.safe_dump_all(nodes), encoding="utf-8")
    assert read(stream) == nodes


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no nodes"),
        ("kind: Pod\nmetadata: {name: a}\n", "item 0 is no Node"),
        ("kind: Node\nmetadata: {}\n", "has no metadata.name"),
        ("a: [", "nodes.yaml"),
    ],
)
def test_a_file_without_nodes_is_refused_with_the_reason(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ClusterError, match=complaint):
        read(file)
