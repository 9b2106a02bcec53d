"""A cluster that one only thinks of: so many nodes of a product, planned as if they were there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Hardware, Spec
from deepseek_operator.catalog.types import Accelerator, Catalog
from deepseek_operator.plan.choices import find_products
from deepseek_operator.plan.offers import expected_class
from deepseek_operator.plan.types import HardwareClass, Inventory

_FIELD = "--what-if"
_NAME = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What the cluster would consist of; None: as it is, or as the catalogue says."""

    nodes: int | None = None
    product: str | None = None
    devices: int | None = None
    """Accelerators of each node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """The cluster that an assumption comes to."""

    spec: Spec
    """Without a wish for hardware that the assumption replaces."""
    inventory: Inventory
    """One class of nodes."""
    hardware: HardwareClass


def assume(assumption: Assumption, spec: Spec, inventory: Inventory, catalog: Catalog) -> Assumed:
    """Nodes as the assumption says: like those of the product that exist, else as the catalogue describes them.

    A product that the cluster lacks gets the RDMA resource of the vendor's nodes that it has.

    Raises:
        InvalidInputError: the product is unknown, or none is named and the cluster has none.
    """
    accelerator = _accelerator(assumption, spec, inventory, catalog)
    same = [each for each in inventory.classes if each.product == accelerator.product]
    kin = [each for each in inventory.classes if each.vendor == accelerator.vendor]
    there = max(same, key=lambda each: len(each.nodes), default=None)
    like = there or expected_class(spec.hardware, accelerator, catalog)
    if there is None and kin:
        first = max(kin, key=lambda each: len(each.nodes))
        like = replace(
            like,
            rdma_resource=first.rdma_resource,
            rdma_count=first.rdma_count,
            extended=first.extended,
            host_architecture=first.host_architecture,
        )
    count = assumption.nodes or len(like.nodes) or 1
    names = (*like.nodes, *(f"{_NAME}-{index}" for index in range(count)))[:count]
    hardware = replace(
        like,
        nodes=tuple(sorted(names)),
        accelerators_per_node=assumption.devices or like.accelerators_per_node,
    )
    labels = {**hardware.node_labels, **spec.hardware.node_selector}
    key = spec.scheduling.topology_key
    if key is not None:
        # Further nodes stand where most nodes are.
        labels[key] = _domain(like, inventory, key)
    wishes = spec.hardware.model_copy(update={"product": None, "vendor": None} if assumption.product else {})
    return Assumed(
        spec=spec.model_copy(update={"hardware": wishes}),
        inventory=Inventory(
            classes=(hardware,),
            skipped=(),
            labels={name: {**labels, **inventory.labels.get(name, {})} for name in names},
        ),
        hardware=hardware,
    )


def _domain(like: HardwareClass, inventory: Inventory, key: str) -> str:
    """The value of a label that most nodes of a class have."""
    values = Counter(value for name in like.nodes if (value := inventory.labels.get(name, {}).get(key)))
    return values.most_common(1)[0][0] if values else _NAME


def _accelerator(assumption: Assumption, spec: Spec, inventory: Inventory, catalog: Catalog) -> Accelerator:
    name = assumption.product or spec.hardware.product
    if name is None:
        largest = max(inventory.classes, key=lambda each: len(each.nodes), default=None)
        if largest is None:
            message = "the cluster has no accelerators that count: name a product, e.g. nodes=2,product=H200"
            raise InvalidInputError(Problem(field=_FIELD, reason="ProductMissing", message=message))
        name = largest.product
    found = find_products(Hardware(product=name), catalog)
    if isinstance(found, Problem):
        raise InvalidInputError(replace(found, field=_FIELD, suggestions=()))
    return found[0]
