"""``make bench-plan``: how long the operator's planning takes, from Node objects to plans, without a cluster.

Nodes are copies of the files under ``e2e/cluster/nodes``, so that a cluster has every kind that the catalogue tests.
``plan_spec`` is what the reconciler calls for a deployment, arguments checked; the inventory is taken once for each
change of the nodes, as the reconciler does. Each case is run three times on a fresh catalogue and the median counts.
Time is the processor's: planning never waits, and other programs on the machine should not decide the verdict.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, Final

import yaml

from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.planning import plan_spec
from deepseek_operator.plan.inventory import read_node, take_inventory
from deepseek_operator.plan.types import Facts, Plan

NODES: Final = Path(__file__).parents[1] / "cluster" / "nodes"
RUNS: Final = 3
FACTS: Final = Facts(default_storage_class=True)
SMALLEST: Final = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement; ``limit`` in seconds."""

    name: str
    limit: float
    run: Callable[[], int]
    """Returns how many plans were made, for the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case with the seconds of each run."""

    case: Case
    seconds: tuple[float, ...]
    plans: int

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def manifests(count: int) -> list[dict[str, Any]]:
    """Node objects of all kinds in turn, each with a name of its own."""
    kinds = [yaml.safe_load(file.read_text("utf-8"))["items"][0] for file in sorted(NODES.glob("*.yaml"))]
    return [
        {**node, "metadata": {**node["metadata"], "name": f"node-{index}"}}
        for index, node in enumerate(islice(cycle(kinds), count))
    ]


def specs(count: int) -> list[Spec]:
    """Specs as people write them, no two equal: models, precisions, contexts, features, splits, and some that fail."""
    models = ("deepseek-r1", "deepseek-v3-0324", "deepseek-ai/DeepSeek-V3.1", "deepseek-r1-0528")
    contexts: tuple[dict[str, Any], ...] = (
        {},
        {"maxLength": 65_536},
        {"maxLength": 163_840},
        {"maxRunningRequests": 64},
    )
    features: tuple[dict[str, Any], ...] = ({}, {"mtp": True}, {"torchCompile": True})
    splits: tuple[dict[str, Any], ...] = (
        {},
        {"tensor": 16},
        {"nodes": 2},
        {"pipeline": 2},
        {"tensor": 12},
        {"nodes": 4},
    )
    hardware: tuple[dict[str, Any], ...] = ({}, {"vendor": "nvidia"}, {"product": "H200"}, {"vendor": "amd"})
    combined = product(models, contexts, features, splits, hardware)
    return [
        Spec.model_validate(
            {
                "model": model,
                "servedName": f"name-{index}",
                "context": context,
                "engine": {"features": feature},
                "parallelism": split,
                "hardware": narrowed,
            }
        )
        for index, (model, context, feature, split, narrowed) in enumerate(islice(cycle(combined), count))
    ]


def one_deployment(count: int) -> Callable[[], int]:
    """From Node objects to one plan, nothing remembered."""
    found = manifests(count)
    spec = Spec.model_validate(SMALLEST)

    def run() -> int:
        catalog = replace(load())
        inventory = take_inventory(map(read_node, found), catalog)
        outcome = plan_spec(spec, inventory, catalog, FACTS, namespace="default", name="x")
        return int(isinstance(outcome, Plan))

    return run


def many_deployments(nodes: int, count: int) -> Callable[[], int]:
    """All deployments on the same nodes, as after a restart of the operator."""
    found, wanted = manifests(nodes), specs(count)

    def run() -> int:
        catalog = replace(load())
        inventory = take_inventory(map(read_node, found), catalog)
        outcomes = [plan_spec(spec, inventory, catalog, FACTS, namespace="default", name="x") for spec in wanted]
        return sum(isinstance(each, Plan) for each in outcomes)

    return run


def cases() -> Iterator[Case]:
    """The limits of the planner, from its issue."""
    yield Case(name="1,000 nodes, 1 deployment", limit=0.100, run=one_deployment(1000))
    yield Case(name="100 nodes, 1,000 deployments", limit=3.0, run=many_deployments(100, 1000))


def measure(case: Case) -> Result:
    """A case, ``RUNS`` times."""
    seconds, plans = [], 0
    for _ in range(RUNS):
        started = time.process_time()
        plans = case.run()
        seconds.append(time.process_time() - started)
    return Result(case=case, seconds=tuple(seconds), plans=plans)


def table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    lines = ["| Case | Runs | Median | Limit | Plans |", "|---|---|---|---|---|"]
    for result in results:
        runs = ", ".join(f"{1000 * each:,.0f}" for each in result.seconds)
        verdict = "" if result.median <= result.case.limit else " **over**"
        lines.append(
            f"| {result.case.name} | {runs} ms | {1000 * result.median:,.0f} ms{verdict} | "
            f"{1000 * result.case.limit:,.0f} ms | {result.plans} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Prints the table; returns 1 when a median is over its limit."""
    load()
    results = [measure(case) for case in cases()]
    print(table(results))
    return int(any(result.median > result.case.limit for result in results))


if __name__ == "__main__":
    sys.exit(main())
