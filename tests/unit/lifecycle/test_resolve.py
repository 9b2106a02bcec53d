"""From spec to revision: what is stored holds, and planning happens only where nothing is stored."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.outcome import NewSecrets, Outcome
from deepseek_operator.lifecycle.records import ConfigRecord, DeploymentRecord, RevisionRecord, Snapshot
from deepseek_operator.lifecycle.resolve import Surroundings, read_spec, resolve
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import Facts
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.revision import RevisionContent, controller_revision
from tests.unit.plan.nodes import Manifest, ascend910b, h100, h200

H100S = [h100("a"), h100("b")]
H200S = [h200("c"), h200("d")]
OWNER = Owner(name="x", namespace="default", uid="cr")
NEW = NewSecrets(api_key="k", admin_key="a")
SPEC: dict[str, Any] = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8"}


def around(nodes: Iterable[Manifest]) -> Surroundings:
    read = [read_node(node) for node in nodes]
    return Surroundings(
        catalog=load(),
        config=OperatorConfig(),
        facts=Facts(default_storage_class=True),
        inventory_of=lambda tolerations: take_inventory(read, load(), tolerations=tolerations),
    )


def resolved(
    nodes: Iterable[Manifest],
    *,
    spec: dict[str, Any] = SPEC,
    stored: Iterable[RevisionContent] = (),
    served: Iterable[RevisionContent] = (),
    copies: Iterable[RevisionContent] = (),
    config: ConfigRecord | None = None,
) -> Outcome:
    deployment = DeploymentRecord(
        name="x",
        namespace="default",
        uid="cr",
        generation=1,
        resource_version=1,
        deleting=False,
        spec=spec,
        status={"servedRevisions": [content.hash for content in served]},
    )
    revisions = {content.hash: record(content, number) for number, content in enumerate(stored, start=1)}
    kept = {content.hash: record(content, 0).content for content in copies}
    snapshot = Snapshot(deployment=deployment, revisions=revisions, copies=kept, model_config=config)
    return resolve(snapshot, around(nodes), new_secrets=NEW)


def record(content: RevisionContent, number: int) -> RevisionRecord:
    data = controller_revision(OWNER, content, number)["data"]
    return RevisionRecord(
        kind="ControllerRevision",
        namespace="default",
        name=f"x-{content.hash}",
        uid=f"uid-{number}",
        owner="cr",
        resource_version=1,
        desired_hash="",
        owned_fields=b"",
        revision=content.hash,
        number=number,
        content=zlib.compress(json.dumps(data).encode()),
    )


def content_of(outcome: Outcome) -> RevisionContent:
    assert outcome.content is not None, outcome.problems
    return outcome.content


def product(outcome: Outcome) -> str:
    assert outcome.plan is not None, outcome.problems
    return outcome.plan.hardware.product


ON_H100 = content_of(resolved(H100S))


def test_a_new_spec_is_planned_and_not_stored_yet() -> None:
    outcome = resolved(H100S)
    assert (outcome.stored, product(outcome), outcome.new_secrets) == (False, "NVIDIA-H100-80GB-HBM3", NEW)
    assert content_of(outcome).nodes_per_group == 2


def test_the_same_spec_finds_what_was_stored() -> None:
    outcome = resolved(H100S, stored=[ON_H100])
    assert outcome.stored
    assert content_of(outcome) == ON_H100


def test_better_nodes_that_come_later_move_nothing() -> None:
    assert product(resolved([*H200S, *H100S])) == "NVIDIA-H200"
    assert product(resolved([*H200S, *H100S], stored=[ON_H100])) == "NVIDIA-H100-80GB-HBM3"


def test_a_plan_whose_nodes_went_is_made_anew_while_nothing_has_ever_served() -> None:
    outcome = resolved(H200S, stored=[ON_H100])
    assert (product(outcome), outcome.stored) == ("NVIDIA-H200", False)
    assert content_of(outcome).hash == ON_H100.hash
    assert content_of(outcome).template_hash != ON_H100.template_hash


@pytest.mark.parametrize("left", [[], H100S[:1]], ids=["none", "one of two"])
def test_a_plan_stays_without_its_nodes_when_nothing_else_fits(left: list[Manifest]) -> None:
    outcome = resolved(left, stored=[ON_H100])
    assert content_of(outcome) == ON_H100
    assert outcome.stored


def test_a_plan_that_has_served_stays_whatever_happens_to_the_nodes() -> None:
    outcome = resolved(H200S, stored=[ON_H100], served=[ON_H100])
    assert content_of(outcome) == ON_H100


def test_what_served_of_another_revision_does_not_hold_this_one() -> None:
    outcome = resolved(H200S, stored=[ON_H100], served=[replace(ON_H100, hash="another")])
    assert product(outcome) == "NVIDIA-H200"


@pytest.mark.parametrize("nodes", [[*H200S, *H100S], H200S], ids=["better nodes came", "its nodes went"])
def test_a_lost_revision_comes_from_the_copy_that_its_groups_keep_and_is_to_be_stored(nodes: list[Manifest]) -> None:
    outcome = resolved(nodes, copies=[ON_H100], served=[ON_H100])
    assert (content_of(outcome), outcome.stored) == (ON_H100, False)
    assert outcome.contents == {ON_H100.hash: ON_H100}


def test_what_is_stored_is_believed_before_a_copy() -> None:
    other = replace(ON_H100, template={**ON_H100.template, "by": "somebody"})
    outcome = resolved(H100S, stored=[ON_H100], copies=[other])
    assert (content_of(outcome), outcome.stored) == (ON_H100, True)


def test_a_revision_that_this_version_cannot_read_is_refused_and_not_planned_anew() -> None:
    strange = replace(ON_H100, plan={"by": "a newer operator"})
    outcome = resolved([*H200S, *H100S], stored=[strange])
    assert outcome.content is None
    assert [problem.reason for problem in outcome.problems] == ["RevisionUnreadable"]
    assert outcome.problems[0].field == f"ControllerRevision x-{ON_H100.hash}"
    assert "spec.restartedAt" in outcome.problems[0].message
    assert outcome.refusal is not None
    assert not outcome.refusal.waits_for_cluster


def test_nodes_that_lost_their_rdma_devices_do_not_satisfy_the_plan() -> None:
    tcp = [h100("a", rdma=False), h100("b", rdma=False)]
    assert content_of(resolved(tcp, stored=[ON_H100])).template_hash != ON_H100.template_hash


def test_a_newer_operator_that_renders_otherwise_leaves_the_stored_template() -> None:
    old = replace(ON_H100, template={**ON_H100.template, "by": "an older operator"}, template_hash="old")
    outcome = resolved(H100S, stored=[old])
    assert content_of(outcome).template["by"] == "an older operator"
    assert outcome.stored


def test_going_back_reuses_what_ran_then() -> None:
    other = content_of(resolved(H100S, spec={**SPEC, "servedName": "other"}))
    assert other.hash != ON_H100.hash
    back = resolved([*H200S, *H100S], stored=[ON_H100, other], served=[other])
    assert content_of(back) == ON_H100
    assert back.stored


@pytest.mark.parametrize(
    "change",
    [{"replicas": 3}, {"suspend": True}, {"access": {"from": [{"podLabels": {"a": "b"}}]}}],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_concern_pods_is_the_same_revision(change: dict[str, Any]) -> None:
    assert content_of(resolved(H100S, spec={**SPEC, **change}, stored=[ON_H100])) == ON_H100


def test_an_unreadable_spec_names_each_wrong_field_and_keeps_what_runs() -> None:
    outcome = resolved(H100S, spec={**SPEC, "replicas": "two", "nonsense": 1}, stored=[ON_H100])
    assert (outcome.spec, outcome.content, outcome.refusal) == (None, None, None)
    assert [problem.field for problem in outcome.problems] == ["spec.replicas", "spec.nonsense"]
    assert "got 'two'" in outcome.problems[0].message
    assert outcome.contents == {ON_H100.hash: ON_H100}


def test_a_spec_that_nothing_fits_is_refused_and_what_runs_is_kept() -> None:
    outcome = resolved(H100S, spec={**SPEC, "parallelism": {"tensor": 12}}, stored=[ON_H100], served=[ON_H100])
    assert outcome.content is None
    assert outcome.refusal is not None
    assert not outcome.refusal.waits_for_cluster
    assert outcome.problems[0].field == "spec.parallelism.tensor"
    assert outcome.contents == {ON_H100.hash: ON_H100}


def test_missing_nodes_are_waited_for() -> None:
    outcome = resolved([])
    assert outcome.refusal is not None
    assert outcome.refusal.waits_for_cluster


def test_engine_arguments_of_the_operator_are_refused_after_planning() -> None:
    outcome = resolved(H100S, spec={**SPEC, "engine": {"args": ["--tp-size=4"]}})
    assert outcome.refusal is not None
    assert outcome.problems[0].field.startswith("spec.engine.args")


def mounting(path: str, **fields: Any) -> dict[str, Any]:
    template = {"volumes": [{"name": "v", "configMap": "c"}], "volumeMounts": [{"name": "v", "mountPath": path}]}
    return {**SPEC, **fields, "podTemplate": template}


BF16 = {"precision": "bf16", "weights": {"source": "hf://example/DeepSeek-V3-0324-BF16"}}


def test_a_mount_on_the_engines_cache_is_refused_by_field() -> None:
    outcome = resolved(H100S, spec=mounting("/root/.cache/huggingface"))
    assert [(problem.field, problem.reason) for problem in outcome.problems] == [
        ("spec.podTemplate.volumeMounts[0].mountPath", "MountPathReserved")
    ]
    assert outcome.refusal is not None
    assert not outcome.refusal.waits_for_cluster


def test_a_mount_on_a_vendors_driver_is_refused_on_that_vendor_only() -> None:
    npus = [ascend910b(f"n{index}") for index in range(4)]
    assert resolved(npus, spec=mounting("/usr/local/Ascend", **BF16)).problems[0].reason == "MountPathReserved"
    assert resolved(npus, spec=mounting("/data", **BF16)).problems == ()
    assert resolved(H100S, spec=mounting("/usr/local/Ascend")).problems == ()


def test_a_spec_of_the_wrong_type_is_a_problem_not_a_crash() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_spec({"model": "m", "engine": []})
    assert [problem.field for problem in caught.value.problems] == ["spec.engine"]
