"""Which classes a spec may use: by vendor, product and node selector; unlabelled and expected nodes included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepseek_operator.api.resource import Hardware
from deepseek_operator.catalog.types import Accelerator, Catalog
from deepseek_operator.plan.inventory import adopt, selected
from deepseek_operator.plan.types import Candidate, HardwareClass, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """The classes to try, and those that the spec itself rules out."""

    classes: tuple[HardwareClass, ...]
    refused: tuple[Candidate, ...] = ()


def offers(hardware: Hardware, products: Sequence[Accelerator], inventory: Inventory, catalog: Catalog) -> Offers:
    """The classes that a spec allows.

    A product that is named, and of which the cluster has no node, is offered with the catalogue's figures and
    without nodes: a pool that scales from zero.
    """
    allowed = {each.product for each in products}
    classes: list[HardwareClass] = []
    refused: list[Candidate] = []
    for each in inventory.classes:
        if each.product not in allowed:
            refused.append(_refused(each, "not the hardware of spec.hardware"))
            continue
        if not hardware.node_selector:
            classes.append(each)
            continue
        nodes = tuple(name for name in each.nodes if selected(inventory.labels.get(name, {}), hardware.node_selector))
        if nodes:
            labels = {**each.node_labels, **hardware.node_selector}
            classes.append(replace(each, nodes=nodes, node_labels=labels))
        else:
            refused.append(_refused(each, "no node carries the labels of spec.hardware.nodeSelector"))
    if hardware.product is not None and not classes:
        classes += _adopted(hardware, products, inventory, catalog)
        there = {each.product for each in inventory.classes}
        if not classes and not there & allowed and not _nameless(products[0], inventory, catalog):
            classes.append(expected_class(hardware, products[0], catalog))
    return Offers(classes=tuple(classes), refused=tuple(refused))


def _adopted(
    hardware: Hardware, products: Sequence[Accelerator], inventory: Inventory, catalog: Catalog
) -> tuple[HardwareClass, ...]:
    if not hardware.node_selector:
        return ()
    return adopt(inventory.unlabelled, products[0], catalog, selector=hardware.node_selector)


def _nameless(accelerator: Accelerator, inventory: Inventory, catalog: Catalog) -> bool:
    """Whether nodes of the vendor only lack a label: then waiting for further ones would hide that."""
    resources = catalog.vendors[accelerator.vendor].resources
    return any(resource in node.allocatable for node in inventory.unlabelled for resource in resources)


def expected_class(hardware: Hardware, accelerator: Accelerator, catalog: Catalog) -> HardwareClass:
    """A class without nodes, by the catalogue's figures."""
    vendor = catalog.vendors[accelerator.vendor]
    exact = (label for label in accelerator.labels if not any("*" in value for value in label.values()))
    return HardwareClass(
        vendor=vendor.name,
        product=accelerator.product,
        architecture=accelerator.architecture,
        resource=vendor.resources[0],
        accelerators_per_node=accelerator.devices_per_node,
        memory_gib=accelerator.memory_gib,
        host_architecture="amd64",
        driver=None,
        rdma_resource=None,
        rdma_count=0,
        extended={},
        # The user's own labels are what an autoscaler is set up with; the labeller's come with the node.
        node_labels=dict(hardware.node_selector) or dict(next(exact, {})),
        tolerations=vendor.taints,
        cpu_millicores=0,
        memory_bytes=0,
        nodes=(),
    )


def _refused(hardware: HardwareClass, reason: str) -> Candidate:
    return Candidate(product=hardware.product, nodes_per_group=0, verdict="refused", reason=reason)
