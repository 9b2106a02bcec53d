"""Reads ``fabrics/presets.yaml``, and refuses a file that leaves a class of nodes without a preset."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import product
from typing import TYPE_CHECKING, Final

from deepseek_operator.catalog import records
from deepseek_operator.catalog.fabric_types import FabricPreset
from deepseek_operator.catalog.records import CatalogError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FILE: Final = "fabrics/presets.yaml"
_INTERFACES: Final = "networking.gke.io/interfaces"


def read_presets(file: Traversable, vendors: Collection[str]) -> Mapping[str, FabricPreset]:
    """The presets by name, in the order of the file.

    Raises:
        CatalogError: the file is wrong, or no preset is left for some vendor, mode and kind of resource.
    """
    content = records.mapping(records.parse(file, _FILE), _FILE)
    records.only(_FILE, content, {"presets"})
    listed = records.records(FabricPreset, content["presets"], f"{_FILE}: presets")
    presets = {each.name: each for each in listed}
    if len(presets) < len(listed):
        raise CatalogError(_FILE, "presets", "two presets have the same name")
    for preset in listed:
        for vendor in preset.vendors:
            if vendor not in vendors:
                raise CatalogError(_FILE, f"{preset.name}.vendors", f"{vendor} is not one of {', '.join(vendors)}")
        if (text := preset.annotations.get(_INTERFACES)) is not None:
            _check_json(preset.name, text)
    for vendor, mode, rdma in product(vendors, ("pod", "host"), (True, False)):
        if not any(
            vendor in each.vendors
            and mode in each.modes
            and not each.labels
            and (not each.rdma or (rdma and "*" in each.rdma))
            for each in listed
        ):
            raise CatalogError(_FILE, "presets", f"none is left for {vendor} with spec.fabric.mode {mode}")
    return presets


def _check_json(name: str, text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise CatalogError(_FILE, f"{name}.annotations", f"{_INTERFACES} is no JSON: {error}") from error
