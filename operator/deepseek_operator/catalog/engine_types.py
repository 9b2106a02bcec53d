"""What an inference engine serves and how it may be split, as frozen records; ``engines/*.yaml`` has the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

KVPrecision = Literal["bf16", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Layouts of weights that an engine serves on some architectures, the best first."""

    architectures: tuple[str, ...]
    layouts: tuple[str, ...]
    """Names of WeightLayouts."""
    arguments: tuple[str, ...] = ()
    """Engine arguments that these layouts need there, beyond what the checkpoint's configuration says."""
    experimental: str = ""
    """Why nobody should rely on it; empty: supported. What is experimental is used only when it is asked for."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """What an engine does not serve, in words: the reason and what to use."""

    architectures: tuple[str, ...] = ("*",)
    """Shell patterns."""
    precisions: tuple[str, ...] = ("*",)
    """Shell patterns of spec.precision."""
    models: tuple[str, ...] = ("*",)
    """Shell patterns of catalogue ids."""
    reason: str
    instead: str
    """A sentence's end: what would work."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArguments:
    """What a model needs of an engine: parsers of its answers, its tokenizer's mode, a chat template."""

    models: tuple[str, ...]
    """Shell patterns of catalogue ids."""
    arguments: tuple[str, ...]
    chat_template: str | None = None
    """A template in the engine's image, relative to EngineRelease.source_tree; None = the tokenizer's own."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRules:
    """Splits that an engine knows, beyond what the model's own dimensions allow. The defaults forbid nothing."""

    pipeline: bool = True
    attention_data: bool = True
    """Attention data parallelism inside the tensor-parallel size."""
    expert: Literal["divisor", "tensor", "none"] = "divisor"
    """Expert-parallel sizes: any divisor of tensor, 1 or all of tensor, or 1 alone."""
    tensors: tuple[int, ...] = ()
    """The only tensor-parallel sizes; empty: any."""
    mtp: bool = True
    mtp_pipeline: bool = False
    """Whether multi-token prediction works with several pipeline stages."""
    torch_compile: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A file of an engine's own source tree that describes models."""

    models: tuple[str, ...]
    """Shell patterns of catalogue ids."""
    file: str
    """Relative to the source tree."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vulnerability:
    """A published flaw of some releases, and what of a configuration exposes it."""

    id: str
    """CVE number."""
    since: str = "0"
    """First release that has it."""
    before: str
    """First release without it."""
    exposed_by: Literal["attentionData", "openApi", "argument", "variable", "multiNode"]
    """attentionData: attention data parallelism. openApi: an API without keys. argument, variable: one of ``names`` is
    set. multiNode: a group that spans nodes."""
    names: tuple[str, ...] = ()
    isolated: bool = False
    """Only other pods could reach it, which the group's NetworkPolicy keeps out; on the host's network none applies."""
    summary: str
    """What it lets whom do, as the end of a sentence."""
    remedy: str
    """What makes the configuration safe on such a release."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One inference engine."""

    name: str
    """As in spec.engine.name."""
    title: str
    """As its makers write it, for messages."""
    served: tuple[Served, ...] = ()
    """Empty: what accelerators and layouts say of themselves (SGLang, for which their figures were written)."""
    unserved: tuple[Unserved, ...] = ()
    """The first that matches is told."""
    splits: SplitRules = field(default_factory=SplitRules)
    deepep_architectures: tuple[str, ...] = ()
    """Architectures on which experts can be spread by DeepEP."""
    sparse_architectures: tuple[str, ...] = ()
    """Architectures that have kernels for DeepSeek-V3.2's sparse attention."""
    grouped_query: bool = True
    """Serves the distilled models, too (grouped-query attention)."""
    keys: bool = True
    """Its API can ask for keys."""
    vulnerabilities: tuple[Vulnerability, ...] = ()
    kv_precisions: Mapping[str, tuple[KVPrecision, ...]] = field(default_factory=dict)
    """KV cache precisions by architecture; an architecture that is not named: what its accelerators say."""
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Constant environment by vendor and by architecture, beside the vendor's own."""
    model_arguments: tuple[ModelArguments, ...] = ()
    """The first whose pattern matches counts; a model that none matches needs nothing. SGLang's stand with the models
    (``Model.parsers``)."""
    api: bool = True
    """Rank 0 serves an API; else it answers on its terminal or into a file, and no Service, policy or key is made."""
    own_image: bool = False
    """Nobody publishes an image: spec.engine.image must name one that users built."""
    sharded: bool = False
    """Reads a checkpoint that was cut into one file a rank."""
    configurations: tuple[Configuration, ...] = ()
    """The first that matches describes a model; a model without one is not served. Empty: the weights do."""
    source: str

    def __hash__(self) -> int:
        """The name tells it: there is one record an engine in a catalogue."""
        return hash(self.name)
