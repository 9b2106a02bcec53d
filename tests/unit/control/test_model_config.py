"""The ConfigMap of spec.modelConfig is read when a plan is to be made, and at no other time."""

from __future__ import annotations

import json

import pytest

from deepseek_operator.control import kinds, model_config
from e2e.sglang_parser import DEEPSEEK_V3
from tests.unit.control.test_reconcile import KEY, World, world

__all__ = ["world"]
READ = "GET configmaps/own"


def ask_for_own_model(world: World) -> None:
    world.edit(model="me/own", modelConfig={"name": "own"}, precision="fp8", weights={"source": "pvc://w/own"})


def config_map(world: World, **changes: object) -> None:
    body = {
        "metadata": {"name": "own", "namespace": "default"},
        "data": {"config.json": json.dumps({**DEEPSEEK_V3, **changes})},
    }
    world.server.add(kinds.MODEL_CONFIG, body)


@pytest.fixture
def waits(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the reconciler waits for before it looks again."""
    found: list[float] = []
    monkeypatch.setattr(world.queue, "add_after", lambda _, seconds: found.append(seconds))
    return found


async def test_it_is_read_once_for_a_plan_and_never_for_a_deployment_that_has_one(world: World) -> None:
    config_map(world)
    ask_for_own_model(world)
    await world.reconcile()
    assert len(world.server.asked(READ)) == 1
    assert world.condition("Planned")["status"] == "True"
    await world.look()
    config_map(world, num_hidden_layers=31)
    for _ in range(3):
        await world.reconcile()
        assert world.server.asked(READ) == []
    assert world.status()["plan"]["nodesPerGroup"] == 2


async def test_one_that_is_missing_is_looked_for_again_and_found(world: World, waits: list[float]) -> None:
    ask_for_own_model(world)
    await world.reconcile()
    assert world.condition("Planned")["reason"] == "ModelConfigMissing"
    assert model_config.RETRY_SECONDS in waits
    config_map(world)
    await world.reconcile()
    assert world.condition("Planned")["status"] == "True"


async def test_one_that_is_wrong_needs_the_user_and_is_looked_at_again(world: World, waits: list[float]) -> None:
    config_map(world, num_attention_heads="many")
    ask_for_own_model(world)
    await world.reconcile()
    assert world.condition("Accepted")["status"] == "False"
    assert "num_attention_heads" in world.condition("Accepted")["message"]
    assert "many" not in world.condition("Accepted")["message"], "what stands in a ConfigMap is not told"
    assert model_config.RETRY_SECONDS in waits


async def test_a_right_that_is_missing_is_told(world: World) -> None:
    config_map(world)
    ask_for_own_model(world)
    world.server.refused[READ] = (403, "Forbidden")
    await world.reconcile()
    assert "verb get on configmaps" in world.condition("Accepted")["message"]


async def test_other_deployments_read_none(world: World) -> None:
    await world.reconcile()
    assert [request.what for request in world.server.requests if "configmaps" in request.path] == []
    assert KEY == ("default", "x")
