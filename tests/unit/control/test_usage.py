"""Devices in use: what is listed, how often, and whose use counts for whom."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from deepseek_operator.api.names import UID_LABEL
from deepseek_operator.catalog.load import load
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import KubeClient
from deepseek_operator.control.usage import FRESH_SECONDS, Usage
from deepseek_operator.plan.slices import devices_by_node
from deepseek_operator.plan.types import Plan
from tests.unit.plan import nodes
from tests.unit.plan.cases import plan_of
from tests.unit.plan.labellers import published
from tests.unit.plan.test_placement import many


class Pods:
    """The list endpoint of an API server: pages of pods, and how often they were asked for."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self.lists = 0

    async def pages(
        self, kind: kinds.Kind, *, namespace: str | None = None, fields: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        if kind is kinds.RESOURCE_CLAIM:
            yield {"items": self.claims}
            return
        assert (kind.kind, kind.selector, namespace) == ("Pod", "", None)
        assert "spec.nodeName!=" in fields
        self.lists += 1
        for start in range(0, len(self.items), 2):
            yield {"items": self.items[start : start + 2]}

    def add(self, node: str, *, owner: str = "", devices: int = 8) -> None:
        labels = {UID_LABEL: owner} if owner else {}
        container = {"name": "c", "resources": {"requests": {"nvidia.com/gpu": str(devices)}}}
        spec = {"nodeName": node, "containers": [container]}
        self.items.append({"metadata": {"labels": labels}, "spec": spec, "status": {"phase": "Running"}})


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def cache() -> Cache:
    known = Cache()
    for number, uid in enumerate("xyz"):
        metadata = {"name": uid, "namespace": "default", "uid": uid, "resourceVersion": str(number + 1)}
        known.put(kinds.DEPLOYMENT, {"metadata": metadata, "spec": {}})
    return known


@pytest.fixture
def usage(pods: Pods, cache: Cache) -> Usage:
    return Usage(cast("KubeClient", pods), cache, load(), namespaces=())


@pytest.fixture
def plan() -> Plan:
    """Two of four H100 nodes: h100-0 to h100-3."""
    return plan_of(many(nodes.h100, 4))


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.monotonic() + FRESH_SECONDS + 1
    monkeypatch.setattr("deepseek_operator.control.usage.time.monotonic", lambda: then)


async def test_pods_of_others_take_their_nodes(usage: Usage, pods: Pods) -> None:
    pods.add("h100-0", devices=3)
    pods.add("h100-0", devices=2)
    pods.add("h100-1")
    assert await usage.renew(seen=usage.version)
    assert usage.by_others("x") == {"h100-0": 5, "h100-1": 8}


async def test_a_deployments_own_pods_are_free_for_itself(usage: Usage, pods: Pods) -> None:
    pods.add("h100-0", owner="x")
    pods.add("h100-1", owner="y")
    await usage.renew(seen=usage.version)
    assert usage.by_others("x") == {"h100-0": 0, "h100-1": 8}
    assert usage.by_others("y") == {"h100-0": 8, "h100-1": 0}


async def test_one_list_serves_a_round_of_plans_and_nothing_is_listed_without_plans(
    usage: Usage, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = usage.version
    assert pods.lists == 0
    assert await usage.renew(seen=seen)
    assert not await usage.renew(seen=usage.version)
    assert pods.lists == 1
    assert await usage.renew(seen=seen), "who planned before that list learns of it"
    later(monkeypatch)
    assert await usage.renew(seen=usage.version)
    assert pods.lists == 2


async def test_a_burst_never_counts_the_same_nodes_twice(usage: Usage, plan: Plan) -> None:
    await usage.renew(seen=usage.version)
    assert usage.by_others("y") == {}
    usage.claim("x", plan, groups=1)
    assert usage.by_others("y") == {"h100-0": 8, "h100-1": 8}
    usage.claim("y", plan, groups=1)
    assert sum(usage.by_others("z").values()) == 32
    assert sum(usage.by_others("x").values()) == 16
    usage.claim("x", plan, groups=1)
    assert sum(usage.by_others("z").values()) == 32, "the same claim again changes nothing"
    usage.claim("x", plan, groups=0)
    assert sum(usage.by_others("z").values()) == 16, "a suspended deployment lets go"


async def test_pods_that_got_their_nodes_are_no_longer_claimed(
    usage: Usage, pods: Pods, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    await usage.renew(seen=usage.version)
    usage.claim("x", plan, groups=1)
    pods.add("h100-2", owner="x")
    later(monkeypatch)
    await usage.renew(seen=usage.version)
    assert usage.by_others("y") == {"h100-2": 8, "h100-0": 8}, "one pod has its node, one is still claimed"
    pods.add("h100-3", owner="x")
    later(monkeypatch)
    await usage.renew(seen=usage.version)
    assert usage.by_others("y") == {"h100-2": 8, "h100-3": 8}


async def test_the_claim_of_a_deleted_deployment_ends_with_the_next_list(
    usage: Usage, cache: Cache, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    await usage.renew(seen=usage.version)
    usage.claim("x", plan, groups=1)
    cache.forget(kinds.DEPLOYMENT, "x")
    later(monkeypatch)
    await usage.renew(seen=usage.version)
    assert usage.by_others("y") == {}


def resource_claim(node: str, *, driver: str = "gpu.nvidia.com", **more: Any) -> dict[str, Any]:
    result = {"request": "r", "driver": driver, "pool": node, "device": "gpu-0"}
    results = [result, {**result, "device": "gpu-1"}, {**result, "device": "gpu-2", "adminAccess": True}]
    return {"metadata": {"name": "c", **more}, "status": {"allocation": {"devices": {"results": results}}}}


async def test_devices_that_claims_hold_count_where_drivers_publish_devices(
    usage: Usage, cache: Cache, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_a_request = {"resource.kubernetes.io/extended-resource-claim": "true"}
    pods.claims = [
        resource_claim("a"),
        resource_claim("b", driver="dra.net"),
        resource_claim("c", annotations=for_a_request),
        {"metadata": {"name": "not allocated"}},
    ]
    await usage.renew(seen=usage.version)
    assert usage.by_others("x") == {}
    slices = devices_by_node([published("a")], [], load())
    cache.put_published(slices)
    later(monkeypatch)
    await usage.renew(seen=usage.version)
    assert usage.by_others("x") == {"a": 2}


async def test_several_workers_share_one_list(usage: Usage, pods: Pods, plan: Plan) -> None:
    pods.add("h100-0")
    seen = usage.version
    assert [await usage.renew(seen=seen) for _ in range(3)] == [True, True, True]
    assert pods.lists == 1
    usage.claim("x", replace(plan, nodes_per_group=3), groups=1)
    assert usage.by_others("y") == {"h100-0": 8, "h100-1": 8, "h100-2": 8, "h100-3": 8}
