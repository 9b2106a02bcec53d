"""A model of one's own, its config.json in a ConfigMap, on a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.sglang_parser import DEEPSEEK_V3
from tests.api.conftest import World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")


def config_map(world: World, **changes: Any) -> None:
    data = {"config.json": json.dumps({**DEEPSEEK_V3, **changes})}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": data}
    world.kubectl.apply(manifest, namespace=world.namespace)


def test_a_model_of_ones_own_is_planned_once_its_config_map_is_there_and_stays(world: World) -> None:
    world.apply(model="me/own", modelConfig={"name": "own"}, weights={"source": "hf://me/own"})
    missing = eventually(
        lambda: world.condition("Planned").get("reason") == "ModelConfigMissing" and world.condition("Planned"),
        what="the missing ConfigMap is told",
    )
    assert "kubectl create configmap own" in missing["message"]

    config_map(world)
    world.wait_ready(seconds=60)
    plan = world.deployment()["status"]["plan"]
    assert plan["nodesPerGroup"] == 2

    config_map(world, num_hidden_layers=31)
    world.patch("dsd", "x", {"spec": {"replicas": 2}})
    world.wait_ready(seconds=60)
    assert world.deployment()["status"]["plan"] == plan
    assert world.incarnations() == {"1"}
