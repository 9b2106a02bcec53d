"""A changed image is on a serving group's nodes before the group is stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deepseek_operator.lifecycle.pulls import AT_ONCE, Progress, progress, work
from deepseek_operator.lifecycle.records import PullRecord
from tests.unit.lifecycle.observed import NOW, later
from tests.unit.lifecycle.pure_cluster import OWNER, PureCluster, content, serving, told
from tests.unit.render.samples import H100_PLAN

NEW = "registry.example/engine:new"
NEW_PLAN = replace(H100_PLAN, engine=replace(H100_PLAN.engine, image=NEW))


def edited(*, pull: tuple[str, str] = ("waiting", ""), **fields: Any) -> PureCluster:
    """A serving deployment whose image was just changed."""
    cluster = serving(**fields)
    cluster.edit(servedName="new", **fields)
    cluster.plan = NEW_PLAN
    cluster.pull_state = pull
    return cluster


def turn(cluster: PureCluster) -> list[str]:
    """One decision carried out, and what controllers make of it; its actions."""
    decision = cluster.step()
    cluster.controllers()
    return told(decision.actions)


def test_the_image_is_pulled_on_the_groups_nodes_before_it_is_stopped() -> None:
    cluster = edited()
    assert turn(cluster)[:2] == ["pull on node-0", "pull on node-1"]
    assert cluster.group()["warmUp"]["state"] == "Pulling"
    assert cluster.group()["ready"]
    assert not [line for line in turn(cluster) if line.startswith("stop")]
    cluster.pull_state = ("pulled", "")
    turn(cluster)
    assert not [line for line in turn(cluster) if line.startswith("stop")], "first it is on record"
    assert cluster.group()["warmUp"]["state"] == "Pulled"
    assert "stop x-g0" in turn(cluster)
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.pulls == []
    assert "warmUp" not in cluster.group()


def test_who_waits_is_told_with_the_nodes_that_do_not_have_it() -> None:
    cluster = edited(pull=("waiting", "0/4 nodes are available: 1 Insufficient cpu"))
    turn(cluster)
    turn(cluster)
    message = cluster.condition("Ready")["message"]
    assert f"{NEW} is pulled: 0 of 2 nodes have it; node-0: 0/4 nodes are available" in message
    assert cluster.condition("Ready")["reason"] == "RollingOut"
    assert cluster.condition("Available")["status"] == "True"


def test_an_image_that_cannot_be_pulled_stops_no_serving_group_however_long_it_takes() -> None:
    cluster = edited(pull=("failing", "ErrImagePull: not found"), replicas=2)
    turn(cluster)
    events = [event.reason for event in cluster.step().events]
    assert events == ["ImagePullFailing", "ImagePullFailing"]
    assert cluster.group()["warmUp"]["state"] == "Failing"
    assert cluster.condition("Stalled")["status"] == "False"
    cluster.now = later(1801)
    cluster.settle()
    stalled = cluster.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ImagePullFailed")
    assert "ErrImagePull: not found" in stalled["message"]
    assert "still available" in stalled["message"]
    assert {found.incarnation for found in cluster.pods} == {1}
    # Its registry comes back: no hand is needed.
    cluster.pull_state = ("pulled", "")
    turn(cluster)
    cluster.settle(steps=40)
    assert cluster.condition("Ready")["status"] == "True"
    assert {found.incarnation for found in cluster.pods} == {2}


def test_one_group_that_cannot_pull_holds_back_one_that_could_be_stopped() -> None:
    cluster = edited(replicas=2)
    turn(cluster)
    # Both groups run on the same two nodes here.
    assert len(cluster.pulls) == 2
    cluster.pulls = [replace(pull, state="failing" if pull.node == "node-1" else "pulled") for pull in cluster.pulls]
    assert not [line for line in told(cluster.step().actions) if line.startswith("stop")]


def test_what_only_takes_too_long_is_not_waited_for_and_that_is_told() -> None:
    cluster = edited()
    turn(cluster)
    cluster.now = later(1801)
    decision = cluster.step()
    assert [event.reason for event in decision.events] == ["WarmUpTimedOut"]
    cluster.controllers()
    assert "stop x-g0" in turn(cluster)
    cluster.settle()
    assert cluster.pulls == []


def test_the_decision_asks_to_be_woken_when_the_time_is_up() -> None:
    cluster = edited(rollout={"warmUpSeconds": 600})
    turn(cluster)
    wait = cluster.step().requeue_seconds
    assert wait is not None
    assert 599 <= wait <= 601


def test_going_back_while_it_pulls_takes_the_pods_away_and_stops_nothing() -> None:
    cluster = edited()
    turn(cluster)
    cluster.edit()
    cluster.plan = H100_PLAN
    assert turn(cluster) == [f"delete {pull}" for pull in names(NEW)]
    cluster.settle()
    assert {found.incarnation for found in cluster.pods} == {1}
    assert "warmUp" not in cluster.group()


def names(image: str) -> list[str]:
    found = list(work(OWNER, {"node-0", "node-1"}, content(plan=NEW_PLAN), (), now=NOW))
    assert {line.manifest["spec"]["containers"][0]["image"] for line in found if hasattr(line, "manifest")} == {image}
    return [line.manifest["metadata"]["name"] for line in found if hasattr(line, "manifest")]


def test_another_change_meanwhile_begins_anew_with_its_own_image() -> None:
    cluster = edited()
    turn(cluster)
    since = cluster.group()["warmUp"]
    cluster.edit(servedName="third")
    cluster.plan = replace(H100_PLAN, engine=replace(H100_PLAN.engine, image="registry.example/engine:third"))
    cluster.now = later(60)
    actions = turn(cluster)
    assert [line for line in actions if line.startswith("pull")] == ["pull on node-0", "pull on node-1"]
    assert len([line for line in actions if line.startswith("delete x-pull-")]) == 2
    assert cluster.group()["warmUp"]["since"] != since["since"]


STOPPED_AT_ONCE: dict[str, tuple[dict[str, Any], bool]] = {
    "warm-ups are off": ({"rollout": {"warmUpSeconds": 0}}, True),
    "the image stays": ({}, False),
}


@pytest.mark.parametrize("case", STOPPED_AT_ONCE)
def test_a_group_is_stopped_at_once_when(case: str) -> None:
    fields, other_image = STOPPED_AT_ONCE[case]
    cluster = serving(**fields)
    cluster.edit(servedName="new", **fields)
    cluster.plan = NEW_PLAN if other_image else H100_PLAN
    assert "stop x-g0" in turn(cluster)
    assert cluster.pulls == []


def test_a_group_that_does_not_serve_waits_for_no_image() -> None:
    cluster = serving()
    cluster.break_rank(1, ready=False)
    cluster.edit(servedName="new")
    cluster.plan = NEW_PLAN
    cluster.pull_state = ("failing", "ErrImagePull")
    assert "stop x-g0" in told(cluster.step().actions)
    assert cluster.pulls == []


def test_a_surge_needs_no_warm_up() -> None:
    cluster = edited(rollout={"maxUnavailable": 0, "maxSurge": 1})
    assert "start x-g1 incarnation 1" in turn(cluster)
    assert cluster.pulls == []


def test_a_group_that_fails_while_its_image_is_pulled_is_replaced_at_once() -> None:
    cluster = edited()
    turn(cluster)
    cluster.break_rank(1, ready=False)
    actions = told(cluster.step().actions)
    assert "stop x-g0" in actions
    assert len([line for line in actions if line.startswith("delete x-pull-")]) == 2


def test_suspending_takes_the_pods_away() -> None:
    cluster = edited()
    turn(cluster)
    cluster.edit(servedName="new", suspend=True)
    cluster.plan = NEW_PLAN
    cluster.settle()
    assert (cluster.pulls, cluster.pods) == ([], [])


def test_a_node_that_is_emptied_gets_no_image() -> None:
    cluster = edited()
    snapshot = cluster.snapshot

    def cordoned() -> Any:
        seen = snapshot()
        nodes = {
            name: replace(node, taints=("node.kubernetes.io/unschedulable",) if name == "node-1" else ())
            for name, node in seen.nodes.items()
        }
        return replace(seen, nodes=nodes)

    cluster.snapshot = cordoned  # type: ignore[method-assign]
    assert [line for line in turn(cluster) if line.startswith("pull")] == ["pull on node-0"]


def test_of_many_groups_one_more_than_may_be_down_is_warmed_up_at_a_time() -> None:
    cluster = edited(replicas=4)
    turn(cluster)
    assert [bool(cluster.group(index).get("warmUp")) for index in range(4)] == [True, True, False, False]
    cluster.pull_state = ("pulled", "")
    turn(cluster)
    cluster.settle(steps=60)
    assert {cluster.group(index)["incarnation"] for index in range(4)} == {2}
    assert cluster.pulls == []


@pytest.mark.parametrize("done", range(8))
def test_a_crash_after_any_action_ends_with_the_new_image_everywhere_and_no_pod_left(done: int) -> None:
    cluster = edited(pull=("pulled", ""), replicas=2)
    for _ in range(30):
        for action in cluster.decide().actions[:done]:
            cluster.carry_out(action)
        cluster.controllers()
    cluster.settle(steps=80)
    assert cluster.condition("Ready")["status"] == "True"
    assert {found.incarnation for found in cluster.pods} == {2}
    assert cluster.pulls == []


def pull(node: str, state: Any = "waiting", **changes: Any) -> PullRecord:
    record = PullRecord(
        name=f"x-pull-{node}",
        namespace="default",
        uid=f"pull-{node}",
        owner="cr",
        node=node,
        image=NEW,
        state=state,
        message="",
        created="2026-01-01T12:00:00Z",
        deleting=False,
    )
    return replace(record, **changes)


def test_progress_counts_nodes_of_this_image_alone() -> None:
    pulls = [
        pull("a", "pulled"),
        pull("b", "failing", message="ErrImagePull"),
        pull("c", message="no room"),
        pull("d", "pulled", image="other"),
        pull("e", "pulled", deleting=True),
        pull("z", "pulled"),
    ]
    found = progress({"a", "b", "c", "d", "e"}, NEW, pulls)
    expected = Progress(total=5, pulled=1, failing={"b": "ErrImagePull"}, waiting={"c": "no room", "d": "", "e": ""})
    assert found == expected
    assert found.message == "1 of 5 nodes have it; b: ErrImagePull"
    assert not found.done
    assert progress((), NEW, pulls).done


def test_only_so_many_nodes_pull_at_once() -> None:
    nodes = {f"n{number:02}" for number in range(40)}
    revision = content(plan=NEW_PLAN)
    first = told(work(OWNER, nodes, revision, (), now=NOW))
    assert len(first) == AT_ONCE
    some = [pull(f"n{number:02}", "pulled" if number < 3 else "waiting") for number in range(AT_ONCE)]
    assert len(told(work(OWNER, nodes, revision, some, now=NOW))) == 3


def test_a_pod_that_ended_before_it_had_pulled_is_made_again_after_a_while() -> None:
    evicted = pull("node-0", "ended", message="Evicted: the node was low on resource: ephemeral-storage")
    revision = content(plan=NEW_PLAN)
    assert told(work(OWNER, {"node-0"}, revision, [evicted], now=NOW)) == []
    assert told(work(OWNER, {"node-0"}, revision, [evicted], now=NOW + timedelta(seconds=30))) == [
        "delete x-pull-node-0"
    ]
    going = replace(evicted, deleting=True)
    assert told(work(OWNER, {"node-0"}, revision, [going], now=later(60))) == []
    assert told(work(OWNER, {"node-0"}, revision, [], now=later(60))) == ["pull on node-0"]
