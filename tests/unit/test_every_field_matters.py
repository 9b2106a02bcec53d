"""No silent no-ops: each leaf of the CRD's schema, mutated, changes what is rendered or is refused.

Leaves and their values come from the schema itself, so a field that is added without behaviour fails here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.crd import crd
from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.api.resource import Spec
from deepseek_operator.api.validation import problems as rule_problems
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.entries import Incident
from deepseek_operator.lifecycle.groups import fail, given_up
from deepseek_operator.lifecycle.nodes import next_loss
from deepseek_operator.lifecycle.planning import launch_plan, plan_spec, with_own_model
from deepseek_operator.lifecycle.policy import read_policy
from deepseek_operator.lifecycle.records import ConfigRecord, ContainerRecord, NodeRecord
from deepseek_operator.lifecycle.resolve import read_spec
from deepseek_operator.lifecycle.rollout import plan_groups
from deepseek_operator.lifecycle.warmup import WarmUps, due
from deepseek_operator.lifecycle.watchdogs import watchdogs
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import Facts, Refusal
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import revision_hash
from e2e.sglang_parser import DEEPSEEK_V3
from tests.unit.lifecycle.observed import NOW, OTHER, entry, limits, pod, serving_entry

NODES = Path(__file__).resolve().parents[2] / "e2e" / "cluster" / "nodes"
H100 = "nvidia-h100.yaml"
OWNER = Owner(name="x", namespace="default", uid="00000000-0000-0000-0000-000000000000")
BASE: dict[str, Any] = {
    "model": "deepseek-ai/DeepSeek-V3-0324",
    "precision": "fp8",
    # A mount needs a volume to name.
    "podTemplate": {"volumes": [{"name": "v", "configMap": "c"}]},
}

WORDS = {
    "spec.model": "deepseek-ai/DeepSeek-R1-0528",
    "spec.engine.version": "0.0.1",
    "spec.engine.args[]": "--log-level=debug",
    "spec.hardware.product": "NVIDIA-H200",
    "spec.fabric.rdma.resource": "rdma/other",
    "spec.fabric.interface": "eth7",
    "spec.weights.source": "pvc://claim/path",
    "spec.batch.prompts.path": "other.txt",
    "spec.batch.answers.path": "other.txt",
    "spec.batch.temperature": "0.9",
    "spec.weights.claimName": "claim",
    "spec.weights.storageClassName": "standard",
    "spec.restartedAt": "2026-01-01T00:00:00Z",
    "spec.podTemplate.volumes[].hostPath": "/data",
    "spec.podTemplate.volumeMounts[].mountPath": "/data",
}
"""Strings whose pattern or meaning a generic word does not meet."""

CONFIG_MAPS = {("own", "config.json"): json.dumps(DEEPSEEK_V3)}
"""What exists, by name and key."""
OWN_MODEL = {**BASE, "weights": {"source": "pvc://claim/path"}}
COMPANIONS: dict[str, dict[str, Any]] = {
    "spec.engine.env[]": {"name": "SOME_NAME", "value": "v"},
    "spec.weights.tokenSecret": {"name": "token"},
    "spec.modelConfig": {"name": "own"},
    "spec.access.from[]": {"podLabels": {"app": "web"}},
    "spec.scheduling.tolerations[]": {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"},
    "spec.podTemplate.volumeMounts[]": {"name": "v", "mountPath": "/other"},
}
"""What else the object of a leaf needs; the comparison is with and without the change of the leaf alone."""


BASES: dict[str, dict[str, Any]] = {
    "spec.modelConfig.name": OWN_MODEL,
    "spec.modelConfig.key": OWN_MODEL,
    # H100 serves INT8, and DeepSeek-R1 has INT8 weights of another publisher only.
    "spec.weights.allowVariant": {
        **BASE,
        "model": "deepseek-ai/DeepSeek-R1",
        "precision": "int8",
        "weights": {"allowVariant": True},
    },
    "spec.weights.credentialsSecret": {**BASE, "weights": {"source": "s3://bucket/v3-fp8"}},
}
"""Leaves that matter only beside others."""
BATCH: dict[str, Any] = {
    **BASE,
    "engine": {"name": "deepseek-infer", "image": "i"},
    "weights": {"source": "pvc://weights/v3-mp16"},
    "batch": {"prompts": {"configMap": "c"}, "answers": {"persistentVolumeClaim": "c"}},
}
TIGHT = {
    "model": "deepseek-ai/DeepSeek-V3-0324",
    "precision": "bf16",
    "weights": {"source": "hf://example/DeepSeek-V3-0324-BF16"},
    "parallelism": {"nodes": 1},
}
REFUSED_WITHOUT: dict[str, tuple[str, dict[str, Any]]] = {"spec.hardware.allowTight": ("nvidia-b200.yaml", TIGHT)}
"""Leaves that only turn a refusal into a plan, with the nodes and the spec that are refused without them."""


def leaves(schema: Mapping[str, Any], path: str = "spec") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if schema["type"] == "object" and "properties" in schema:
        for name, member in schema["properties"].items():
            yield from leaves(member, f"{path}.{name}")
    elif schema["type"] == "array":
        yield from leaves(schema["items"], f"{path}[]")
    else:
        yield path, schema


SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
LEAVES = dict(leaves(SCHEMA))


def values(path: str, schema: Mapping[str, Any], before: Any) -> list[Any]:
    if "enum" in schema:
        return [value for value in schema["enum"] if value != before]
    if schema["type"] == "boolean":
        return [value for value in (True, False) if value != before]
    if schema["type"] == "integer":
        return [value for value in (1, 2, schema.get("maximum", 7)) if value != before]
    if schema["type"] == "object":
        return [{"some-label": "some-value"}]
    return [WORDS.get(path, "some-word")]


def parts(path: str) -> list[str]:
    return path.replace("[]", ".[]").split(".")[1:]


def put(target: Any, steps: list[str], value: Any, prefix: str) -> Any:
    """The spec with one leaf set; objects on the way get their companions."""
    if not steps:
        return value
    step, *rest = steps
    if step == "[]":
        path = f"{prefix}[]"
        item = target[0] if target else COMPANIONS.get(path, {})
        return [put(item, rest, value, path)]
    path = f"{prefix}.{step}"
    base = dict(target or {})
    companion = COMPANIONS.get(path) if rest and rest[0] != "[]" else None
    base[step] = put(base.get(step, companion), rest, value, path)
    return base


def current(target: Any, steps: list[str]) -> Any:
    for step in steps:
        if target is None:
            return None
        target = target[0] if step == "[]" else target.get(step)
    return target


@cache
def outcome(text: str, nodes: str = H100) -> str:
    """Everything a user could notice: refusals with their fields, or all objects."""
    body = json.loads(text)
    catalog, config = load(), OperatorConfig()
    try:
        spec = read_spec(body)
    except InvalidInputError as error:
        return f"refused {error}"
    if broken := rule_problems(name="x", spec=spec):
        return f"refused {broken}"
    if spec.config_json is not None:
        config_json = CONFIG_MAPS.get((spec.config_json.name, spec.config_json.key))
        found = with_own_model(spec, spec.config_json, ConfigRecord(text=config_json), catalog)
        if isinstance(found, Refusal):
            return f"refused {found.problems}"
        catalog = found
    inventory = take_inventory(
        [read_node(node) for node in yaml.safe_load((NODES / nodes).read_text())["items"]],
        catalog,
        tolerations=spec.scheduling.tolerations,
    )
    facts = Facts(default_storage_class=True, node_path="/var/lib/weights")
    plan = plan_spec(spec, inventory, catalog, facts, namespace="default", name="x")
    if isinstance(plan, Refusal):
        return f"refused {plan.problems}"
    started = launch_plan(plan, spec, catalog, namespace="default", name="x", cluster_domain="cluster.local")
    objects = all_objects(OWNER, spec, plan, started, config=config)
    return json.dumps([[without_revision(o) for o in objects], reactions(spec)], sort_keys=True)


def reactions(spec: Spec) -> list[Any]:
    """What the operator does with groups that get into trouble or are to be exchanged."""
    policy = read_policy(spec)
    by = replace(limits(), policy=policy)
    begun = "2026-01-01T12:00:00Z"
    running = ContainerRecord(state="running", since=begun)
    half = (pod(0, created=begun), pod(1, scheduled=False, created=begun))
    apart = (pod(0, ready=False, engine=running), pod(1, ready=False, engine=running))
    hung = (pod(0, ready=False, ready_changed=begun), pod(1))
    loading = (pod(0, ready=False, engine=running), pod(1, engine=replace(running, started=True)))
    dogs = [
        str(dog.due)
        for before, pods in ((entry(), half), (entry(), apart), (entry(), loading), (serving_entry(), hung))
        for dog in watchdogs(before, pods, shape=by.shape, policy=policy, seed="")
    ]
    node = {"n": NodeRecord(name="n", not_ready_since=begun)}
    lost = str(next_loss(["n"], node, lost_after=policy.node_lost_after, now=NOW))
    incident = Incident(time=begun, reason="EngineExited", message="")
    tries = [given_up(fail(entry(restarts=n), incident, limits=by, now=NOW)) for n in range(1001)]
    groups = [serving_entry(index) for index in range(64)]
    moved = plan_groups(groups, desired=64, suspended=False, target=OTHER, policy=policy, now=NOW)
    warm_ups = WarmUps(
        target=OTHER, image="new", policy=policy, pulls=(), image_of=lambda _: "old", nodes_of=lambda _: {"n"}
    )
    warmed = [entry.warm_up for entry in warm_ups.warmed(groups[:1], now=NOW)]
    waits = [str(due(found, policy)) for found in warmed if found]
    return [dogs, lost, tries.count(False), [[e.index, e.intent] for e in moved], waits]


def without_revision(manifest: dict[str, Any]) -> dict[str, Any]:
    """The revision's hash moves with any field; alone it would prove nothing."""
    if manifest["kind"] == "ControllerRevision":
        return {}
    text = json.dumps({k: v for k, v in manifest.items() if k != "metadata"})
    labels = manifest.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
    revision = labels.get("serving.deepseek-operator.io/revision", "no revision")
    cleaned: dict[str, Any] = json.loads(text.replace(revision, "REVISION"))
    return cleaned


