"""Plans and specs for the DeepSeek-Infer demo, out of real planning on node files, or by hand."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.planning import plan_spec
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import EngineChoice, Facts, Inventory, Plan, Refusal
from tests.unit.engines.plans import plan

NODES = Path(__file__).resolve().parents[3] / "e2e" / "cluster" / "nodes"
IMAGE = "registry.example/deepseek-infer:2025.8.28"
ANSWERS = {"persistentVolumeClaim": "answers", "path": "today/answers.txt"}


def wanted(*, ranks: int = 16, batch: dict[str, Any] | None = None, **fields: Any) -> Spec:
    """A spec whose weights are cut for some ranks; ``batch`` None: the terminal."""
    body = {
        "model": "deepseek-ai/DeepSeek-V3",
        "precision": "fp8",
        "engine": {"name": "deepseek-infer", "image": IMAGE},
        "weights": {"source": f"pvc://weights/v3-mp{ranks}"},
        **({"batch": batch} if batch else {}),
        **fields,
    }
    return Spec.model_validate(body)


def batch(**fields: Any) -> dict[str, Any]:
    return {"prompts": {"configMap": "prompts"}, **fields}


@cache
def inventory(file: str) -> Inventory:
    nodes = yaml.safe_load((NODES / f"{file}.yaml").read_text())["items"]
    return take_inventory([read_node(node) for node in nodes], load(), tolerations=())


def planned(spec: Spec, file: str = "nvidia-h100") -> Plan | Refusal:
    return plan_spec(
        spec, inventory(file), load(), Facts(default_storage_class=True), namespace="demo", name="deepseek"
    )


def by_hand(*, nodes: int = 2, **changes: Any) -> Plan:
    """A plan for two H100 nodes that no planner has seen."""
    made = plan(nodes=nodes, interface="lo", **changes)
    engine = EngineChoice(
        name="deepseek-infer",
        version="2025.8.28",
        image=IMAGE,
        image_verified=True,
        image_source="spec.engine.image",
        api=False,
    )
    memory = dataclasses.replace(made.memory, max_running_requests=8, context_length=16_384)
    return dataclasses.replace(made, engine=engine, memory=memory)
