from __future__ import annotations

from dataclasses import replace

from deepseek_operator.render.owner import group_labels, labels, owner_reference, pod_selector
from tests.unit.render.samples import OWNER


def test_the_garbage_collector_deletes_children_after_their_owner() -> None:
    reference = owner_reference(OWNER)
    assert reference["uid"] == OWNER.uid
    assert reference["controller"] is True
    assert reference["blockOwnerDeletion"] is True


def test_group_labels_are_those_of_every_child_and_the_index() -> None:
    assert labels(OWNER).items() < group_labels(OWNER, 3).items()
    assert group_labels(OWNER, 3)["serving.deepseek-operator.io/group"] == "3"


def test_the_pod_selector_matches_the_group_labels() -> None:
    assert pod_selector(OWNER, 3).items() <= group_labels(OWNER, 3).items()


def test_pods_of_a_deleted_namesake_are_not_selected() -> None:
    namesake = replace(OWNER, uid="5f0c2d3e-0000-4000-8000-000000000002")
    assert not pod_selector(namesake, 0).items() <= group_labels(OWNER, 0).items()


def test_groups_do_not_select_each_other() -> None:
    assert not pod_selector(OWNER, 1).items() <= group_labels(OWNER, 11).items()
