"""ResourceSlices in, devices by node out: what DRA drivers publish where allocatable is empty.

A node whose vendor runs its DRA driver instead of the device plugin has no extended resource in
``status.allocatable``; its devices stand in ResourceSlices (KEP-4381). Pods of this operator request extended
resources. The scheduler serves such a request from slices only where a DeviceClass maps its name
(``spec.extendedResourceName``, KEP-5004, Kubernetes 1.34 and later; an API server with the feature off drops the
field, so its presence proves the feature). Without that the devices are seen, and said to be out of reach.

Of a pool only the slices of its newest generation count, and only once all of them are there: the scheduler
allocates from no other (resource.k8s.io/v1, ResourcePool).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.catalog.types import Catalog, PublishedDevices, Vendor
from deepseek_operator.plan.quantities import whole
from deepseek_operator.plan.types import NodeDevices

_GIB: Final = 2**30
_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    products: tuple[tuple[str, str], ...]
    whole: bool
    memory_gib: float | None
    driver_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What planning needs of a ResourceSlice: a tenth of the object, so that thousands can be held together."""

    node: str
    driver: str
    pool: str
    generation: int
    slices: int
    """Slices of the pool in this generation."""
    devices: tuple[_Device, ...]


def devices_by_node(
    slices: Iterable[Manifest], device_classes: Iterable[Manifest], catalog: Catalog
) -> dict[str, tuple[NodeDevices, ...]]:
    """The accelerators in ResourceSlices, by the node they belong to.

    Args:
        slices: ResourceSlice objects in any order; drivers that the catalogue does not know are left out, and so are
            slices of no single node.
        device_classes: DeviceClass objects, for the extended resources by which devices can be requested.
        catalog: for the vendors' drivers and how they name things.
    """
    return devices_of(read_slices(slices, catalog), device_classes, catalog)


def read_slices(slices: Iterable[Manifest], catalog: Catalog) -> Iterator[Slice]:
    """The slices of known drivers, one page of a list after the other."""
    vendors = _drivers(catalog)
    for each in slices:
        spec = each.get("spec") or {}
        vendor = vendors.get(spec.get("driver", ""))
        if vendor is None or vendor.published is None or not spec.get("nodeName"):
            continue
        pool = spec.get("pool") or {}
        yield Slice(
            node=spec["nodeName"],
            driver=spec["driver"],
            pool=str(pool.get("name", "")),
            generation=int(pool.get("generation", 0)),
            slices=int(pool.get("resourceSliceCount", 1)),
            devices=tuple(_device(device, vendor.published) for device in spec.get("devices") or ()),
        )


def devices_of(
    slices: Iterable[Slice], device_classes: Iterable[Manifest], catalog: Catalog
) -> dict[str, tuple[NodeDevices, ...]]:
    """As ``devices_by_node``, of slices that were read already."""
    vendors = _drivers(catalog)
    resources = _resources(device_classes, vendors)
    nodes: defaultdict[tuple[str, str], list[_Device]] = defaultdict(list)
    for each in _current(slices):
        nodes[each.node, each.driver] += each.devices
    found: defaultdict[str, list[NodeDevices]] = defaultdict(list)
    for node, driver in sorted(nodes):
        found[node] += _grouped(nodes[node, driver], vendors[driver], driver, resources.get(driver))
    return {node: tuple(devices) for node, devices in found.items()}


def _drivers(catalog: Catalog) -> dict[str, Vendor]:
    return {each.published.driver: each for each in catalog.vendors.values() if each.published is not None}


def _resources(device_classes: Iterable[Manifest], vendors: Mapping[str, Vendor]) -> dict[str, str]:
    """The vendor's extended resource that some DeviceClass maps to a driver's devices, by driver."""
    mapped: dict[str, str] = {}
    for each in device_classes:
        spec = each.get("spec") or {}
        name = spec.get("extendedResourceName")
        expressions = [(selector.get("cel") or {}).get("expression", "") for selector in spec.get("selectors") or ()]
        for driver, vendor in vendors.items():
            if name in vendor.resources and any(_selects(expression, driver) for expression in expressions):
                mapped[driver] = str(name)
    return mapped


def _selects(expression: str, driver: str) -> bool:
    # Classes name their driver in CEL (device.driver == 'gpu.nvidia.com'); evaluating CEL would tell no more.
    return f"'{driver}'" in expression or f'"{driver}"' in expression


def _current(slices: Iterable[Slice]) -> Iterator[Slice]:
    """The slices of complete pools in their newest generation."""
    pools: defaultdict[tuple[str, str], list[Slice]] = defaultdict(list)
    for each in slices:
        pools[each.driver, each.pool].append(each)
    for members in pools.values():
        newest = max(each.generation for each in members)
        current = [each for each in members if each.generation == newest]
        if len(current) == current[0].slices:
            yield from current


def _device(device: Manifest, published: PublishedDevices) -> _Device:
    # v1beta1 keeps attributes and capacity one level deeper.
    body = device.get("basic") or device
    attributes = body.get("attributes") or {}
    kind = _text(attributes, published.type_attribute, published.driver)
    taints = body.get("taints") or ()
    products = []
    for attribute, label in published.product_attributes.items():
        value = _text(attributes, attribute, published.driver)
        if value:
            # Device ids come with 0x; names with the spaces that labels cannot hold.
            products.append((label, value.removeprefix("0x").replace(" ", "-")))
    version = _text(attributes, published.driver_attribute, published.driver)
    return _Device(
        products=tuple(products),
        whole=kind in published.whole_types
        and not body.get("allowMultipleAllocations")
        and not any(taint.get("effect") in _BLOCKING for taint in taints),
        memory_gib=_memory(body.get("capacity") or {}, published),
        driver_version=version.partition(".")[0] or None,
    )


def _text(attributes: Manifest, name: str, driver: str) -> str:
    """An attribute's value; names may be qualified by the driver, versions are a type of their own."""
    found = attributes.get(name) or attributes.get(f"{driver}/{name}") or {}
    return str(found.get("string") or found.get("version") or "")


def _memory(capacity: Manifest, published: PublishedDevices) -> float | None:
    name = published.memory_capacity
    found = capacity.get(name) or capacity.get(f"{published.driver}/{name}") or {}
    amount = whole(found.get("value", "") if isinstance(found, Mapping) else found)
    # AMD's driver publishes 0 for memory that it cannot read.
    return amount / _GIB or None


def _grouped(devices: list[_Device], vendor: Vendor, driver: str, resource: str | None) -> Iterator[NodeDevices]:
    """One record for each kind of a node's devices; parts go with the kind that they are parts of."""
    kinds: defaultdict[tuple[tuple[str, str], ...], list[_Device]] = defaultdict(list)
    for each in devices:
        kinds[each.products].append(each)
    for products in sorted(kinds):
        alike = kinds[products]
        able = [each for each in alike if each.whole]
        sizes = [each.memory_gib for each in able if each.memory_gib is not None]
        yield NodeDevices(
            vendor=vendor.name,
            driver=driver,
            products=products,
            count=len(able),
            parts=len(alike) - len(able),
            memory_gib=min(sizes, default=None),
            driver_version=next((each.driver_version for each in able), None),
            resource=resource,
        )
