"""What runs where: every engine on every architecture in every precision, planned and launched on nodes to be expected.

A cell is asked as a user would ask it: a deployment that names the product, on a cluster that has no such node yet. So
the table cannot promise what the operator would refuse, and a refusal says what the operator would say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from deepseek_operator.api.resource import EngineName, Precision, Spec
from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.types import Accelerator, Catalog
from deepseek_operator.engines.types import Launch
from deepseek_operator.lifecycle.planning import launch_plan, plan_spec
from deepseek_operator.plan.support import row_of
from deepseek_operator.plan.types import Facts, Inventory, Plan, Refusal

Verdict = Literal["supported", "experimental", "refused"]

FAMILIES: Final = {
    "DeepSeek-V3, R1, V3.1": "deepseek-r1",
    "DeepSeek-V3.2": "deepseek-v3.2",
    "R1 distills (Llama, Qwen)": "deepseek-r1-distill-llama-70b",
}
"""Families of models, and the catalogue's model that stands for each."""
PRECISIONS: Final = tuple(each for each in get_args(Precision) if each != "auto")
_OWN_WEIGHTS: Final = {"int8": "Block-INT8"}
"""How a repository of one's own is named where its layout is told by a word."""
_NAME: Final = "deepseek"
_NOTHING: Final = Inventory(classes=(), skipped=())
_FACTS: Final = Facts(node_path="/var/lib/deepseek-operator/weights", default_storage_class=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One engine, architecture, precision and family."""

    engine: str
    architecture: str
    product: str
    precision: str
    family: str
    verdict: Verdict
    spec: Spec
    plan: Plan | None
    launch: Launch | None
    own_weights: bool
    """Nobody publishes such weights that the catalogue knows of: spec.weights.source names the user's."""
    words: str
    """Of a refusal: reason and remedy. Of an experimental cell: why."""
    source: str


def cells(catalog: Catalog) -> Iterator[Cell]:
    """Every cell, in the order of engines, families, architectures and precisions."""
    products = _products(catalog)
    for engine in get_args(EngineName):
        for family, model in FAMILIES.items():
            for accelerator in products:
                for precision in PRECISIONS:
                    yield _cell(catalog, engine, family, model, accelerator, precision)


_OWN_IMAGE: Final = "registry.example/own-image:1"
"""For an engine of which nobody publishes an image."""


def _products(catalog: Catalog) -> tuple[Accelerator, ...]:
    """The product of each architecture with the most memory a node."""
    found: dict[str, Accelerator] = {}
    for each in catalog.accelerators:
        known = found.get(each.architecture)
        if known is None or _node_gib(each) > _node_gib(known):
            found[each.architecture] = each
    return tuple(found.values())


def _node_gib(accelerator: Accelerator) -> float:
    return accelerator.memory_gib * accelerator.devices_per_node


def _cell(catalog: Catalog, engine: str, family: str, model: str, accelerator: Accelerator, precision: str) -> Cell:
    facts = catalog.engines[engine]
    spec = _spec(facts, model, accelerator, precision)
    outcome = _planned(spec, catalog)
    own = isinstance(outcome, Refusal) and outcome.problems[0].reason == "NoSource"
    if own:
        word = _OWN_WEIGHTS.get(precision, precision)
        spec = _spec(facts, model, accelerator, precision, source=f"hf://example/{model}-{word}")
        outcome = _planned(spec, catalog)
    plan = outcome if isinstance(outcome, Plan) else None
    layout = catalog.layouts[plan.weights.layout] if plan else None
    row = row_of(engine, layout, catalog, architecture=accelerator.architecture) if layout else None
    verdict: Verdict = "refused" if plan is None else "experimental" if row and row.experimental else "supported"
    return Cell(
        engine=engine,
        architecture=accelerator.architecture,
        product=accelerator.product,
        precision=precision,
        family=family,
        verdict=verdict,
        spec=spec,
        plan=plan,
        launch=_launched(plan, spec, catalog) if plan else None,
        own_weights=own,
        words=outcome.problems[0].message if isinstance(outcome, Refusal) else row.experimental if row else "",
        source=row.source if row else layout.source if layout else "",
    )


def _spec(
    engine: EngineFacts, model: str, accelerator: Accelerator, precision: str, *, source: str | None = None
) -> Spec:
    image = {"image": _OWN_IMAGE} if engine.own_image else {}
    fields: dict[str, Any] = {
        "model": model,
        "precision": precision,
        "engine": {"name": engine.name, **image},
        "hardware": {"product": accelerator.product},
        "weights": {"allowVariant": True, **({"source": source} if source else {})},
    }
    if accelerator.vendor != "ascend":
        # Tensor parallelism over nodes as on nodes with adapters.
        fields["fabric"] = {"rdma": {"resource": "rdma/hca"}}
    if not engine.keys:
        fields["access"] = {"keys": {"mode": "none"}}
    return Spec.model_validate(fields)


def _planned(spec: Spec, catalog: Catalog) -> Plan | Refusal:
    return plan_spec(spec, _NOTHING, catalog, _FACTS, namespace="default", name=_NAME)


def _launched(plan: Plan, spec: Spec, catalog: Catalog) -> Launch:
    return launch_plan(plan, spec, catalog, namespace="default", name=_NAME, cluster_domain="cluster.local")
