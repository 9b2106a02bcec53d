"""Changes worth trying when a spec was refused, the nearest to what was asked for first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion, Value
from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.changes import written

_SPLIT: Final = (
    "spec.parallelism.nodes",
    "spec.parallelism.tensor",
    "spec.parallelism.pipeline",
    "spec.parallelism.attentionData",
    "spec.parallelism.expert",
)
_HARDWARE: Final = (
    "spec.hardware.acceleratorsPerNode",
    "spec.hardware.nodeSelector",
    "spec.hardware.product",
    "spec.hardware.vendor",
)
_OTHERS: Final = (
    "spec.context.kvCachePrecision",
    "spec.engine.features.mtp",
    "spec.fabric.rdma.count",
    "spec.fabric.rdma.resource",
    "spec.engine.version",
    "spec.weights.cache",
    "spec.scheduling.topologyKey",
    "spec.context.maxLength",
)
_CONTEXTS: Final = (131_072, 65_536, 32_768, 16_384, 8_192, 4_096)
_PRECISIONS: Final = ("fp8", "bf16")
_SOURCE_REASONS: Final = frozenset({"NoSource", "NoVolume", "SourceNotMounted", "PrecisionNotNative"})
_VARIANT_REASONS: Final = _SOURCE_REASONS | {"NodesMissing"}
"""Also where a cast to BF16 would take more nodes than there are."""
_BLOCKS: Final = frozenset({"spec.model", "spec.precision", "spec.parallelism", "spec.hardware", "spec.weights"})
"""Fields that are more than one wish, or cannot be left out."""
_ENGINE_LIST: Final = re.compile(r"spec\.engine\.(?:args|env)(?=\[)")
_HOST_PATH: Final = re.compile(r"spec\.podTemplate\.volumes\[(\d+)\]\.hostPath")


def propose(problem: Problem, spec: Spec) -> Iterator[Suggestion]:
    """What the problem itself proposes, then the wish to blame left out, then others, then several at once."""
    yield from problem.suggestions
    if problem.field not in _BLOCKS and written(spec, problem.field):
        yield from _field(problem.field, spec)
    if found := _ENGINE_LIST.match(problem.field):
        yield _without([found[0]])
    wishes = sorted((path for path in _SPLIT if written(spec, path)), key=lambda path: path != problem.field)
    for count in range(1, len(wishes) + 1):
        yield from (_without(paths) for paths in combinations(wishes, count))
    others = [path for path in (*_OTHERS, *_HARDWARE) if path != problem.field and written(spec, path)]
    for path in others:
        yield from _field(path, spec)
    yield from _precision(spec)
    if not spec.hardware.allow_tight:
        yield _change(("spec.hardware.allowTight", True))
    if problem.reason in _VARIANT_REASONS:
        yield from _variants(spec)
    if problem.reason in _SOURCE_REASONS:
        yield from _own_weights(spec)
    hardware = [path for path in _HARDWARE if written(spec, path)]
    for paths in (hardware, *([path, *wishes] for path in others), [*hardware, *wishes], [*others, *wishes]):
        if len(set(paths)) > 1:
            yield _without(list(dict.fromkeys(paths)))


def _field(path: str, spec: Spec) -> Iterator[Suggestion]:
    """One wish made smaller, or left out."""
    wish = spec.context.max_length
    if path == "spec.context.maxLength" and wish is not None:
        yield _without([path])
        yield from (_change((path, each)) for each in _CONTEXTS if each < wish)
    elif found := _HOST_PATH.fullmatch(path):
        index = int(found.group(1))
        claim = spec.pod_template.volumes[index].name
        place = f"spec.podTemplate.volumes[{index}]"
        yield _change((f"{place}.hostPath", None), (f"{place}.persistentVolumeClaim", claim))
    else:
        yield _without([path])


def _precision(spec: Spec) -> Iterator[Suggestion]:
    """Another precision; a source of the user's own holds the old one, so it goes too."""
    source: tuple[tuple[str, Value], ...] = (("spec.weights.source", None),) if spec.weights.source else ()
    yield from (_change(("spec.precision", each), *source) for each in _PRECISIONS if spec.precision != each)
    if source:
        yield _change(*source)


def _variants(spec: Spec) -> Iterator[Suggestion]:
    """Quantised weights of other publishers, where the devices have nothing better."""
    wanted: dict[str, Value] = {}
    if spec.precision != "auto":
        wanted["spec.precision"] = None
    if not spec.weights.allow_variant:
        wanted["spec.weights.allowVariant"] = True
    if wanted and spec.weights.source is None:
        yield _change(*wanted.items())


def _own_weights(spec: Spec) -> Iterator[Suggestion]:
    """Weights in a claim, whose name here is an example."""
    name = spec.model.rpartition("/")[2]
    cache: tuple[tuple[str, Value], ...] = (("spec.weights.cache", None),) if spec.weights.cache != "auto" else ()
    for precision in dict.fromkeys((spec.precision, *_PRECISIONS)):
        source = f"pvc://weights/{name}" if precision == "auto" else f"pvc://weights/{name}-{precision}"
        change = (("spec.precision", precision),) if precision != spec.precision else ()
        yield _change(*change, ("spec.weights.source", source), *cache)


def _without(paths: Sequence[str]) -> Suggestion:
    return _change(*((path, None) for path in paths))


def _change(*changes: tuple[str, Value]) -> Suggestion:
    return Suggestion(changes=changes)
