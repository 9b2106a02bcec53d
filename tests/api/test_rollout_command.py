"""``kubectl deepseek rollout`` against a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import World

pytestmark = pytest.mark.usefixtures("operator", "h100")


def rollout(world: World, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("kubectl-deepseek"), "rollout", *arguments, f"--namespace={world.namespace}"],
        env={**os.environ, "KUBECONFIG": str(world.cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_history_undo_and_status(world: World) -> None:
    world.apply(context={"maxLength": 8192}, scheduling={"holdTimeoutSeconds": 60})
    world.wait_ready()
    world.patch("dsd", "x", {"spec": {"servedName": "other", "replicas": 2, "context": {"maxLength": None}}})
    assert "rolled out" in rollout(world, "status", "x", "--timeout=60").stderr

    rows = json.loads(rollout(world, "history", "x", "--output=json").stdout)
    assert [(row["revision"], row["groups"], row["current"]) for row in rows] == [(1, [], False), (2, [0, 1], True)]
    assert rows[0]["hardware"] == "2x8 NVIDIA-H100-80GB-HBM3"
    assert "NVIDIA-H100" in rollout(world, "history", "x").stdout

    rollout(world, "undo", "x")
    spec = world.deployment()["spec"]
    assert "servedName" not in spec
    assert (spec["context"], spec["replicas"]) == ({"maxLength": 8192}, 2)
    assert spec["scheduling"] == {"holdTimeoutSeconds": 60}
    world.wait_ready()
    groups = world.deployment()["status"]["groups"]
    assert {group["revision"] for group in groups} == {rows[0]["hash"]}, "the stored revision runs again"


def test_restart_replaces_the_group(world: World) -> None:
    world.apply()
    world.wait_ready()
    rollout(world, "restart", "x")
    rollout(world, "status", "x", "--timeout=60")
    assert world.incarnations() == {"2"}


def test_a_rollout_that_cannot_move_is_told_and_fails(world: World) -> None:
    world.apply()
    world.wait_ready()
    world.patch("dsd", "x", {"spec": {"parallelism": {"tensor": 12}}})
    assert "spec.parallelism.tensor" in rollout(world, "status", "x", "--timeout=60", code=1).stderr
    assert "no such earlier revision" in rollout(world, "undo", "x", "--to-revision=9", code=2).stderr


def test_a_deployment_that_does_not_exist_is_named(world: World) -> None:
    assert "kubectl get dsd" in rollout(world, "status", "nobody", code=2).stderr
