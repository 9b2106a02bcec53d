"""Where weights come from and where they lie: never in a container's writable layer.

Order: the claim or mounted directory that the user names; the node directory that the administrator configured;
a claim for each rank from the default StorageClass; else refused with the remedy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, Model
from deepseek_operator.plan.types import Facts, WeightsPlan

MOUNT_POINT: Final = "/models"
"""Where the volume of weights appears in the engine container."""
_FLOATING: Final = "main"
_HUB: Final = "hf://"
_CLAIM: Final = "pvc://"
_PATH: Final = "path://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A plan for the weights and what to warn of."""

    weights: WeightsPlan
    warnings: tuple[str, ...] = ()


def locate(
    spec: Spec, *, model: Model, precision: str, catalog: Catalog, facts: Facts, namespace: str
) -> Located | Problem:
    """The weights of a model in a precision.

    Returns:
        A Problem where no source or no volume is left; its message says what to set or install.
    """
    source = spec.weights.source
    checkpoint = model.checkpoints.get(precision)
    if source is None:
        if checkpoint is None:
            return _no_source(model, precision)
        source = f"{_HUB}{checkpoint.repository}"
    layout = "fp8-block128" if precision == "fp8" else "bf16"
    size = checkpoint.size_gib if checkpoint else _size(model, precision)
    if source.startswith(_HUB):
        return _from_hub(
            spec,
            source=source,
            model=model,
            precision=precision,
            size_gib=size,
            catalog=catalog,
            facts=facts,
            namespace=namespace,
        )
    if source.startswith(_CLAIM):
        claim, _, folder = source.removeprefix(_CLAIM).partition("/")
        path = str(PurePosixPath(MOUNT_POINT) / folder.strip("/"))
        return _own(source, layout, size, volume="claim", claim=claim, path=path)
    path = source.removeprefix(_PATH)
    if not _is_mounted(spec, path):
        return Problem(
            field="spec.weights.source",
            reason="SourceNotMounted",
            message=f"{path} lies in no volume, and weights never go to a container's own layer; "
            "mount one with spec.podTemplate.volumes and volumeMounts",
        )
    return _own(source, layout, size, volume="mounted", claim=None, path=path)


def precision_of_source(spec: Spec, model: Model, catalog: Catalog) -> str | None:
    """The precision of the user's own source as far as its name tells: a catalogue's checkpoint, or one with bf16."""
    source = spec.weights.source
    if source is None:
        return None
    repository = source.removeprefix(_HUB).strip("/").casefold()
    for each in (model, *catalog.models.values()):
        for checkpoint in each.checkpoints.values():
            if checkpoint.repository.casefold() == repository:
                return checkpoint.precision
    return "bf16" if "bf16" in source.casefold() else None


def _from_hub(
    spec: Spec,
    *,
    source: str,
    model: Model,
    precision: str,
    size_gib: float,
    catalog: Catalog,
    facts: Facts,
    namespace: str,
) -> Located | Problem:
    repository = source.removeprefix(_HUB).strip("/")
    wrong = _wrong_repository(repository, model, precision, catalog)
    if wrong is not None:
        return wrong
    checkpoint = model.checkpoints.get(precision)
    pinned = checkpoint.revision if checkpoint and checkpoint.repository == repository else None
    revision = spec.revision or pinned or _FLOATING
    volume = _volume(spec.weights.cache, facts)
    if isinstance(volume, Problem):
        return volume
    folder = f"{facts.node_path}/{namespace}/{repository.replace('/', '--')}/{revision}"
    warnings: list[str] = []
    if revision == _FLOATING:
        warnings.append(
            f"{repository} is fetched at its branch {_FLOATING}, which may move between two nodes; "
            "pin spec.revision to a commit"
        )
    if volume == "perRank" and facts.default_storage_class is None:
        warnings.append("weights go to a claim for each rank: assumed a default StorageClass, not checked")
    weights = WeightsPlan(
        source=source,
        repository=repository,
        revision=revision,
        layout="fp8-block128" if precision == "fp8" else "bf16",
        size_gib=size_gib,
        volume=volume,
        claim=_claim_name(namespace, repository, revision) if volume == "node" else None,
        node_path=folder if volume == "node" else None,
        path=MOUNT_POINT,
    )
    return Located(weights=weights, warnings=tuple(warnings))


def _volume(cache: str, facts: Facts) -> Literal["node", "perRank"] | Problem:
    if cache == "node" and facts.node_path is None:
        return Problem(
            field="spec.weights.cache",
            reason="NoNodeDirectory",
            message="cache node needs a directory of the nodes: set weights.nodePath in the operator's configuration, "
            "or use cache perRank or a source pvc://claim/path",
        )
    if facts.node_path is not None and cache != "perRank":
        return "node"
    if facts.default_storage_class is False:
        return Problem(
            field="spec.weights",
            reason="NoVolume",
            message="there is no volume for the weights, and they never go to a container's own layer: mark a "
            "StorageClass as default, set weights.nodePath in the operator's configuration, or use a source "
            "pvc://claim/path",
        )
    return "perRank"


def _wrong_repository(repository: str, model: Model, precision: str, catalog: Catalog) -> Problem | None:
    for other in catalog.models.values():
        for checkpoint in other.checkpoints.values():
            if checkpoint.repository.casefold() != repository.casefold():
                continue
            if other.name != model.name:
                return Problem(
                    field="spec.weights.source",
                    reason="SourceOfOtherModel",
                    message=f"{repository} is {other.name}, not {model.name}; set spec.model to {other.repository}, "
                    "or name another source",
                    suggestions=(Suggestion(changes=(("spec.model", other.repository),)),),
                )
            if checkpoint.precision != precision:
                return Problem(
                    field="spec.weights.source",
                    reason="SourcePrecision",
                    message=f"{repository} holds {checkpoint.precision} weights, not {precision}; name a repository "
                    f"or directory with {precision} weights, or use precision {checkpoint.precision}",
                    suggestions=(Suggestion(changes=(("spec.precision", checkpoint.precision),)),),
                )
    return None


def _no_source(model: Model, precision: str) -> Problem:
    published = ", ".join(sorted(model.checkpoints)) or "none"
    return Problem(
        field="spec.weights.source",
        reason="NoSource",
        message=f"{model.repository} has no {precision} weights of its publisher (it has: {published}); name a "
        f"{precision} cast in spec.weights.source (hf://org/name, pvc://claim/path or path:///dir)",
    )


def _own(
    source: str,
    layout: str,
    size_gib: float,
    *,
    volume: Literal["claim", "mounted"],
    claim: str | None,
    path: str,
) -> Located:
    return Located(
        weights=WeightsPlan(
            source=source,
            repository=None,
            revision=None,
            layout=layout,
            size_gib=size_gib,
            volume=volume,
            claim=claim,
            node_path=None,
            path=path,
        )
    )


def _size(model: Model, precision: str) -> float:
    """GiB of a source that the catalogue does not list."""
    return model.bf16_size_gib if precision == "bf16" else model.bf16_size_gib / 2


def _is_mounted(spec: Spec, path: str) -> bool:
    inside = PurePosixPath(path)
    return any(inside.is_relative_to(mount.mount_path) for mount in spec.pod_template.volume_mounts)


def _claim_name(namespace: str, repository: str, revision: str) -> str:
    digest = hashlib.sha256(f"{namespace}\0{repository}\0{revision}".encode()).hexdigest()
    return f"weights-{digest[:10]}"
