"""A pod that brings an image to a node: small, where the ranks may run, and nobody's endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.lifecycle.pulls import work
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pull import engine_image, pull_pod
from deepseek_operator.render.revision import RevisionContent, new_revision
from deepseek_operator.render.services import api_service, headless_service
from tests.unit.render.samples import H100_PLAN, LAUNCH, spec

OWNER = Owner(name="x", namespace="default", uid="cr")


def revision(from_spec: Spec | None = None, *, image: str = "registry.example/e:1") -> RevisionContent:
    plan = replace(H100_PLAN, engine=replace(H100_PLAN.engine, image=image))
    return new_revision(owner=OWNER, spec=from_spec or spec(), plan=plan, launch=LAUNCH)


def pod(node: str = "node-1", **fields: Any) -> dict[str, Any]:
    return pull_pod(OWNER, node, revision(spec(**fields)))


def test_it_pulls_the_engines_image_on_its_node_and_asks_for_no_accelerator() -> None:
    found = pod()["spec"]
    (container,) = found["containers"]
    assert container["image"] == engine_image(revision()) == "registry.example/e:1"
    assert container["command"] == ["/bin/bash", "-c", ":"]
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "16Mi"}}
    (term,) = found["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}
    assert "nodeName" not in found
    assert (found["restartPolicy"], found["automountServiceAccountToken"]) == ("Never", False)


def test_it_passes_where_the_ranks_pass() -> None:
    ranks = revision(
        spec(
            engine={"imagePullSecrets": ["registry"]},
            scheduling={"tolerations": [{"key": "team", "operator": "Exists"}]},
            podTemplate={"labels": {"cost": "a"}, "annotations": {"note": "b"}},
        )
    )
    found = pull_pod(OWNER, "node-1", ranks)
    assert found["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert found["spec"]["tolerations"] == ranks.template["spec"]["tolerations"]
    assert found["metadata"]["labels"]["cost"] == "a"
    assert found["metadata"]["annotations"]["note"] == "b"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "cr"


def test_no_selector_of_a_group_or_of_the_api_takes_it_for_a_rank() -> None:
    labels = pod()["metadata"]["labels"].items()
    for service in (api_service(OWNER), headless_service(OWNER, 0)):
        assert not service["spec"]["selector"].items() <= labels
    assert pod()["spec"]["readinessGates"], "it is never ready, so no Service of the user sends it a request either"


def test_its_name_follows_from_node_and_image_and_is_no_ranks_name() -> None:
    pods = [pull_pod(OWNER, node, revision(image=image)) for node in ("a", "b") for image in ("i:1", "i:2")]
    names = {found["metadata"]["name"] for found in pods}
    assert len(names) == 4
    assert all(name.startswith("x-pull-") and len(name) == 17 for name in names)
    assert pod()["metadata"]["name"] == pod()["metadata"]["name"]


@pytest.mark.parametrize(
    ("scheduling", "expected"),
    [
        ({}, None),
        ({"schedulerName": "mine"}, "mine"),
        ({"gang": "volcano"}, None),
        ({"gang": "volcano", "schedulerName": "mine"}, None),
    ],
)
def test_a_scheduler_that_places_groups_is_not_asked(scheduling: dict[str, str], expected: str | None) -> None:
    assert pod(scheduling=scheduling)["spec"].get("schedulerName") == expected


def test_without_a_revision_nothing_is_pulled() -> None:
    assert list(work(OWNER, {"a"}, None, (), now=None)) == []  # type: ignore[arg-type]  # no time is read