RESTARTS_ONLY = {"spec.restartedAt"}
"""Whose whole effect is a new revision."""


@pytest.mark.parametrize("path", sorted(LEAVES))
def test_a_changed_leaf_changes_the_objects_or_is_refused(path: str) -> None:
    schema = LEAVES[path]
    if schema.get("enum") and len(schema["enum"]) == 1:
        # One value is no choice; leaving it out means the same by design.
        assert outcome(json.dumps(put(BASE, parts(path), schema["enum"][0], "spec"))) == outcome(json.dumps(BASE))
        return
    steps = parts(path)
    if path in REFUSED_WITHOUT:
        nodes, refused = REFUSED_WITHOUT[path]
        assert outcome(json.dumps(refused), nodes).startswith("refused")
        (value,) = values(path, schema, False)  # noqa: FBT003 - the field's default
        assert not outcome(json.dumps(put(refused, steps, value, "spec")), nodes).startswith("refused")
        return
    holder = path.rpartition(".")[0]
    base = BATCH if path.startswith("spec.batch.") else BASES.get(path, BASE)
    with_companion = put(base, parts(holder), COMPANIONS[holder], "spec") if holder in COMPANIONS else base
    before = outcome(json.dumps(with_companion))
    assert not before.startswith("refused"), before
    candidates = values(path, schema, current(with_companion, steps))
    changed = [
        value for value in candidates if outcome(json.dumps(put(with_companion, steps, value, "spec"))) != before
    ]
    if path in RESTARTS_ONLY:
        assert revision_hash(read_spec({**BASE, "restartedAt": candidates[0]})) != revision_hash(read_spec(BASE))
        return
    assert changed, f"{path}: none of {candidates} changes anything"


def test_every_leaf_of_the_schema_is_in_the_list() -> None:
    assert len(LEAVES) > 50
    assert {"spec.model", "spec.parallelism.tensor", "spec.engine.env[].value"} <= LEAVES.keys()
