"""Which classes a spec may use: by vendor, product, node selector and topology; unlabelled and expected nodes included.

A topology key cuts a class into domains by the value of that label. The class stays one, because all domains serve
the same plan, each group in one of them; only how many nodes a group can have, and how many groups are free, is
counted by domain. Pods are not pinned to a value: new domains (a rack, a zone that an autoscaler fills) are as good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Hardware
from deepseek_operator.catalog.types import Accelerator, Catalog
from deepseek_operator.plan import suitability
from deepseek_operator.plan.identity import named
from deepseek_operator.plan.inventory import adopt, selected
from deepseek_operator.plan.types import Candidate, HardwareClass, Inventory, Node, SkippedNode

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """The classes to try, and those that the spec itself rules out."""

    classes: tuple[HardwareClass, ...]
    refused: tuple[Candidate, ...] = ()
    problem: Problem | None = None
    """Without classes: what keeps nodes that are there from being offered; None: there are none."""


def offers(
    hardware: Hardware,
    products: Sequence[Accelerator],
    inventory: Inventory,
    catalog: Catalog,
    *,
    topology_key: str | None = None,
) -> Offers:
    """The classes that a spec allows.

    A product that is named, and of which the cluster has no node, is offered with the catalogue's figures and
    without nodes: a pool that scales from zero.
    """
    allowed = {each.product for each in products}
    labels = _labels(inventory) if topology_key else {}
    classes: list[HardwareClass] = []
    refused: list[Candidate] = []
    problems: list[Problem] = []
    for each in inventory.classes:
        if each.product not in allowed:
            refused.append(_refused(each, "not the hardware of spec.hardware"))
            continue
        nodes = _selected(each, inventory, hardware)
        if not nodes:
            refused.append(_refused(each, "no node carries the labels of spec.hardware.nodeSelector"))
            continue
        chosen = replace(each, nodes=nodes, node_labels={**each.node_labels, **hardware.node_selector})
        outcome = _unpinned(chosen, inventory) or in_domains(chosen, labels, topology_key)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            refused.append(_refused(each, outcome.message.partition(";")[0]))
        else:
            classes.append(outcome)
    if hardware.product is not None:
        there = {each.product for each in inventory.classes}
        for each in _adopted(hardware, products, inventory, catalog, counted=bool(classes)):
            outcome = in_domains(each, labels, topology_key)
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                classes.append(outcome)
        if not classes and not problems and not there & allowed and not _nameless(products[0], inventory, catalog):
            classes.append(replace(expected_class(hardware, products[0], catalog), topology_key=topology_key))
    if classes:
        return Offers(classes=tuple(classes), refused=tuple(refused))
    problem = next(iter(problems), None) or _out_of_reach(
        hardware, inventory, catalog, {each.vendor for each in products}
    )
    return Offers(classes=(), refused=tuple(refused), problem=problem)


def _labels(inventory: Inventory) -> Mapping[str, Mapping[str, str]]:
    return {**inventory.labels, **{node.name: node.labels for node in inventory.unlabelled}}


def _selected(each: HardwareClass, inventory: Inventory, hardware: Hardware) -> tuple[str, ...]:
    if not hardware.node_selector:
        return each.nodes
    return tuple(name for name in each.nodes if selected(inventory.labels.get(name, {}), hardware.node_selector))


def in_domains(
    hardware: HardwareClass, labels: Mapping[str, Mapping[str, str]], topology_key: str | None
) -> HardwareClass | Problem:
    """The class by the values of a label; nodes without it are left out, because a group could not have them.

    Args:
        hardware: a class with its nodes.
        labels: of the nodes, by name.
        topology_key: spec.scheduling.topologyKey; None: the class as it is.
    """
    if topology_key is None:
        return hardware
    domains: defaultdict[str, list[str]] = defaultdict(list)
    for name in hardware.nodes:
        value = labels.get(name, {}).get(topology_key)
        if value is not None:
            domains[value].append(name)
    if not domains:
        return Problem(
            field="spec.scheduling.topologyKey",
            reason="TopologyLabelMissing",
            message=f"none of the {len(hardware.nodes)} nodes of {hardware.product} carries the label {topology_key}; "
            "install what writes it, use a label that they carry (topology.kubernetes.io/zone), or leave it out",
        )
    return replace(
        hardware,
        nodes=tuple(sorted(name for names in domains.values() for name in names)),
        topology_key=topology_key,
        domains={value: tuple(names) for value, names in sorted(domains.items())},
    )


def _unpinned(hardware: HardwareClass, inventory: Inventory) -> Problem | None:
    """Nothing would keep the pods of a class without labels from nodes of another one."""
    if hardware.node_labels:
        return None
    others = set(inventory.bearers.get(hardware.resource, ())) - set(hardware.nodes)
    if not others:
        return None
    return Problem(
        field="spec.hardware.nodeSelector",
        reason="LabelsMissing",
        message=f"no label tells the nodes of {hardware.product} from others that offer {hardware.resource} "
        f"({', '.join(sorted(others)[:_SHOWN])}); set spec.hardware.nodeSelector to a label that only nodes of "
        f"{hardware.product} carry, or install the vendor's labeller",
    )


def _adopted(
    hardware: Hardware, products: Sequence[Accelerator], inventory: Inventory, catalog: Catalog, *, counted: bool
) -> tuple[HardwareClass, ...]:
    """Nodes that no label names, taken for the product that the user names."""
    if hardware.node_selector:
        return adopt(inventory.unlabelled, products[0], catalog, selector=hardware.node_selector)
    vendor = catalog.vendors[products[0].vendor]
    nameless = [node for node in _of_vendor(inventory.unlabelled, vendor.resources) if not named(node, vendor)]
    bearers = {name for resource in vendor.resources for name in inventory.bearers.get(resource, ())}
    if counted or not nameless or bearers != {node.name for node in nameless}:
        # Pods would also fit on nodes of another product, and only labels could keep them away.
        return ()
    for key in vendor.pci_labels:
        if all(node.labels.get(key) == "true" for node in nameless):
            return adopt(nameless, products[0], catalog, selector={key: "true"})
    return ()


def _nameless(accelerator: Accelerator, inventory: Inventory, catalog: Catalog) -> bool:
    """Whether nodes of the vendor only lack a label: then waiting for further ones would hide that."""
    return any(_of_vendor(inventory.unlabelled, catalog.vendors[accelerator.vendor].resources))


def _of_vendor(nodes: Sequence[Node], resources: Sequence[str]) -> Iterator[Node]:
    return (node for node in nodes if any(resource in node.allocatable for resource in resources))


def _out_of_reach(hardware: Hardware, inventory: Inventory, catalog: Catalog, vendors: set[str]) -> Problem | None:
    """Nodes that only lack labels, or whose devices pods cannot request: no new node would help."""
    resources = [resource for vendor in sorted(vendors) for resource in catalog.vendors[vendor].resources]
    nameless = _of_vendor(inventory.unlabelled, resources)
    unlabelled = {node.name for node in nameless if selected(node.labels, hardware.node_selector)}
    missing = [each for each in inventory.skipped if each.name in unlabelled]
    if missing:
        return Problem(field="spec.hardware.nodeSelector", reason="LabelsMissing", message=_told(missing))
    hidden = [each for each in inventory.skipped if each.reason == suitability.NOT_REQUESTABLE]
    if hidden:
        return Problem(field="spec.hardware", reason="DevicesNotRequestable", message=_told(hidden))
    return None


def _told(skipped: Sequence[SkippedNode]) -> str:
    more = f"; {len(skipped) - 1} more nodes like it" if len(skipped) > 1 else ""
    return f"{skipped[0].message}{more}"


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
        host_architecture=accelerator.host_architecture,
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
