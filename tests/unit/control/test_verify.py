"""The verify loop: everything once in full, afterwards metadata only, and never a ghost for long."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.control import client as client_module
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import METADATA_ONLY, KubeClient
from deepseek_operator.control.metrics import REGISTRY
from deepseek_operator.control.verify import Verifier
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn

KEY = ("default", "x")


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def verifier(client: KubeClient, cache: Cache) -> Verifier:
    return Verifier(client, cache, load(), namespaces=())


@pytest.fixture(autouse=True)
def cluster(server: StandIn) -> None:
    server.add(kinds.DEPLOYMENT, bodies.deployment())
    server.add(kinds.NODE, bodies.node())
    server.add(kinds.STATEFUL_SET, bodies.stateful_set())
    server.add(kinds.POD, bodies.pod())
    server.add(kinds.SERVICE, bodies.service())


def full_lists(server: StandIn) -> list[str]:
    """Full lists of what is watched; devices that nodes publish are none of it."""
    watched = {f"GET {kind.plural}" for kind in kinds.WATCHED}
    return [request.what for request in server.requests if request.accept != METADATA_ONLY and request.what in watched]


def ghosts(kind: str) -> float:
    return REGISTRY.get_sample_value("deepseek_operator_cache_ghosts_total", {"kind": kind}) or 0.0


async def test_at_the_start_every_watched_kind_is_listed_in_full(
    server: StandIn, verifier: Verifier, cache: Cache
) -> None:
    assert await verifier.fill() == {KEY}
    assert sorted(full_lists(server)) == sorted(f"GET {kind.plural}" for kind in kinds.WATCHED)
    deployment = cache.deployment(KEY)
    assert deployment is not None
    snapshot = cache.snapshot(deployment)
    assert (len(snapshot.pods[0]), sorted(snapshot.children)) == (1, [("Service", "x"), ("StatefulSet", "x-g0")])
    assert list(cache.nodes) == ["node-0"]


async def test_a_list_item_knows_its_kind_though_the_server_leaves_it_out(verifier: Verifier, cache: Cache) -> None:
    await verifier.fill()
    assert cache.child("cr", ("Service", "x")) is not None


async def test_a_cache_that_is_right_costs_metadata_only(server: StandIn, verifier: Verifier) -> None:
    await verifier.fill()
    server.requests.clear()
    assert await verifier.compare() == set()
    assert full_lists(server) == []
    asked = [request.what for request in server.requests]
    assert len(asked) == len(kinds.WATCHED) + 2, asked  # and storage classes, and slices that are not served


@pytest.mark.parametrize("change", ["missing", "older"])
async def test_only_the_kind_that_differs_is_listed_in_full(
    server: StandIn, verifier: Verifier, cache: Cache, change: str
) -> None:
    await verifier.fill()
    if change == "missing":
        server.add(kinds.POD, bodies.pod(1))
    else:
        server.add(kinds.POD, bodies.pod(node="another"))
        server.find(kinds.POD, "x-g0-0")["metadata"]["uid"] = "pod-0-0"
    server.requests.clear()
    assert await verifier.compare() == {KEY}
    assert full_lists(server) == ["GET pods"]
    deployment = cache.deployment(KEY)
    assert deployment is not None
    assert len(cache.snapshot(deployment).pods[0]) == (2 if change == "missing" else 1)


async def test_what_is_gone_is_dropped_counted_and_its_owner_woken(
    server: StandIn, verifier: Verifier, cache: Cache
) -> None:
    await verifier.fill()
    before = ghosts("Service")
    server.drop(kinds.SERVICE, "x")
    server.requests.clear()
    assert await verifier.compare() == {KEY}
    assert full_lists(server) == []
    assert cache.child("cr", ("Service", "x")) is None
    assert ghosts("Service") == before + 1


async def test_an_answer_newer_than_the_list_is_no_ghost(server: StandIn, verifier: Verifier, cache: Cache) -> None:
    await verifier.fill()
    cache.put(kinds.SERVICE, bodies.service(version=server.version + 100, name="new", uid="new"))
    await verifier.compare()
    assert cache.child("cr", ("Service", "new")) is not None


async def test_a_deployment_that_vanished_is_forgotten(server: StandIn, verifier: Verifier, cache: Cache) -> None:
    await verifier.fill()
    server.drop(kinds.DEPLOYMENT, "x")
    await verifier.compare()
    assert list(cache.keys) == []


async def test_pages_are_one_list(
    server: StandIn, verifier: Verifier, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE_SIZE", 2)
    for rank in range(1, 6):
        server.add(kinds.POD, bodies.pod(rank))
    await verifier.fill()
    deployment = cache.deployment(KEY)
    assert deployment is not None
    assert len(cache.snapshot(deployment).pods[0]) == 6
    assert await verifier.compare() == set()


async def test_an_operator_of_two_namespaces_asks_for_those_and_for_nodes_as_a_whole(
    server: StandIn, client: KubeClient, cache: Cache
) -> None:
    verifier = Verifier(client, cache, load(), namespaces=("default", "other"))
    await verifier.fill()
    assert await verifier.compare() == set()
    paths = {request.path for request in server.requests}
    assert {"/api/v1/namespaces/default/pods", "/api/v1/namespaces/other/pods", "/api/v1/nodes"} <= paths
    assert "/api/v1/pods" not in paths


@pytest.mark.parametrize(("annotation", "expected"), [("true", True), ("false", False), (None, False)])
async def test_a_default_storage_class_is_seen(
    server: StandIn,
    verifier: Verifier,
    annotation: str | None,
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": annotation} if annotation else {}
    server.add(kinds.STORAGE_CLASS, {"metadata": {"name": "fast", "annotations": annotations}})
    server.add(kinds.STORAGE_CLASS, {"metadata": {"name": "slow"}})
    await verifier.fill()
    assert verifier.default_storage_class is expected
    server.drop(kinds.STORAGE_CLASS, "fast")
    await verifier.compare()
    assert verifier.default_storage_class is False


async def test_the_time_of_the_last_comparison_is_a_metric(verifier: Verifier) -> None:
    await verifier.fill()
    assert (REGISTRY.get_sample_value("deepseek_operator_verified_timestamp_seconds") or 0) > 1_700_000_000


async def test_a_default_storage_class_that_appears_wakes_everybody_once(server: StandIn, verifier: Verifier) -> None:
    await verifier.fill()
    assert await verifier.compare() == set()
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    server.add(kinds.STORAGE_CLASS, {"metadata": {"name": "fast", "annotations": annotations}})
    assert await verifier.compare() == {KEY}
    assert await verifier.compare() == set()
