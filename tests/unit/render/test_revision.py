from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.api.resource import Spec
from deepseek_operator.render import revision as module
from deepseek_operator.render.owner import pod_selector
from deepseek_operator.render.revision import controller_revision, parse, revision_hash
from tests.unit.render.samples import FP8_SPEC, H100_PLAN, LAUNCH, OWNER, RANK_WEIGHTS, revision, spec

OUTSIDE = {"replicas", "suspend", "access", "rollout", "recovery", "startup"}
"""Fields of the spec that change without new pods; of access, keys is inside."""


def test_every_field_of_the_spec_is_either_in_a_revision_or_known_to_be_outside() -> None:
    fields = {field.alias for field in Spec.model_fields.values()}
    assert fields == {*module.POD_FIELDS, *OUTSIDE}


def test_patience_is_no_part_of_a_revision() -> None:
    patient = spec(scheduling={"holdTimeoutSeconds": 60}, recovery={"maxRestarts": 1}, rollout={"maxSurge": 1})
    assert revision_hash(patient) == revision_hash(spec())


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "deepseek-ai/DeepSeek-R1"},
        {"revision": "v1"},
        {"servedName": "v3"},
        {"trustRemoteCode": True},
        {"precision": "fp8"},
        {"context": {"maxLength": 4096}},
        {"engine": {"args": ["--enable-metrics"]}},
        {"hardware": {"vendor": "amd"}},
        {"parallelism": {"nodes": 4}},
        {"fabric": {"mode": "host"}},
        {"weights": {"cache": "node"}},
        {"restartedAt": "2026-11-23T00:00:00Z"},
        {"scheduling": {"schedulerName": "volcano"}},
        {"podTemplate": {"labels": {"a": "b"}}},
        {"access": {"keys": {"mode": "none"}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_pods_see_makes_a_new_revision(fields: dict[str, Any]) -> None:
    assert revision_hash(spec(**fields)) != revision_hash(FP8_SPEC)


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": 5},
        {"suspend": True},
        {"access": {"from": [{"podLabels": {"a": "b"}}]}},
        {"precision": "auto", "engine": {"features": {"mtp": False}}, "access": {"keys": {"mode": "generate"}}},
    ],
)
def test_what_pods_do_not_see_and_written_defaults_keep_the_revision(fields: dict[str, Any]) -> None:
    assert revision_hash(spec(**fields)) == revision_hash(FP8_SPEC)


def test_a_hash_fits_into_an_objects_name_and_a_label() -> None:
    assert re.fullmatch(r"[0-9a-f]{10}", revision_hash(FP8_SPEC))


def test_hashes_of_stored_revisions_never_change() -> None:
    rich = spec(
        precision="fp8",
        engine={"args": ["--x"], "env": [{"name": "A", "value": "1"}]},
        access={"keys": {"mode": "none"}},
    )
    assert (revision_hash(FP8_SPEC), revision_hash(rich)) == ("ee6b2ef833", "35f117f452")


def test_an_optional_field_of_a_later_version_keeps_existing_hashes() -> None:
    class LaterSpec(Spec):
        compression: str = "none"

    with mock.patch.object(module, "POD_FIELDS", (*module.POD_FIELDS, "compression")):
        existing = LaterSpec.model_validate(FP8_SPEC.model_dump(by_alias=True))
        assert revision_hash(existing) == revision_hash(FP8_SPEC)
        used = LaterSpec.model_validate({"model": FP8_SPEC.model, "compression": "zstd"})
        assert revision_hash(used) != revision_hash(FP8_SPEC)


def test_a_revision_survives_storage() -> None:
    content = revision(replace(H100_PLAN, weights=RANK_WEIGHTS))
    stored = json.loads(json.dumps(controller_revision(OWNER, content, 3)))
    assert stored["revision"] == 3
    assert stored["metadata"]["name"] == f"deepseek-fp8-{content.hash}"
    assert json.dumps(parse(stored).template) == json.dumps(content.template)
    assert parse(stored) == parse({"data": stored["data"]})
    assert parse(stored).template_hash == content.template_hash
    assert parse(stored).immutable_hash == content.immutable_hash


def test_stateful_sets_do_not_adopt_stored_revisions() -> None:
    labels = controller_revision(OWNER, revision(), 1)["metadata"]["labels"]
    assert labels["serving.deepseek-operator.io/revision-of"] == OWNER.uid
    assert not pod_selector(OWNER, 0).keys() & labels.keys()


def test_the_same_input_makes_the_same_template() -> None:
    assert revision() == revision()


def test_the_template_hash_moves_with_the_template() -> None:
    changed = replace(LAUNCH, termination_grace_seconds=60)
    assert revision(launch=changed).template_hash != revision().template_hash
    assert revision(launch=changed).hash == revision().hash


@pytest.mark.parametrize("manifest", [{}, {"data": None}, {"metadata": {"name": "x-1"}, "data": {"hash": "1"}}])
def test_a_foreign_revision_is_refused_with_a_remedy(manifest: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="delete the object"):
        parse(manifest)
