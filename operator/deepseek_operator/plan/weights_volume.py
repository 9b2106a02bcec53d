"""Where weights lie, and what turns the checkpoint that is had into the one that the engine reads.

Weights never go to a container's writable layer. In this order: the user's own volume, where it holds what the engine
reads; a claim of the user's that the operator fills (``weights.claimName``); the directory of each node that the
administrator configured; a claim for each rank; else refused with the remedy. The node's disk as scratch space
(``ephemeral``) only on request: it is fetched again for every pod.

Layout of the volume, mounted at ``/models``: the checkpoint at its root (of a shared claim: in a directory of its
repository and revision), and ``converted/<layout>`` below it for each result of a conversion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from deepseek_operator.api.names import SOURCE_DIRECTORY, WEIGHTS_DIRECTORY
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.operations.storage import slow_storage
from deepseek_operator.catalog.types import WeightLayout
from deepseek_operator.plan.types import REMOTE, Conversion, ConversionStep, Facts, WeightsPlan, WeightsVolume

HUB: Final = "hf://"
MODELSCOPE: Final = "modelscope://"
HUBS: Final = (HUB, MODELSCOPE)
CLAIM: Final = "pvc://"
PATH: Final = "path://"
_BRANCHES: Final = {HUB: "main", MODELSCOPE: "master"}
_CONVERTED: Final = "converted"
_BLOCK_EDGE: Final = 128
"""Scale blocks that ``weights cast`` reads: DeepSeek-V3 technical report, 3.3.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A checkpoint that is had."""

    source: str
    repository: str | None
    """Of a hub."""
    revision: str | None
    """Commit, branch or tag; of a source without revisions, the state that the user pinned."""
    layout: str
    size_gib: float

    @property
    def remote(self) -> bool:
        """Whether it must be fetched."""
        return self.source.startswith(REMOTE)

    @property
    def floating(self) -> bool:
        """Whether the revision may move."""
        return self.repository is not None and self.revision in _BRANCHES.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A conversion that is asked for."""

    tool: str
    """cast or shard."""
    layout: str
    """What comes out."""
    size_gib: float
    model_parallel: int | None = None
    experts: int | None = None


def default_revision(source: str) -> str | None:
    """The branch of a hub that is fetched when nothing is pinned."""
    return next((branch for scheme, branch in _BRANCHES.items() if source.startswith(scheme)), None)


def castable(layout: WeightLayout) -> bool:
    """Whether ``weights cast`` makes BF16 of it: one byte a weight, scales for square blocks."""
    stored = layout.routed
    return (stored.bits, stored.rows, stored.columns) == (8, _BLOCK_EDGE, _BLOCK_EDGE) and layout.precision in {
        "fp8",
        "int8",
    }


def cast_step(layout: WeightLayout, *, size_gib: float) -> Step:
    """The cast of a checkpoint to a BF16 layout."""
    return Step(tool="cast", layout=layout.name, size_gib=size_gib)


def shard_step(*, model_parallel: int, experts: int, size_gib: float) -> Step:
    """The cut of a checkpoint for the DeepSeek-Infer demo, one file a rank."""
    return Step(
        tool="shard",
        layout=f"mp{model_parallel}",
        size_gib=size_gib,
        model_parallel=model_parallel,
        experts=experts,
    )


def place(
    origin: Origin, steps: tuple[Step, ...], *, layout: str, spec: Spec, facts: Facts, namespace: str
) -> WeightsPlan | Problem:
    """Where the weights lie once they are prepared.

    Args:
        origin: what is had.
        steps: conversions, in order; the engine reads what the last one makes.
        layout: of what the engine reads.
        spec: the user's wishes.
        facts: what the cluster and its administrator offer.
        namespace: of the deployment.
    """
    if not origin.remote and not steps:
        asked = {
            "cache": spec.weights.cache != "auto",
            "claimName": spec.weights.claim_name,
            "storageClassName": spec.weights.storage_class_name,
        }
        if unused := [name for name, value in asked.items() if value]:
            return Problem(
                field=f"spec.weights.{unused[0]}",
                reason="CacheWithoutFetch",
                message=f"{origin.source} is used where it is: nothing is fetched or converted, as far as its name "
                f"tells; remove {' and '.join(unused)}",
            )
        return _as_it_is(origin, layout, facts)
    volume = _volume(spec, facts)
    if isinstance(volume, Problem):
        return volume
    root = WEIGHTS_DIRECTORY
    if volume == "shared":
        root = f"{root}/{_directory(origin, spec)}"
    own = _own_path(origin)
    had = root if own is None else own
    conversion = _conversion(origin, steps, had=had, root=root) if steps else None
    claim = {"node": _claim_name(origin, spec, namespace), "shared": spec.weights.claim_name}.get(volume)
    return WeightsPlan(
        source=origin.source,
        repository=origin.repository,
        revision=origin.revision,
        layout=layout,
        size_gib=steps[-1].size_gib if steps else origin.size_gib,
        volume=volume,
        claim=claim,
        node_path=f"{facts.node_path}/{namespace}/{_directory(origin, spec)}" if volume == "node" else None,
        path=conversion.steps[-1].path if conversion else root,
        conversion=conversion,
        source_claim=_claim_of(origin) if steps else None,
        storage_class=spec.weights.storage_class_name if volume == "perRank" else None,
        tool_image=facts.tool_image,
    )


