"""A rank that is killed, starved, stopped or late: what a user sees of it, by the clock."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from functools import partial

import pytest

from e2e.cluster import ClusterError
from tests.nodes import load, measure
from tests.nodes.measure import Measurements
from tests.nodes.site import Site, wait_for
from tests.nodes.timeline import condition, group, watched
from tests.world import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.scenario, pytest.mark.timeout(900), pytest.mark.usefixtures("below")]

PATIENCE = {"unreadyAfterSeconds": 10}
"""The kubelet's own comes before: three probes of up to 30 s."""
EAT = "waste = []\nwhile True: waste.append(bytearray(32 << 20))"


def test_the_killed_process_of_each_rank_is_named_and_the_group_serves_again(
    site: Site, measurements: Measurements
) -> None:
    site.serve()
    asking = load.start(site)
    for rank in (0, 1):
        kill = partial(site.machine_of(rank).signal, site.engine_of(rank))
        found = measure.restarts(site, measurements, fault="kill -9 of the engine", rank=rank, inject=kill, load=asking)
        assert (found["rank"], found["exitCode"]) == (rank, 137)


def test_a_killed_process_of_one_device_ends_the_group_and_its_rank_is_named(
    site: Site, measurements: Measurements
) -> None:
    """SGLang's follower does not watch its processes; its neighbours in the ring notice."""
    site.serve()
    asking = load.start(site)
    kill = partial(site.machine_of(1).signal, site.scheduler_of(1, 11))
    found = measure.restarts(
        site, measurements, fault="kill -9 of one device's process", rank=1, inject=kill, load=asking
    )
    assert found["rank"] == 1


def test_a_pod_whose_shim_is_killed_is_named_and_the_group_serves_again(site: Site, measurements: Measurements) -> None:
    site.serve()
    asking = load.start(site)
    kill = partial(site.machine_of(1).signal, site.shim_of(1))
    found = measure.restarts(site, measurements, fault="kill -9 of the shim", rank=1, inject=kill, load=asking)
    assert found["rank"] == 1


def test_a_rank_beyond_its_memory_limit_is_named_with_the_reason(site: Site, measurements: Measurements) -> None:
    """The limit is the namespace's (LimitRange), since the operator sets none."""
    limits = [{"type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"memory": "64Mi"}}]
    manifest = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "memory"}, "spec": {"limits": limits}}
    site.kubectl.apply(manifest, namespace=site.namespace)
    site.serve()
    asking = load.start(site)

    def starve() -> None:
        # The kernel takes the process with the highest score, and only an engine's end ends its container.
        site.machine_of(1).shell(f"echo 1000 >/proc/{site.engine_of(1)}/oom_score_adj")
        threading.Thread(target=eat, daemon=True).start()

    def eat() -> None:
        # It is killed with the container, and that is its purpose.
        with suppress(ClusterError):
            site.exec(1, "python3", "-c", EAT)

    found = measure.restarts(site, measurements, fault="killed for memory", rank=1, inject=starve, load=asking)
    assert (found["rank"], found["reason"]) == (1, "OOMKilled")


def test_a_restarted_rank_holds_until_the_operator_is_back_and_replaces_the_group(
    site: Site, operator: Operator
) -> None:
    site.serve()
    operator.stop(signal.SIGKILL)
    try:
        site.machine_of(1).signal(site.engine_of(1))
        restarted = wait_for(lambda: _restarts(site, 1) == 1, seconds=60, what="its kubelet has restarted the rank")
        assert restarted
        wait_for(lambda: "it cannot join its old group again" in site.log(1), seconds=30, what="the rank says it holds")
        # The other rank lost its neighbour and holds as well: nothing serves, and no two incarnations met.
        assert site.incarnations() == {"1"}
    finally:
        operator.start()
    wait_for(lambda: site.incarnations() == {"2"}, seconds=90, what="incarnation 2")
    site.wait_ready(seconds=150)
    found = site.group()["incidents"][0]
    assert (found["rank"], found["exitCode"]) == (1, 137)


def _restarts(site: Site, rank: int) -> int:
    statuses = site.pod(rank)["status"].get("containerStatuses", [])
    return sum(int(each["restartCount"]) for each in statuses)


def test_a_rank_that_loads_slowly_is_waited_for_and_nothing_restarts(site: Site, measurements: Measurements) -> None:
    slow = [{"name": "STAND_IN_FAULTS", "value": "load:9:slow=25"}]
    with watched(site.cluster, site.namespace) as timeline:
        site.deploy(engine={"env": slow})
        loading, _ = timeline.wait(
            lambda state: group(state).get("stage") == "Loading", after=0, seconds=120, what="status says Loading"
        )
        ready, state = timeline.wait(
            lambda state: condition(state, "Ready") == "True" and state, after=loading, seconds=150, what="Ready"
        )
    assert group(state)["restarts"] == 0
    assert group(state)["incarnation"] == 1
    row = measure.Row(
        fault="loads for 25 s more", at="rank 1", seen=None, serves=ready - loading, failed=0, asked=0,
        named="stage Loading, no incident", right=None,
    )  # fmt: skip
    measurements.add(row)


@pytest.mark.slow
def test_a_process_that_hangs_makes_the_group_restart(site: Site, measurements: Measurements) -> None:
    site.serve(recovery=PATIENCE)
    asking = load.start(site)
    stop = partial(site.machine_of(1).signal, site.scheduler_of(1, 11), signal.SIGSTOP)
    measure.restarts(
        site, measurements, fault="SIGSTOP of one device's process", rank=1, inject=stop, load=asking, seconds=300
    )
