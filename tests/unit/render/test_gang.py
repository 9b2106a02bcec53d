"""What each gang scheduler finds on a group's objects."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.render.apply_order import group_objects
from tests.unit.render.samples import OWNER, revision, spec

NAME = "deepseek-fp8-g1"
CASES: dict[str, dict[str, Any]] = {
    "volcano": {
        "scheduler": "volcano",
        "set": {"scheduling.volcano.sh/group-min-member": "2"},
        "pod": {"scheduling.volcano.sh/queue-name": "q"},
    },
    "kueue": {"scheduler": None, "set": {"kueue.x-k8s.io/queue-name": "q"}, "pod": {}},
    "kai": {
        "scheduler": "kai-scheduler",
        "set": {"kai.scheduler/skip-podgrouper": "true"},
        "pod": {"kai.scheduler/queue": "q", "pod-group-name": NAME},
        "group": ("scheduling.run.ai/v2alpha2", {"minMember": 2, "queue": "q"}),
    },
    "coscheduling": {
        "scheduler": "scheduler-plugins-scheduler",
        "set": {},
        "pod": {"scheduling.x-k8s.io/pod-group": NAME},
        "group": ("scheduling.x-k8s.io/v1alpha1", {"minMember": 2}),
    },
    "kubernetes": {
        "scheduler": None,
        "set": {},
        "pod": {},
        "group": (
            "scheduling.k8s.io/v1beta1",
            {"schedulingPolicy": {"gang": {"minCount": 2}}, "disruptionMode": {"all": {}}},
        ),
    },
}


def objects(**scheduling: Any) -> list[dict[str, Any]]:
    content = revision(spec=spec(scheduling=scheduling))
    return group_objects(OWNER, 1, content, incarnation=1, replicas=2, config=OperatorConfig())


def marks(metadata: dict[str, Any]) -> dict[str, str]:
    return {**metadata.get("labels", {}), **metadata.get("annotations", {})}


@pytest.mark.parametrize("gang", CASES)
def test_the_scheduler_finds_what_it_looks_for(gang: str) -> None:
    case = CASES[gang]
    queued = {"queue": "q"} if gang in {"volcano", "kueue", "kai"} else {}
    *others, owner = objects(gang=gang, **queued)
    template = owner["spec"]["template"]
    assert case["set"].items() <= marks(owner["metadata"]).items()
    assert case["pod"].items() <= marks(template["metadata"]).items()
    assert template["spec"].get("schedulerName") == case["scheduler"]
    groups = [(each["apiVersion"], each["spec"]) for each in others if each["kind"] == "PodGroup"]
    assert groups == ([case["group"]] if "group" in case else [])
    assert all(each["metadata"]["name"] == NAME for each in others if each["kind"] == "PodGroup")


def test_kubernetes_own_gang_is_named_in_the_pods() -> None:
    owner = objects(gang="kubernetes")[-1]
    assert owner["spec"]["template"]["spec"]["schedulingGroup"] == {"podGroupName": NAME}


def test_the_users_scheduler_name_wins() -> None:
    owner = objects(gang="volcano", schedulerName="mine")[-1]
    assert owner["spec"]["template"]["spec"]["schedulerName"] == "mine"


def test_without_a_gang_nothing_is_added() -> None:
    *others, owner = objects()
    assert "PodGroup" not in {each["kind"] for each in others}
    assert "schedulerName" not in owner["spec"]["template"]["spec"]