def warnings_of(origin: Origin, weights: WeightsPlan, facts: Facts) -> Iterator[str]:
    """What works, and what a user should know of it."""
    if origin.floating:
        yield (
            f"{origin.repository} is fetched at its branch {origin.revision}, which may move between two nodes; "
            "pin spec.revision to a commit"
        )
    if weights.volume == "perRank" and facts.default_storage_class is None and weights.storage_class is None:
        yield "weights go to a claim for each rank: assumed a default StorageClass, not checked"
    if weights.volume == "ephemeral":
        yield (
            f"weights.cache ephemeral: every new pod prepares {weights.disk_gib:,.0f} GiB again on its node's own disk"
        )
    if (conversion := weights.conversion) is not None:
        what = " and ".join(f"{step.tool} to {step.layout}" for step in conversion.steps)
        yield (
            f"{origin.source} holds {conversion.source_layout} weights: they are prepared before the first start "
            f"({what}, on the CPU), which takes {weights.disk_gib:,.0f} GiB of disk in all"
        )
    yield from _slow(weights, facts)


def _slow(weights: WeightsPlan, facts: Facts) -> Iterator[str]:
    """Classes that are known to be slow: hours instead of minutes of a start."""
    if weights.volume != "perRank":
        return
    wanted = weights.storage_class
    found = next(
        (each for each in facts.storage_classes.values() if (each.name == wanted if wanted else each.default)), None
    )
    slow = slow_storage(found.provisioner, found.parameters) if found else None
    if found is None or slow is None:
        return
    minutes = weights.size_gib * 1024 / slow.mib_per_second / 60
    yield (
        f"StorageClass {found.name} reads about {slow.mib_per_second} MiB/s ({slow.why}): loading "
        f"{weights.size_gib:,.0f} GiB takes about {minutes:,.0f} minutes; {slow.instead}"
    )


def _as_it_is(origin: Origin, layout: str, facts: Facts) -> WeightsPlan:
    claim = _claim_of(origin)
    path = _own_path(origin, under=WEIGHTS_DIRECTORY) or WEIGHTS_DIRECTORY
    return WeightsPlan(
        source=origin.source,
        repository=None,
        revision=None,
        layout=layout,
        size_gib=origin.size_gib,
        volume="claim" if claim else "mounted",
        claim=claim,
        node_path=None,
        path=path,
        tool_image=facts.tool_image,
    )


def _conversion(origin: Origin, steps: tuple[Step, ...], *, had: str, root: str) -> Conversion:
    made, name = [], ""
    for step in steps:
        name = f"{name}-{step.layout}" if name else step.layout
        made.append(
            ConversionStep(
                tool="cast" if step.tool == "cast" else "shard",
                layout=step.layout,
                size_gib=step.size_gib,
                path=f"{root}/{_CONVERTED}/{name}",
                model_parallel=step.model_parallel,
                experts=step.experts,
            )
        )
    return Conversion(source_layout=origin.layout, source_gib=origin.size_gib, source_path=had, steps=tuple(made))


def _volume(spec: Spec, facts: Facts) -> WeightsVolume | Problem:
    weights, asked = spec.weights, spec.weights.cache
    if asked == "ephemeral":
        return "ephemeral"
    if asked == "claim" or (asked == "auto" and weights.claim_name is not None):
        return "shared"
    if asked == "node" and facts.node_path is None:
        return Problem(
            field="spec.weights.cache",
            reason="NoNodeDirectory",
            message="cache node needs a directory of the nodes: set weights.nodePath in the operator's configuration, "
            "or use cache perRank, cache claim with weights.claimName, or a source pvc://claim/path",
        )
    wants_class = weights.storage_class_name is not None
    if facts.node_path is not None and asked != "perRank" and not wants_class:
        return "node"
    if wants_class and facts.storage_classes and weights.storage_class_name not in facts.storage_classes:
        return Problem(
            field="spec.weights.storageClassName",
            reason="StorageClassUnknown",
            message=f"the cluster has no StorageClass {weights.storage_class_name}; use one of "
            f"{', '.join(sorted(facts.storage_classes))}, or leave it out",
        )
    if facts.default_storage_class is False and not wants_class:
        return Problem(
            field="spec.weights",
            reason="NoVolume",
            message="there is no volume for the weights, and they never go to a container's own layer: mark a "
            "StorageClass as default or name one in weights.storageClassName, set weights.nodePath in the operator's "
            "configuration, name a claim in weights.claimName, or use a source pvc://claim/path",
        )
    return "perRank"


def _claim_of(origin: Origin) -> str | None:
    if not origin.source.startswith(CLAIM):
        return None
    return origin.source.removeprefix(CLAIM).partition("/")[0]


def _own_path(origin: Origin, *, under: str = SOURCE_DIRECTORY) -> str | None:
    """Where the user's own checkpoint appears; None for one that is fetched."""
    if origin.source.startswith(CLAIM):
        folder = origin.source.removeprefix(CLAIM).partition("/")[2]
        return str(PurePosixPath(under) / folder.strip("/"))
    return origin.source.removeprefix(PATH) if origin.source.startswith(PATH) else None


def _directory(origin: Origin, spec: Spec) -> str:
    """One directory a source and revision, the same for everybody who means the same."""
    source = origin.source.removeprefix(HUB).strip("/")
    name = source.replace("://", "--").replace("/", "--")
    if origin.source.startswith(PATH):
        # The path means what the pod's own volumes say.
        volumes = [each.model_dump(mode="json") for each in spec.pod_template.volumes]
        name += f"--{_digest(json.dumps(volumes, sort_keys=True))}"
    return f"{name}/{origin.revision or 'latest'}"


def _claim_name(origin: Origin, spec: Spec, namespace: str) -> str:
    hub = origin.source.startswith(HUB)
    parts = [namespace, origin.repository, origin.revision] if hub else [namespace, _directory(origin, spec)]
    return f"weights-{_digest(chr(0).join(map(str, parts)))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
