"""What the catalogue knows, as frozen records; the YAML beside this module is where each figure has its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp8", "bf16"]


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
class Mount:
    """A directory, file or device of the node that the engine container needs."""

    host_path: str
    container_path: str
    type: str
    """hostPath type: Directory, File, CharDevice, or "" for unchecked."""


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
    """The sizes in a model's config.json that decide weights, cache and splits."""

    hidden: int
    layers: int
    dense_layers: int
    heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    dense_intermediate: int
    moe_intermediate: int
    routed_experts: int
    shared_experts: int
    vocab: int
    max_context: int
    mtp_layers: int
    weight_block: int
    """Edge of the FP8 scale blocks; 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Published weights of a model in one precision."""

    precision: Precision
    repository: str
    revision: str
    """Commit, or "main" where none is pinned."""
    layout: str
    """fp8-block128 or bf16."""
    size_gib: float
    source: str


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
    bf16_size_gib: float
    """Size of a BF16 cast, for sources that the user brings."""
    parsers: Parsers
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTier:
    """SGLang's defaults by device memory (memory_hook.py): the first tier whose ``below_mib`` exceeds the device."""

    below_mib: int
    chunked_prefill: int
    graph_max_batch_small: int
    """tensor parallel < 4."""
    graph_max_batch: int
    """tensor parallel ≥ 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRelease:
    """One engine version for one vendor and one or more architectures."""

    engine: str
    vendor: str
    architectures: tuple[str, ...]
    version: str
    image: str
    source_tree: str
    """Directory of the engine's source tree inside the image; chat templates are relative to it."""
    aiter_fraction: float
    """What this version multiplies even an explicit memory fraction by under AITER attention; 1 where it does not."""
    verified: bool
    """False: the tag follows the publisher's scheme but was not seen."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRules:
    """How SGLang uses the memory that weights and KV cache leave; MiB unless the name says otherwise."""

    base_mib: float
    per_chunk_token_mib: float
    smallest_chunk: int
    """Tokens that the activation term counts at least."""
    per_device_mib: float
    """For each device of the world size."""
    per_graph_batch_mib: float
    per_attention_rank_mib: float
    """For each sequence of the largest graph and each attention-data rank."""
    per_attention_rank_large_mib: float
    """More of that above ``large_graph_batch``."""
    large_graph_batch: int
    prefill_graph_mib: float
    floor_mib: float
    """Least reserve on devices larger than ``floor_above_mib``."""
    floor_above_mib: float
    mtp_mib: float
    communication_gib: Mapping[str, float]
    """By vendor: device memory that is gone before weights load, on one node."""
    communication_nodes_gib: Mapping[str, float]
    """By vendor: the same when a group spans nodes."""
    weights_refused_share: float
    """Weights above this share of a device are refused."""
    weights_warned_share: float
    triton_splits: Mapping[str, int]
    """Architectures that run DeepSeek's attention on Triton, with the most KV splits of its decode kernel."""
    triton_fallback_splits: Mapping[str, int]
    """Architectures that do so only where AITER does not take the heads of a rank."""
    aiter_heads: tuple[int, ...]
    """Heads a rank that AITER takes."""
    page_sizes: Mapping[str, int]
    """KV page in tokens by architecture, where it is not 1."""
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
    releases: tuple[EngineRelease, ...]
    """Newest first within (engine, vendor, architecture)."""
    memory_tiers: Mapping[str, tuple[MemoryTier, ...]]
    """By vendor family: "default" and "ascend"."""
    memory_rules: MemoryRules
    rdma_resources: tuple[str, ...]
    """Names of RDMA device resources that are recognised in allocatable; shell patterns."""
    shared_rdma_resources: tuple[str, ...]
    """Those of them of which one unit gives a pod all the node's adapters."""
