"""StorageClasses as planning reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from deepseek_operator.plan.types import StorageClass

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"


def read_storage_classes(bodies: Iterable[Mapping[str, Any]]) -> Mapping[str, StorageClass]:
    """The classes of a list, by name."""
    return {each.name: each for each in map(_read, bodies)}


def _read(body: Mapping[str, Any]) -> StorageClass:
    metadata = body["metadata"]
    return StorageClass(
        name=metadata["name"],
        provisioner=body.get("provisioner", ""),
        parameters=dict(body.get("parameters") or {}),
        default=metadata.get("annotations", {}).get(DEFAULT_CLASS) == "true",
    )
