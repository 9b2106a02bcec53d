"""What the catalogue knows, as frozen records; the YAML beside this module is where each figure has its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deepseek_operator.catalog.engine_types import EngineFacts
from deepseek_operator.catalog.fabric_types import FabricPreset, Mount
from deepseek_operator.catalog.memory_types import MemoryRules, MemoryTier, MemoryVersion, VllmMemoryRules

Precision = Literal["fp8", "bf16", "int8", "w4a8", "w4afp8", "awq", "gptq", "nvfp4", "mxfp4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One accelerator product. ``memory_gib`` is what the driver reports as total, in GiB a device."""

    product: str
    """Canonical name: the product label's value where one exists (NVIDIA-H100-80GB-HBM3, MI300X, Ascend910B)."""
    aliases: tuple[str, ...]
    """Other spellings that labels and users write."""
    vendor: str
    architecture: str
    """sm80, sm90, sm100, gfx942, gfx950, ascend910b, ascend910c …"""
    memory_gib: float
    compute_major: int | None
    """Major CUDA compute capability; None for other vendors."""
    devices_per_node: int
    """Devices of the usual node, for pools that scale from zero and for suggestions."""
    precisions: tuple[Precision, ...]
    """Weight precisions that run natively in SGLang."""
    kv_precisions: tuple[Precision, ...]
    labels: tuple[Mapping[str, str], ...]
    """Label sets, any of which identifies the product on a node, by its first key; values may be shell patterns."""
    source: str
    host_architecture: str = "amd64"
    """kubernetes.io/arch of the usual host, for pools that scale from zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What the devices of one architecture run natively; products take it over unless they say otherwise."""

    name: str
    precisions: tuple[Precision, ...]
    """Weight precisions, best first."""
    kv_precisions: tuple[Precision, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedDevices:
    """How a vendor's DRA driver describes devices in ResourceSlices."""

    driver: str
    type_attribute: str
    whole_types: tuple[str, ...]
    """Values of that attribute that mean a whole device; any other is a part or a pass-through."""
    product_attributes: Mapping[str, str]
    """Attributes that name the product, in order of trust, and the node label whose values are spelled alike."""
    driver_attribute: str
    memory_capacity: str
    device_class: str
    """The DeviceClass that the driver's installer makes."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What all accelerators of one vendor share."""

    name: str
    resources: tuple[str, ...]
    """Extended resources that count devices, in order of trust (huawei.com/Ascend910, huawei.com/npu …)."""
    product_labels: tuple[str, ...]
    """Node labels that name the product, in order of trust; the first that identified a node pins the pods."""
    weak_labels: tuple[str, ...]
    """Those of them that say nothing where the catalogue does not know their value."""
    synonyms: Mapping[str, str]
    """Label keys whose values are spelled as another key's, under which the catalogue lists them."""
    values_in_keys: bool
    """The labeller writes ``KEY.VALUE=count`` as well as ``KEY=VALUE``."""
    autoscaled: Mapping[str, tuple[str, ...]]
    """A label that an autoscaler puts on its nodes, and the product labels that it knows: these pin pods there."""
    memory_labels: tuple[str, ...]
    """Node labels with the memory of a device: MiB as a plain number or with MiB, GiB with G or Gi."""
    count_labels: tuple[str, ...]
    """Node labels with the number of devices, which must agree with allocatable."""
    compute_labels: tuple[str, ...]
    """Node labels with the major and the minor compute capability, which must agree with the product's."""
    driver_labels: tuple[str, ...]
    """Node labels with the driver's version; the part before the first dot counts."""
    present_labels: Mapping[str, tuple[str, ...]]
    """Labels and shell patterns of their values that prove accelerators of this vendor without naming a product."""
    pci_labels: tuple[str, ...]
    """The same by Node Feature Discovery, value "true"; they pin pods where the user names the product."""
    refused_labels: Mapping[str, tuple[str, ...]]
    """Labels and shell patterns of their values (``!`` in front: every value but it) that tell of devices which
    are not whole: shared, sliced, partitioned or virtual."""
    refused_resources: tuple[str, ...]
    """Shell patterns of extended resources that tell the same."""
    most_devices: int
    """More than any server carries: a higher count means shared or partitioned devices."""
    published: PublishedDevices | None
    """None: the vendor has no DRA driver."""
    own_network: bool
    """The accelerators reach other nodes by ports of their own, whatever the pods see."""
    taints: tuple[str, ...]
    """Keys of the taints that the vendor's own installers set: tolerated without asking."""
    collective: Literal["nccl", "rccl", "hccl"]
    device: str
    """SGLang's --device value: cuda (also on ROCm), npu."""
    env: Mapping[str, str]
    """Constant environment of the collective library and the engine."""
    interface_env: tuple[str, ...]
    """Variables that name the network interface of the pod's IP (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME …)."""
    address_env: tuple[str, ...]
    """Variables that hold the pod's IP (HCCL_IF_IP)."""
    setup_scripts: tuple[str, ...]
    """Shell files sourced before the engine where they exist (CANN's and ATB's set_env.sh)."""
    mounts: tuple[Mount, ...]
    install_hint: str
    """What to install when the nodes carry no labels of this vendor."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """The sizes in a model's config.json that decide weights, cache and splits.

    Attention is latent (DeepSeek-V2 and later: ``kv_lora_rank`` and the head sizes) or grouped-query (the distilled
    Qwen and Llama models: ``kv_heads`` and ``head_dim``); a model has the figures of one of them.

    Raises:
        ValueError: the figures are of neither kind, or of both.
    """

    hidden: int
    layers: int
    dense_layers: int
    """Layers without experts."""
    heads: int
    dense_intermediate: int
    vocab: int
    max_context: int
    weight_block: int = 128
    """Edge of the FP8 scale blocks."""
    q_lora_rank: int | None = None
    """None: queries are not compressed (DeepSeek-V2-Lite)."""
    kv_lora_rank: int | None = None
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    moe_intermediate: int = 0
    routed_experts: int = 0
    shared_experts: int = 0
    mtp_layers: int = 0
    index_heads: int | None = None
    """Heads of the sparse attention's indexer (DeepSeek-V3.2); None: attention is dense."""
    index_head_dim: int = 0
    kv_heads: int | None = None
    head_dim: int = 0
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        """One kind of attention, complete."""
        latent = (self.kv_lora_rank, self.qk_nope_head_dim, self.qk_rope_head_dim, self.v_head_dim)
        grouped = (self.kv_heads, self.head_dim)
        if not (all(latent) and not any(grouped)) and not (all(grouped) and not any(latent)):
            raise ValueError(
                "needs either kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim and v_head_dim (latent attention), "
                "or kv_heads and head_dim (grouped-query attention)"
            )
        if self.dense_layers < self.layers and not (self.routed_experts and self.moe_intermediate):
            raise ValueError("layers with experts need routed_experts and moe_intermediate")
        if self.index_heads is not None and not (self.index_head_dim and self.q_lora_rank):
            raise ValueError("index_heads needs index_head_dim and q_lora_rank")

    @property
    def latent(self) -> bool:
        """Whether attention keeps one latent for all heads (MLA)."""
        return self.kv_lora_rank is not None

    @property
    def sparse(self) -> bool:
        """Whether attention is DeepSeek-V3.2's sparse one (DSA)."""
        return self.index_heads is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """How the numbers of one matrix are stored."""

    bits: int
    """Of one weight."""
    scale_bytes: float = 0.0
    """Bytes that go with each block of weights: scales and zero points."""
    rows: int = 0
    """Output features that share a scale; 0: no scales."""
    columns: int = 0
    """Input features that share a scale; 0: a whole row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightLayout:
    """A layout of published weights: which part is stored how, and which devices serve it."""

    name: str
    precision: Precision
    attention: WeightFormat
    """Query, latent and output projections."""
    latent: WeightFormat
    """kv_b_proj, which makes keys and values out of the latent."""
    absorbed: WeightFormat
    """The copy of kv_b_proj that the engine absorbs into queries and outputs."""
    absorbed_amd: WeightFormat
    """The same on AMD devices."""
    indexer: WeightFormat
    """Queries of sparse attention's indexer."""
    dense: WeightFormat
    shared: WeightFormat
    routed: WeightFormat
    mtp_attention: WeightFormat
    mtp_experts: WeightFormat
    block: int | None
    """Edge of the blocks that each rank's slice of a feed-forward layer must hold whole; None: any slice."""
    architectures: tuple[str, ...]
    """Device architectures on which SGLang serves it; empty: what the accelerators' own precisions say. Other engines
    list layouts themselves (``EngineFacts.served``)."""
    engines: tuple[str, ...] = ()
    """The only engines that load it; empty: every engine that lists it, and SGLang."""
    arguments: tuple[str, ...]
    """SGLang's arguments that it needs beyond what the checkpoint's own configuration says."""
    source: str

    def __hash__(self) -> int:
        """Footprints are kept by layout, and the name tells it."""
        return hash(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Published weights of a model in one precision."""

    precision: Precision
    repository: str
    hub: Literal["hf", "modelscope"] = "hf"
    """Where the repository lies."""
    revision: str
    """Commit, or the hub's default branch where none is pinned."""
    layout: str
    """Name of a WeightLayout."""
    size_gib: float
    mtp: bool = True
    """Whether the multi-token-prediction layer is among them, for models that have one."""
    source: str

    @property
    def publisher(self) -> str:
        """The account that published it."""
        return self.repository.partition("/")[0]

    @property
    def address(self) -> str:
        """The repository as ``spec.weights.source`` names it."""
        return f"{self.hub}://{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsers:
    """SGLang's parsers and chat template for a model; None where the engine's default is right."""

    reasoning: str | None
    tool_call: str | None
    chat_template: str | None
    """A template in the engine's image, relative to EngineRelease.source_tree; None = the tokenizer's own."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be served."""

    name: str
    """Catalogue id, e.g. deepseek-v3-0324."""
    repository: str
    aliases: tuple[str, ...]
    dimensions: Dimensions
    checkpoints: Mapping[str, Checkpoint]
    """By precision; a precision without published weights of the model's own publisher is absent."""
    variants: tuple[Checkpoint, ...] = ()
    """Quantised weights of other publishers, best first; used only with spec.weights.allowVariant."""
    bf16_size_gib: float
    """Size of a BF16 cast, for sources that the user brings."""
    parsers: Parsers
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRelease:
    """One engine version for one vendor and one or more architectures."""

    engine: str
    vendor: str
    architectures: tuple[str, ...]
    version: str
    image: str
    verified: bool
    """False: the tag follows the publisher's scheme but was not seen."""
    source: str
    source_tree: str = ""
    """Directory of the engine's source tree inside the image; chat templates are relative to it."""
    aiter_fraction: float = 1.0
    """What this version multiplies even an explicit memory fraction by under AITER attention; 1 where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedModel:
    """A model that is known and not planned, with the reason and what to use."""

    repositories: tuple[str, ...]
    """Names and repositories; shell patterns."""
    reason: str
    instead: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything, loaded once and validated."""

    models: Mapping[str, Model]
    """By catalogue id."""
    accelerators: tuple[Accelerator, ...]
    architectures: Mapping[str, Architecture]
    """By name."""
    vendors: Mapping[str, Vendor]
    engines: Mapping[str, EngineFacts]
    """By name."""
    releases: tuple[EngineRelease, ...]
    """Newest first within (engine, vendor, architecture)."""
    memory_tiers: Mapping[str, tuple[MemoryTier, ...]]
    """By vendor family: "default" and "ascend"."""
    memory_rules: MemoryRules
    memory_versions: tuple[MemoryVersion, ...]
    """Oldest first."""
    vllm_memory: VllmMemoryRules
    layouts: Mapping[str, WeightLayout]
    """By name."""
    refused_models: tuple[RefusedModel, ...]
    rdma_resources: tuple[str, ...]
    """Names of RDMA device resources that are recognised in allocatable; shell patterns."""
    shared_rdma_resources: tuple[str, ...]
    """Those of them of which one unit gives a pod all the node's adapters."""
    fabrics: Mapping[str, FabricPreset] = field(default_factory=dict)
    """Kinds of networks by name, in the order in which they are tried."""
