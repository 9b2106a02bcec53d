from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.render.digest import (
    canonical,
    desired_hash,
    missing_ownership,
    owned_fields,
    with_desired_hash,
)
from deepseek_operator.render.services import api_service
from tests.unit.render.samples import OWNER

OWNER_ITEM = f'k:{{"uid":"{OWNER.uid}"}}'
PORT_ITEM = 'k:{"port":8000,"protocol":"TCP"}'
METADATA: dict[str, Any] = {
    "f:labels": {
        "f:app.kubernetes.io/managed-by": {},
        "f:serving.deepseek-operator.io/deployment": {},
        "f:serving.deepseek-operator.io/uid": {},
    },
    "f:ownerReferences": {OWNER_ITEM: {}},
}
PORTS: dict[str, Any] = {PORT_ITEM: {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}
APPLIED: dict[str, Any] = {"f:metadata": METADATA, "f:spec": {"f:ports": PORTS, "f:selector": {}}}
"""What API server 1.37 records of the API Service after a server-side apply."""
CREATED: dict[str, Any] = {
    "f:metadata": {
        "f:labels": {".": {}, **METADATA["f:labels"]},
        "f:ownerReferences": {".": {}, OWNER_ITEM: {}},
    },
    "f:spec": {
        "f:internalTrafficPolicy": {},
        "f:ports": {".": {}, **PORTS},
        "f:selector": {},
        "f:sessionAffinity": {},
        "f:type": {},
    },
}
"""And after a POST: defaults are owned, too."""


def without(fields: dict[str, Any], *path: str) -> dict[str, Any]:
    """A fieldsV1 entry after somebody else took the field at this path."""
    changed = copy.deepcopy(fields)
    below = changed
    for step in path[:-1]:
        below = below[step]
    del below[path[-1]]
    return changed


@pytest.mark.parametrize("fields", [APPLIED, CREATED], ids=["applied", "created"])
def test_an_object_that_nobody_touched_misses_nothing(fields: dict[str, Any]) -> None:
    assert missing_ownership(api_service(OWNER), fields) is None


@pytest.mark.parametrize("fields", [APPLIED, CREATED], ids=["applied", "created"])
@pytest.mark.parametrize(
    ("taken", "path"),
    [
        (("f:spec", "f:selector"), "spec.selector"),
        (("f:spec", "f:ports", PORT_ITEM, "f:targetPort"), "spec.ports[name=http].targetPort"),
        (("f:spec", "f:ports", PORT_ITEM), "spec.ports"),
        (("f:spec", "f:ports"), "spec.ports"),
        (("f:spec",), "spec."),
        (("f:metadata", "f:ownerReferences", OWNER_ITEM), "metadata.ownerReferences"),
        (("f:metadata", "f:ownerReferences"), "metadata.ownerReferences"),
        (
            ("f:metadata", "f:labels", "f:serving.deepseek-operator.io/uid"),
            "metadata.labels.serving.deepseek-operator.io/uid",
        ),
        (("f:metadata",), "metadata."),
    ],
)
def test_a_field_that_somebody_else_took_is_named(fields: dict[str, Any], taken: tuple[str, ...], path: str) -> None:
    missing = missing_ownership(api_service(OWNER), without(fields, *taken))
    assert missing is not None
    assert missing.startswith(path)


@pytest.mark.parametrize("name", ["f:ports", "f:labels"])
def test_a_map_that_is_ours_while_all_its_items_are_not_counts_as_taken(name: str) -> None:
    fields = copy.deepcopy(CREATED)
    (fields["f:spec"] if name == "f:ports" else fields["f:metadata"])[name] = {}
    assert missing_ownership(api_service(OWNER), fields) is not None


def test_an_object_without_an_entry_of_ours_names_a_field() -> None:
    missing = missing_ownership(api_service(OWNER), {})
    assert missing == "metadata.labels"


def test_fields_of_others_are_no_drift() -> None:
    fields = copy.deepcopy(APPLIED)
    fields["f:spec"]["f:sessionAffinity"] = {}
    assert missing_ownership(api_service(OWNER), fields) is None


def test_identity_is_never_listed_and_never_missed() -> None:
    service = api_service(OWNER)
    service["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    assert missing_ownership(service, APPLIED) is None


def pod(**container: Any) -> dict[str, Any]:  # what the structure below is about
    return {"spec": {"containers": [{"name": "engine", **container}], "volumes": [{"name": "v", "emptyDir": {}}]}}


def pod_fields(**container: Any) -> dict[str, Any]:
    item = {".": {}, "f:name": {}, **{f"f:{name}": fields for name, fields in container.items()}}
    return {
        "f:spec": {
            "f:containers": {'k:{"name":"engine"}': item},
            "f:volumes": {'k:{"name":"v"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
        }
    }


@pytest.mark.parametrize(
    ("container", "fields", "missing"),
    [
        pytest.param({"command": ["a", "b"]}, {"command": {}}, None, id="an atomic list is one field"),
        pytest.param({"command": ["a", "b"]}, {}, "command", id="an atomic list was changed"),
        pytest.param({"securityContext": {}}, {"securityContext": {}}, None, id="an empty map"),
        pytest.param({"securityContext": {}}, {}, "securityContext", id="an empty map was filled"),
        pytest.param(
            {"ports": [{"containerPort": 80}]},
            {"ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}},
            None,
            id="a key that was left to its default",
        ),
        pytest.param(
            {"ports": [{"containerPort": 80, "protocol": "UDP"}]},
            {"ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}},
            "ports[0]",
            id="another protocol is another port",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": {'k:{"name":"A"}': {".": {}, "f:name": {}}}},
            "env[name=A].value",
            id="a variable was changed",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": {'k:{"name":"B"}': {".": {}, "f:name": {}}}},
            "env[name=A]",
            id="a variable was removed",
        ),
        pytest.param(
            {"env": [{"value": "1"}]},
            {"env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}},
            "env[0]",
            id="an item without its key is nobody's",
        ),
        pytest.param(
            {"resources": {"limits": {"nvidia.com/gpu": "8"}}},
            {"resources": {"f:limits": {}}},
            "resources.limits.nvidia.com/gpu",
            id="all limits were replaced",
        ),
        pytest.param({"finalizers": ["a"]}, {"finalizers": {'v:"a"': {}}}, None, id="a set"),
        pytest.param({"finalizers": ["a"]}, {"finalizers": {'v:"b"': {}}}, "finalizers[a]", id="a set lost an item"),
    ],
)
def test_every_form_of_fields_is_understood(
    container: dict[str, Any], fields: dict[str, Any], missing: str | None
) -> None:
    found = missing_ownership(pod(**container), pod_fields(**fields))
    if missing is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(f"spec.containers[name=engine].{missing}")


def test_data_of_a_revision_is_owned_as_one() -> None:
    revision = {"kind": "ControllerRevision", "data": {"template": {"labels": {"a": "b"}}}, "revision": 1}
    assert missing_ownership(revision, {"f:data": {}, "f:revision": {}}) is None
    assert missing_ownership(revision, {"f:revision": {}}) == "data"
    assert missing_ownership(revision, {"f:data": {}}) == "revision"


def test_entries_of_both_operations_count_and_those_of_others_do_not() -> None:
    ours = {"manager": "deepseek-operator"}
    managed = [
        {**ours, "operation": "Update", "fieldsV1": {"f:spec": {"f:a": {}}}},
        {**ours, "operation": "Apply", "fieldsV1": {"f:spec": {"f:b": {".": {}}}}},
        {**ours, "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:c": {}}}},
    ]
    assert owned_fields(managed) == {"f:spec": {"f:a": {}, "f:b": {".": {}}}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert canonical(value) == canonical(reordered(value))


def test_the_desired_hash_ignores_itself_and_sees_all_else() -> None:
    service = api_service(OWNER)
    signed = with_desired_hash(service)
    assert signed["metadata"]["annotations"]["serving.deepseek-operator.io/desired-hash"] == desired_hash(service)
    assert desired_hash(signed) == desired_hash(service)
    signed["spec"]["ports"][0]["targetPort"] = 8001
    assert desired_hash(signed) != desired_hash(api_service(OWNER))
    service["metadata"]["annotations"] = {"other": "annotation"}
    assert desired_hash(service) != desired_hash(api_service(OWNER))


def test_signing_leaves_the_given_object_alone() -> None:
    service = api_service(OWNER)
    with_desired_hash(service)
    assert service == api_service(OWNER)
