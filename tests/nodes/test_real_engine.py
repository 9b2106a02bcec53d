"""A real vLLM over two real nodes, from an ordinary resource, as of a user with a model and an image of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Cluster
from e2e.vllm_cpu import environment, image, model
from tests.nodes.asking import ask_for
from tests.nodes.site import Site, wait_for
from tests.world import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.engine, pytest.mark.timeout(1500)]

MODEL = "tiny-deepseek"
TAG = f"deepseek-operator.test/vllm-cpu:{environment.version()}"
START_SECONDS = 900
"""Imports alone take a minute of a busy processor, twice."""
ANSWER_SECONDS = 300


def catalogue() -> dict[str, Any]:
    """The model and the release, as an administrator adds their own (docs/catalogue.md)."""
    config = model.CONFIG
    dimensions = {
        "hidden": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "dense_layers": config["first_k_dense_replace"],
        "heads": config["num_attention_heads"],
        "q_lora_rank": config["q_lora_rank"],
        "kv_lora_rank": config["kv_lora_rank"],
        "qk_nope_head_dim": config["qk_nope_head_dim"],
        "qk_rope_head_dim": config["qk_rope_head_dim"],
        "v_head_dim": config["v_head_dim"],
        "dense_intermediate": config["intermediate_size"],
        "moe_intermediate": config["moe_intermediate_size"],
        "routed_experts": config["n_routed_experts"],
        "shared_experts": config["n_shared_experts"],
        "vocab": config["vocab_size"],
        "max_context": config["max_position_embeddings"],
    }
    source = "e2e/vllm_cpu/model.py"
    checkpoint = {"precision": "bf16", "repository": f"test/{MODEL}", "revision": "main", "layout": "bf16"}
    tiny = {
        "name": MODEL,
        "repository": f"test/{MODEL}",
        "aliases": [],
        "source": source,
        "dimensions": dimensions,
        "checkpoints": [{**checkpoint, "size_gib": 0.1, "source": source}],
        "bf16_size_gib": 0.1,
        "parsers": {"reasoning": None, "tool_call": None, "chat_template": None, "source": source},
    }
    release = {
        "engine": "vllm",
        "vendor": "nvidia",
        "architectures": ["sm90"],
        "version": environment.version(),
        "image": TAG,
        "verified": True,
        "source": "e2e/vllm_cpu",
    }
    labels = {"serving.deepseek-operator.io/catalog": "true"}
    document = yaml.safe_dump({"models": [tiny], "engines": [release]})
    metadata = {"name": "tiny", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"tiny.yaml": document}}


def deployment() -> dict[str, Any]:
    """What the user applies."""
    return {
        "model": MODEL,
        "precision": "bf16",
        "engine": {
            "name": "vllm",
            "version": environment.version(),
            "image": TAG,
            "args": ["--load-format=dummy", "--enforce-eager"],
        },
        "hardware": {"acceleratorsPerNode": 1},
        "parallelism": {"nodes": 2, "tensor": 2},
        "weights": {"source": "path:///models/tiny"},
        "podTemplate": {
            "volumes": [{"name": "models", "configMap": "tiny-checkpoint"}],
            "volumeMounts": [{"name": "models", "mountPath": "/models/tiny"}],
        },
    }


@pytest.fixture
def checkpoint(site: Site, tmp_path: Path) -> None:
    """The files of the miniature in a ConfigMap, and the engine on every node."""
    place = environment.ensure()
    root = Path(__file__).parents[2]
    write: list[str | Path] = [place / "bin" / "python", "-m", "e2e.vllm_cpu.checkpoint", tmp_path / "tiny"]
    subprocess.run(write, check=True, cwd=root, capture_output=True)
    files = ("-n", site.namespace, "create", "configmap", "tiny-checkpoint", f"--from-file={tmp_path / 'tiny'}")
    site.kubectl(*files)
    site.cluster.import_image(image.build(tmp_path / "engine.tar", tag=TAG))


def test_a_real_vllm_serves_over_two_nodes_with_tensor_parallelism(
    cluster: Cluster, site: Site, operator: Operator, checkpoint: None
) -> None:
    site.kubectl.apply(catalogue(), namespace=operator.namespace or "default")
    wait_for(
        lambda: operator.metric("deepseek_operator_catalog_entries") >= 2, seconds=30, what="the catalogue is read"
    )
    site.apply(**deployment())
    site.wait_ready(seconds=START_SECONDS)
    plan = site.deployment()["status"]["plan"]
    assert (plan["engine"], plan["tensor"], plan["nodesPerGroup"]) == ("vllm", 2, 2)
    assert len({pod["spec"]["nodeName"] for pod in site.pods()}) == 2
    for rank in (0, 1):
        command = [line for line in site.machine_of(rank).processes().values() if "vllm serve" in line]
        assert any("--tensor-parallel-size 2" in line and f"--node-rank {rank}" in line for line in command), command
        assert any(f"Worker_TP{rank}" in line for line in site.machine_of(rank).processes().values())
    heard = ask_for(site, model=MODEL, seconds=ANSWER_SECONDS)
    assert heard["status"] == 200, json.dumps(heard)
    assert heard["text"]
