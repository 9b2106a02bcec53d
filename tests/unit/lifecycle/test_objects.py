"""Which objects are mended, in which order a group's objects go, and which revisions are kept."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.lifecycle.actions import Delete
from deepseek_operator.lifecycle.objects import difference, group_children, mend, surplus_revisions
from deepseek_operator.lifecycle.records import ChildRecord, RevisionRecord
from deepseek_operator.render.apply_order import group_objects
from deepseek_operator.render.digest import desired_hash
from deepseek_operator.render.owner import Owner
from tests.unit.lifecycle.pure_cluster import owned, serving, told

MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "x", "namespace": "default", "labels": {"a": "b"}},
    "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 8000}], "selector": {"app": "x"}},
}


def pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode())


def child(kind: str = "Service", name: str = "x", **changes: Any) -> ChildRecord:
    record = ChildRecord(
        kind=kind,
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        owner="cr",
        resource_version=1,
        desired_hash=desired_hash(MANIFEST),
        owned_fields=pack(owned(MANIFEST)),
    )
    return replace(record, **changes)


def without(*path: str) -> bytes:
    fields = owned(MANIFEST)
    node = fields
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return pack(fields)


CASES: dict[str, tuple[ChildRecord | None, str | None]] = {
    "as it was applied": (child(), None),
    "absent": (None, "missing"),
    "we want something else now": (child(desired_hash="old"), "the desired state changed"),
    "a scalar was taken over": (
        child(owned_fields=without("f:spec", "f:clusterIP")),
        "spec.clusterIP was changed by someone else",
    ),
    "a label was taken over": (
        child(owned_fields=without("f:metadata", "f:labels", "f:a")),
        "metadata.labels.a was changed by someone else",
    ),
    "nothing is ours any more": (child(owned_fields=b""), "metadata.labels was changed by someone else"),
}


@pytest.mark.parametrize("case", CASES)
def test_difference(case: str) -> None:
    record, expected = CASES[case]
    why = difference(MANIFEST, record)
    assert why == expected or (expected and why and why.startswith(expected.split(" was ")[0]))


def test_only_what_differs_is_mended_with_its_uid_and_its_hash() -> None:
    other = {**MANIFEST, "metadata": {**MANIFEST["metadata"], "name": "y"}}
    new = {**MANIFEST, "metadata": {**MANIFEST["metadata"], "name": "z"}}
    children = {("Service", "x"): child(), ("Service", "y"): child(name="y")}
    actions = mend([MANIFEST, other, new], children)
    assert [(action.manifest["metadata"]["name"], action.uid, action.why) for action in actions] == [
        ("y", "uid-y", "the desired state changed"),
        ("z", None, "missing"),
    ]
    assert actions[0].manifest["metadata"]["annotations"] == {
        "serving.deepseek-operator.io/desired-hash": desired_hash(other)
    }


def test_an_object_of_another_kind_with_the_same_name_is_not_ours_to_compare() -> None:
    assert [action.uid for action in mend([MANIFEST], {("NetworkPolicy", "x"): child("NetworkPolicy")})] == [None]


def test_a_groups_objects_go_after_the_owner_of_its_pods_and_its_neighbours_stay() -> None:
    kinds = ["Service", "NetworkPolicy", "PodDisruptionBudget", "StatefulSet"]
    children = {(kind, name): child(kind, name) for kind in kinds for name in ("x", "x-g1", "x-g11")}
    found = group_children(children, deployment="x", index=1)
    assert [(record.kind, record.name) for record in found] == [
        ("StatefulSet", "x-g1"),
        ("PodDisruptionBudget", "x-g1"),
        ("NetworkPolicy", "x-g1"),
        ("Service", "x-g1"),
    ]


def revisions(count: int) -> dict[str, RevisionRecord]:
    return {
        f"r{number}": RevisionRecord(
            kind="ControllerRevision",
            namespace="default",
            name=f"x-r{number}",
            uid=f"uid-{number}",
            owner="cr",
            resource_version=1,
            desired_hash="",
            owned_fields=b"",
            revision=f"r{number}",
            number=number,
            content=b"",
        )
        for number in range(count, 0, -1)
    }


def test_ten_revisions_are_kept() -> None:
    assert surplus_revisions(revisions(10), in_use=()) == []


def test_the_oldest_beyond_ten_go_with_their_uid() -> None:
    assert surplus_revisions(revisions(12), in_use=()) == [
        Delete(kind="ControllerRevision", name="x-r1", uid="uid-1"),
        Delete(kind="ControllerRevision", name="x-r2", uid="uid-2"),
    ]


def test_a_revision_that_a_group_runs_stays_however_old_it_is() -> None:
    deleted = [action.name for action in surplus_revisions(revisions(12), in_use={"r1"})]
    assert deleted == ["x-r2", "x-r3"]
    assert surplus_revisions(revisions(12), in_use={f"r{number}" for number in range(1, 13)}) == []


def test_a_second_look_at_a_settled_deployment_renders_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = serving(replicas=3)
    rendered: list[int] = []

    def counted(owner: Owner, index: int, *others: Any, **named: Any) -> list[dict[str, Any]]:
        rendered.append(index)
        return group_objects(owner, index, *others, **named)

    monkeypatch.setattr("deepseek_operator.lifecycle.decide.group_objects", counted)
    cluster.step()
    assert rendered == []
    body = cluster.objects["Service", "x-g1"]
    del body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:selector"]
    assert told(cluster.step().actions) == ["apply Service x-g1"]
    assert rendered == [1]
