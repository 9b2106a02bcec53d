"""Gang schedulers that bring their own group object: made before the pods, removed with the group."""

from __future__ import annotations

import pytest

from tests.api.conftest import World, eventually

pytestmark = pytest.mark.usefixtures("operator", "h100")

# The part of scheduler-plugins' PodGroup that is written; its own definition has more fields.
POD_GROUPS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "podgroups.scheduling.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/scheduler-plugins/pull/50"},
    },
    "spec": {
        "group": "scheduling.x-k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "PodGroup", "plural": "podgroups", "singular": "podgroup"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"minMember": {"type": "integer", "format": "int32"}},
                            }
                        },
                    }
                },
            }
        ],
    },
}


def test_a_scheduler_that_is_not_there_is_named_and_nothing_starts(world: World) -> None:
    world.apply(scheduling={"gang": "kubernetes"})
    eventually(
        lambda: "scheduling.k8s.io/v1beta1 is not served" in world.condition("Ready").get("message", ""),
        what="the reason",
    )
    assert not world.pods()
    world.patch("dsd", "x", {"spec": {"scheduling": {"gang": "none"}}})
    world.wait_ready(seconds=60)


def test_the_group_object_comes_before_the_pods_and_goes_with_the_group(world: World) -> None:
    world.kubectl.apply(POD_GROUPS, namespace="default")
    world.cluster.wait_for_crd("podgroups.scheduling.x-k8s.io")
    # The cluster's own scheduler places the pods here; the plugin's is not installed.
    world.apply(replicas=2, scheduling={"gang": "coscheduling", "schedulerName": "default-scheduler"})
    world.wait_ready(seconds=60)
    groups = {each["metadata"]["name"]: each for each in world.items("podgroups.scheduling.x-k8s.io")}
    assert groups.keys() == {"x-g0", "x-g1"}
    assert groups["x-g0"]["spec"] == {"minMember": 2}
    assert all(
        groups["x-g0"]["metadata"]["creationTimestamp"] <= pod["metadata"]["creationTimestamp"] for pod in world.pods()
    )
    world.patch("dsd", "x", {"spec": {"replicas": 1}})
    eventually(lambda: len(world.items("podgroups.scheduling.x-k8s.io")) == 1, what="the group object is gone")
    world.kubectl("-n", world.namespace, "delete", "dsd", "x")
    eventually(lambda: not world.items("podgroups.scheduling.x-k8s.io"), seconds=60, what="nothing is left")
