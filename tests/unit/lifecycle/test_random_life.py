"""Any life of a deployment ends like a fresh one with the last spec, and nothing forbidden happens on the way.

Hypothesis makes the lives up: edits, bad revisions and refused specs, failures of ranks and nodes, hands that delete
and scale, controllers and watches that lag, and an operator that ends at any write. ``FAULTS_LIVES`` sets how many
random ones are tried (``make faults``); without it the same few are lived every time.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deepseek_operator.api.names import REVISION_LABEL
from deepseek_operator.lifecycle.actions import Decision, StopGroup
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.objects import REVISIONS_KEPT
from deepseek_operator.lifecycle.records import ContainerRecord, PodRecord, Snapshot
from tests.unit.lifecycle import pure_controllers
from tests.unit.lifecycle.essence import essence
from tests.unit.lifecycle.pure_cluster import OWNER, PureCluster, RefusedError, content
from tests.unit.render.samples import H100_PLAN

LIVES: Final = int(os.environ.get("FAULTS_LIVES") or 0)
GROUPS: Final = 3
NODES: Final = tuple(f"gpu-{number}" for number in range(10))
"""Enough for three groups and a surge, with two lost."""
PLAN: Final = replace(H100_PLAN, hardware=replace(H100_PLAN.hardware, nodes=NODES))
SETTLED_STEPS: Final = 400
MOST_LOST: Final = 2
GROUP_NUMBERS: Final = st.integers(0, GROUPS)
RANKS: Final = st.integers(0, 1)
SHARED_KINDS: Final = ("Service", "NetworkPolicy", "PodDisruptionBudget")


def new_cluster(**fields: Any) -> PureCluster:
    cluster = PureCluster(**fields)
    cluster.plan, cluster.nodes = PLAN, NODES
    return cluster


def serving(snapshot: Snapshot, index: int) -> bool:
    """Whether a group serves, by what is seen."""
    owner, pods = snapshot.workloads.get(index), snapshot.pods.get(index, ())
    return (
        owner is not None
        and len(pods) >= PLAN.nodes_per_group
        and all(
            pod.ready
            and not pod.deleting
            and pod.node in snapshot.nodes
            and pod.engine.state == "running"
            and pod.engine.restarts == 0
            and pod.incarnation == owner.incarnation
            for pod in pods
        )
    )


class Life(RuleBasedStateMachine):
    """One deployment's life."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = new_cluster()
        self.fields: dict[str, Any] = {}
        self.restarts = 0
        self.told: list[str] = []

    @initialize(
        replicas=st.integers(1, GROUPS),
        unavailable=st.integers(1, 2),
        surge=st.integers(0, 1),
        restarts=st.integers(0, 2),
    )
    def begin(self, replicas: int, unavailable: int, surge: int, restarts: int) -> None:
        rollout = {"maxUnavailable": unavailable, "maxSurge": surge}
        self.fields = {"replicas": replicas, "rollout": rollout, "recovery": {"maxRestarts": restarts}}
        self.cluster = new_cluster(**self.fields)

    # What the user does.

    def edit(self, **fields: Any) -> None:
        self.fields = {key: value for key, value in {**self.fields, **fields}.items() if value is not None}
        self.cluster.edit(**self.fields)

    @rule(name=st.sampled_from("abc"))
    def edits(self, name: str) -> None:
        self.edit(servedName=name, podTemplate=None)

    @rule(name=st.sampled_from("ab"))
    def edits_badly(self, name: str) -> None:
        self.edit(servedName=name, podTemplate=pure_controllers.NEVER_READY)

    @rule(waits=st.booleans())
    def asks_for_what_does_not_fit(self, *, waits: bool) -> None:
        self.cluster.refuse(waits_for_cluster=waits)

    @rule(replicas=st.integers(0, GROUPS))
    def scales(self, replicas: int) -> None:
        self.edit(replicas=replicas)

    @rule(suspend=st.booleans())
    def suspends(self, *, suspend: bool) -> None:
        self.edit(suspend=suspend)

    @rule()
    def restarts_all(self) -> None:
        self.restarts += 1
        self.edit(restartedAt=f"2026-01-01T00:00:{self.restarts % 60:02}Z")

    @rule(paused=st.booleans())
    def pauses(self, *, paused: bool) -> None:
        self.cluster.paused = paused

    # What goes wrong.

    @rule(group=GROUP_NUMBERS, rank=RANKS, code=st.sampled_from((0, 1, 137)))
    def engine_ends(self, group: int, rank: int, code: int) -> None:
        engine = ContainerRecord(state="terminated", exit_code=code, since="2026-01-01T12:00:00Z")
        self.cluster.break_rank(rank, group=group, engine=engine, ready=False)

    @rule(group=GROUP_NUMBERS, rank=RANKS)
    def rank_hangs(self, group: int, rank: int) -> None:
        for pod in self.pods(group, rank):
            if pod.ready:
                changed = self.cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
                self.cluster.break_rank(rank, group=group, ready=False, ready_changed=changed)

    @rule(group=GROUP_NUMBERS, rank=RANKS, reason=st.sampled_from(("", "EvictionByEvictionAPI")))
    def pod_is_deleted(self, group: int, rank: int, reason: str) -> None:
        self.cluster.break_rank(rank, group=group, disruption=reason)
        pure_controllers.delete_pods(self.cluster, [pod.uid for pod in self.pods(group, rank)])

    @rule(group=GROUP_NUMBERS, rank=RANKS)
    def pod_fails(self, group: int, rank: int) -> None:
        self.cluster.break_rank(rank, group=group, phase="Failed", phase_reason="Evicted", ready=False)

    @rule(node=st.sampled_from(NODES))
    def node_is_lost(self, node: str) -> None:
        if len(self.cluster.dead_nodes) < MOST_LOST:
            self.cluster.dead_nodes |= {node}

    @rule()
    def nodes_come_back(self) -> None:
        self.cluster.dead_nodes = frozenset()

    @rule()
    def status_is_wiped(self) -> None:
        self.cluster.status = {}

    @rule(number=st.integers(0, 5))
    def revision_is_deleted(self, number: int) -> None:
        found = sorted(key for key in self.cluster.objects if key[0] == "ControllerRevision")
        for key in found[number : number + 1]:
            del self.cluster.objects[key]

    @rule(number=st.integers(0, 20))
    def child_is_deleted(self, number: int) -> None:
        found = sorted(key for key in self.cluster.objects if key[0] in SHARED_KINDS)
        for key in found[number : number + 1]:
            del self.cluster.objects[key]

    @rule(group=GROUP_NUMBERS, orphan=st.booleans())
    def stateful_set_is_deleted(self, *, group: int, orphan: bool) -> None:
        body = self.cluster.objects.pop(("StatefulSet", f"x-g{group}"), None)
        if body and not orphan:
            pure_controllers.collect(self.cluster, body["metadata"]["uid"])

    @rule(group=GROUP_NUMBERS, replicas=st.integers(0, 3))
    def stateful_set_is_scaled_by_hand(self, group: int, replicas: int) -> None:
        body = self.cluster.objects.get(("StatefulSet", f"x-g{group}"))
        if body and body["spec"]["replicas"] != replicas:
            self.cluster.scale(f"x-g{group}", replicas)
            # The field is theirs now.
            body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:replicas", None)

    # What the cluster and time do.

    @rule()
    def controllers_act(self) -> None:
        pure_controllers.everything(self.cluster)

    @rule()
    def stateful_set_controller_acts(self) -> None:
        pure_controllers.stateful_sets(self.cluster)

    @rule()
    def kubelets_act(self) -> None:
        pure_controllers.ends(self.cluster)
        pure_controllers.evict(self.cluster)

    @rule()
    def pods_are_placed(self) -> None:
        pure_controllers.schedule(self.cluster)

    @rule()
    def pods_run(self) -> None:
        pure_controllers.run(self.cluster)

    @rule(seconds=st.sampled_from((1, 15, 120, 700, 4000)))
    def time_passes(self, seconds: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)

    @rule()
    def watches_fall_silent(self) -> None:
        self.cluster.look_away()

    @rule()
    def watches_catch_up(self) -> None:
        self.cluster.look()

    # What the operator does.

    @rule()
    def operator_acts(self) -> None:
        self.operate()

    @rule(steps=st.integers(1, 6))
    def all_goes_on(self, steps: int) -> None:
        self.cluster.look()
        for _ in range(steps):
            self.operate()
            pure_controllers.everything(self.cluster)

    @rule(writes=st.integers(0, 12))
    def operator_ends_after_some_writes(self, writes: int) -> None:
        self.operate(writes=writes)
        # The next one lists everything.
        self.cluster.look()

    def operate(self, *, writes: int | None = None) -> Decision:
        """One reconcile; the process ends after so many writes, the first of which is status."""
        snapshot = self.cluster.snapshot()
        decision = decide(snapshot, self.cluster.outcome(), now=self.cluster.now)
        self.check_hand(snapshot, decision)
        self.check_claims(snapshot, decision)
        if writes == 0:
            return decision
        self.cluster.status = json.loads(json.dumps(decision.status))
        for action in decision.actions[: None if writes is None else writes - 1]:
            try:
                self.cluster.carry_out(action)
            except RefusedError:
                if isinstance(action, StopGroup):
                    continue
                # A conflict: what follows of the decision may rest on it. The next attempt sees more.
                break
        return decision

    def pods(self, group: int, rank: int) -> list[PodRecord]:
        return [pod for pod in self.cluster.pods if (pod.group, pod.rank) == (group, rank)]

    # What must never be.

    @invariant()
    def one_incarnation_and_revision_a_group(self) -> None:
        for group in {pod.group for pod in self.cluster.pods}:
            pods = [pod for pod in self.cluster.pods if pod.group == group]
            labels = [self.cluster.pod_templates[pod.uid]["metadata"]["labels"] for pod in pods]
            assert len({pod.incarnation for pod in pods}) == 1, pods
            assert len({label[REVISION_LABEL] for label in labels}) == 1, labels

    def check_hand(self, snapshot: Snapshot, decision: Decision) -> None:
        """Groups that serve are ended by us only while enough others do."""
        if self.cluster.spec.suspend:
            return
        before = {group["index"]: group for group in self.cluster.status.get("groups", ())}
        after = {group["index"]: group for group in decision.status.get("groups", ())}
        up = {index for index in snapshot.workloads if serving(snapshot, index)}
        up = {index for index in up if before.get(index, {}).get("intent", "Run") == "Run"}

        def incidents(groups: Mapping[int, Any], index: int) -> Any:
            return groups.get(index, {}).get("incidents", [])[:1]

        failed = {index for index in up if incidents(after, index) != incidents(before, index)}
        up -= failed
        left = {index for index in up if after.get(index, {}).get("intent") == "Run"}
        floor = self.cluster.spec.replicas - self.cluster.spec.rollout.max_unavailable
        assert len(left) >= min(len(up), floor), f"{sorted(up)} served, {sorted(left)} are left: {decision.status}"

    def check_claims(self, snapshot: Snapshot, decision: Decision) -> None:
        """What status claims is so, by what was seen."""
        status = decision.status
        if self.cluster.paused:
            return
        up = {index for index in snapshot.workloads if serving(snapshot, index)}
        assert status["observedGeneration"] == self.cluster.generation
        assert status["readyReplicas"] == sum(group.get("ready", False) for group in status["groups"])
        assert {group["index"] for group in status["groups"] if group.get("ready")} <= up
        conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
        if conditions["Ready"] == "True":
            wanted = content(self.cluster.spec, PLAN).hash
            revisions = [snapshot.workloads[index].revision for index in sorted(up)]
            assert revisions.count(wanted) >= self.cluster.spec.replicas
        assert (conditions["Available"] == "True") == bool(status["readyReplicas"])

    # How it ends.

    @precondition(lambda self: self.cluster.status)
    @rule()
    def comes_to_rest(self) -> None:
        self.converge()

    def teardown(self) -> None:
        self.converge()
        cluster = self.cluster
        pure_controllers.collect(cluster, OWNER.uid)
        for _ in range(2):
            pure_controllers.everything(cluster)
        dead = [pod for pod in cluster.pods if pod.node not in cluster.dead_nodes]
        assert (cluster.objects, dead) == ({}, [])
        assert {kind for kind, _ in cluster.once} <= {"PersistentVolume", "PersistentVolumeClaim"}

    def converge(self) -> None:
        """With a good spec at last, it comes to look like a fresh deployment, and then all is quiet."""
        cluster = self.cluster
        cluster.look()
        cluster.paused = False
        if cluster.refusal or "podTemplate" in self.fields:
            self.edit(podTemplate=None)
        self.settle()
        if self.fields.get("suspend"):
            # It keeps its configuration and frees its nodes; what it is like shows when it resumes.
            assert not [pod for pod in cluster.pods if pod.node not in cluster.dead_nodes]
            assert {group["stage"] for group in cluster.status["groups"]} <= {"Suspended"}
            self.edit(suspend=None)
            self.settle()
        if any(group["stage"] == "Failed" for group in cluster.status["groups"]):
            # Restarts are used up since the last edit; asking for another start is the way on.
            self.restarts_all()
            self.settle()
        found, wanted = essence(cluster), fresh(json.dumps(self.fields, sort_keys=True))
        differing = difflib.unified_diff(wanted, found, "fresh", "lived", n=0, lineterm="")
        assert not (told := "\n".join(line[:300] for line in differing)), f"{told}\n{cluster.status['groups']}"
        stored = [key for key in cluster.objects if key[0] == "ControllerRevision"]
        assert len(stored) <= REVISIONS_KEPT

    def settle(self) -> None:
        cluster = self.cluster
        for _ in range(SETTLED_STEPS):
            before = copy.deepcopy((cluster.status, cluster.objects)), list(cluster.pods)
            decision = self.operate()
            pure_controllers.evict(cluster)
            pure_controllers.everything(cluster)
            self.one_incarnation_and_revision_a_group()
            if ((cluster.status, cluster.objects), cluster.pods) == before:
                if decision.requeue_seconds is None:
                    assert (decision.actions, decision.events) == ((), ())
                    return
                cluster.now += timedelta(seconds=decision.requeue_seconds)
        raise AssertionError(f"not settled after {SETTLED_STEPS} steps: {cluster.status['groups']}")


@cache
def fresh(fields: str) -> list[str]:
    """The essence of a deployment that never had another spec."""
    life = Life()
    life.fields = json.loads(fields)
    life.cluster = new_cluster(**life.fields)
    life.settle()
    return essence(life.cluster)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=LIVES or 40,
    stateful_step_count=40,
    derandomize=not LIVES,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate] + ([Phase.shrink] if os.environ.get("SHRINK") else []),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
