"""The operator's own endpoints and the metrics that dashboards and alerts rest on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepseek_operator.control import http
from deepseek_operator.control.metrics import GHOSTS, GROUPS, INCIDENTS, RECONCILES, REGISTRY, WRITES

NAMES = {
    "deepseek_operator_reconciles": {"outcome"},
    "deepseek_operator_reconcile_seconds": set(),
    "deepseek_operator_writes": {"action", "kind"},
    "deepseek_operator_incidents": {"reason"},
    "deepseek_operator_queue_depth": set(),
    "deepseek_operator_leader": set(),
    "deepseek_operator_groups": {"stage"},
    "deepseek_operator_verified_timestamp_seconds": set(),
    "deepseek_operator_cache_ghosts": {"kind"},
    "process_resident_memory_bytes": set(),
}


class Health:
    sick: str | None = None
    unready: str | None = None


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def endpoint(health: Health) -> AsyncIterator[str]:
    runner = await http.serve(host="127.0.0.1", port=0, healthy=lambda: health.sick, ready=lambda: health.unready)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize(("path", "attribute"), [("/healthz", "sick"), ("/readyz", "unready")])
async def test_a_probe_answers_ok_or_what_is_wrong(endpoint: str, health: Health, path: str, attribute: str) -> None:
    assert await get(endpoint + path) == (200, "ok\n")
    setattr(health, attribute, "the cache is not filled yet")
    assert await get(endpoint + path) == (503, "the cache is not filled yet\n")


async def test_metrics_have_stable_names_and_labels(endpoint: str) -> None:
    WRITES.labels(action="create", kind="Service").inc(0)
    RECONCILES.labels(outcome="ok").inc(0)
    INCIDENTS.labels(reason="OOMKilled").inc(0)
    GROUPS.labels(stage="Serving").set(0)
    GHOSTS.labels(kind="Pod").inc(0)
    status, text = await get(f"{endpoint}/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert NAMES.keys() <= families.keys()
    for name, labels in NAMES.items():
        assert all(labels <= sample.labels.keys() for sample in families[name].samples), name
        assert families[name].documentation


def test_nothing_is_measured_by_deployment() -> None:
    """A label with names of objects would grow without bound."""
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            assert not {"name", "namespace", "deployment", "pod"} & sample.labels.keys()
