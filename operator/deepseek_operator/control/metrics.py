"""Prometheus metrics of the operator itself."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

RECONCILES: Final = Counter("deepseek_operator_reconciles", "Reconciles by outcome.", ["outcome"], registry=REGISTRY)
RECONCILE_SECONDS: Final = Histogram(
    "deepseek_operator_reconcile_seconds",
    "Duration of a reconcile, writes included.",
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
WRITES: Final = Counter("deepseek_operator_writes", "Writes to the API server.", ["action", "kind"], registry=REGISTRY)
INCIDENTS: Final = Counter(
    "deepseek_operator_incidents", "Whole-group restarts by cause.", ["reason"], registry=REGISTRY
)
QUEUE_DEPTH: Final = Gauge("deepseek_operator_queue_depth", "Deployments waiting to be worked on.", registry=REGISTRY)
LEADER: Final = Gauge("deepseek_operator_leader", "1 while this replica holds the Lease.", registry=REGISTRY)
GROUPS: Final = Gauge("deepseek_operator_groups", "Groups by stage.", ["stage"], registry=REGISTRY)
VERIFIED: Final = Gauge(
    "deepseek_operator_verified_timestamp_seconds",
    "Last comparison of the cache with the API server.",
    registry=REGISTRY,
)
CATALOG_ENTRIES: Final = Gauge(
    "deepseek_operator_catalog_entries",
    "Entries of ConfigMaps that extend the catalogue: taken, or refused and ignored.",
    ["verdict"],
    registry=REGISTRY,
)
GHOSTS: Final = Counter(
    "deepseek_operator_cache_ghosts",
    "Objects dropped or found by the verify loop.",
    ["kind"],
    registry=REGISTRY,
)
