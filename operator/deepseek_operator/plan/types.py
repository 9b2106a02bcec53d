"""The vocabulary of planning: nodes in, a Plan or a Refusal out. No behaviour beyond what a record implies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from deepseek_operator.api.problems import Problem

Verdict = Literal["chosen", "feasible", "refused"]
REMOTE: Final = ("hf://", "modelscope://", "s3://")
"""Sources of weights that are fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A node's taint."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What planning needs of a Node object, and no more: the cache keeps thousands of these."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Mapping[str, int]
    """Extended resources as whole numbers, cpu in millicores, memory in bytes."""
    ready: bool
    unschedulable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDevices:
    """Devices of one kind that a DRA driver publishes for a node in ResourceSlices (resource.k8s.io)."""

    vendor: str
    driver: str
    products: tuple[tuple[str, str], ...]
    """What names the product, most trusted first: the label whose spelling it has, and the value."""
    count: int
    """Whole devices that may be allocated."""
    parts: int
    """Devices that do not count: partitions, pass-through, shared or tainted ones."""
    memory_gib: float | None
    """Of one device; None: not told."""
    driver_version: str | None
    """Major version."""
    resource: str | None
    """Extended resource that a DeviceClass maps to them (KEP-5004); None: only ResourceClaims reach them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """What of a StorageClass tells how fast its volumes are."""

    name: str
    provisioner: str
    parameters: Mapping[str, str]
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What else about the cluster and its administrator decides a plan."""

    default_storage_class: bool | None = None
    """None: not known (offline)."""
    node_path: str | None = None
    allow_host_network: bool = False
    allow_host_path: bool = False
    tool_image: str = ""
    """The operator's own image, for containers that prepare weights."""
    storage_classes: Mapping[str, StorageClass] = field(default_factory=dict)
    """By name; empty where they are not known."""
    used: Mapping[str, int] = field(default_factory=dict)
    """Devices that pods of others request, by node; planned groups whose pods have no node yet included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareClass:
    """Nodes that are alike in everything a group cares about; a group never mixes classes."""

    vendor: str
    product: str
    architecture: str
    resource: str
    accelerators_per_node: int
    memory_gib: float
    host_architecture: str
    """kubernetes.io/arch: amd64 or arm64."""
    driver: str | None
    """Driver major version where labels tell it."""
    rdma_resource: str | None
    rdma_count: int
    """How many of the RDMA resource a pod requests: 1 of a shared one, all of a node's otherwise."""
    extended: Mapping[str, int]
    """Further extended resources that every node offers, with the least amount; RDMA among them."""
    node_labels: Mapping[str, str]
    """Labels that pin pods to the class; only those that an autoscaler can know."""
    tolerations: tuple[str, ...]
    """Keys of vendor taints present on the nodes."""
    cpu_millicores: int
    memory_bytes: int
    """Allocatable of the smallest node."""
    nodes: tuple[str, ...]
    """Names, sorted."""
    topology_key: str | None = None
    """Label whose value all nodes of a group must share (spec.scheduling.topologyKey)."""
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """With a topology key: its values and their nodes."""
    avoided: tuple[tuple[str, str], ...] = ()
    """Labels of nodes that share or partition their devices and that ``node_labels`` would let pods onto."""
    fabric: str = ""
    """Preset of the fabric that the nodes' labels tell of; pods are pinned to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedNode:
    """A node that does not count, and why, in a sentence with the remedy."""

    name: str
    reason: str
    message: str
    label: tuple[str, str] | None = None
    """The label that tells of parts of devices, where one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the cluster offers."""

    classes: tuple[HardwareClass, ...]
    skipped: tuple[SkippedNode, ...]
    unlabelled: tuple[Node, ...] = ()
    """Usable nodes whose product no label tells: for spec.hardware.product with .nodeSelector."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of the nodes in ``classes``, for spec.hardware.nodeSelector and spec.scheduling.topologyKey."""
    bearers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes that offer a resource, by resource, whether they count or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """The split of a model. World size = tensor x pipeline; attention_data and expert live inside tensor."""

    tensor: int
    pipeline: int = 1
    attention_data: int = 1
    expert: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSpread:
    """How experts are spread beyond the split."""

    deepep: bool = False
    """Whole experts on every rank, tokens moved by DeepEP; dense layers and the shared expert stay whole, too."""
    redundant: int = 0
    """Copies of routed experts in each layer, all ranks together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """Memory of the fullest device, GiB unless the name says otherwise (cli.md, `fit`)."""

    fits: bool
    free_gib: float
    """Free after the engine's communication is up, before weights."""
    mem_fraction: float
    """As the engine means it; SGLang: of free_gib, weights and KV together."""
    weights_gib: float
    kv_bytes_per_token: int
    kv_tokens: int
    kv_gib: float
    reserve_gib: float
    context_length: int
    """What is rendered: the smallest of model limit, KV tokens and the user's wish."""
    graph_max_batch: int
    chunked_prefill: int
    max_running_requests: int | None
    terms: Mapping[str, float]
    """GiB by term; the parts of the weights (attention, indexer, denseMlp, routedExperts, sharedExperts, router,
    embeddings, mtp, loading) sum to weights_gib, the others (activations, graphs, communication, requestPool, draft,
    attentionWorkspace) are what the reserve is for."""
    limited_by: str | None
    problems: tuple[Problem, ...] = ()
    longest_context: int = 0
    """The longest context that one request can have, whatever is rendered."""
    requests_4k: int = 0
    """Requests of 4,096 tokens that a group holds at once."""
    requests_32k: int = 0
    """The same of 32,768 tokens."""
    host_gib: float = 0.0
    """Host memory of one rank's process while it loads."""
    disk_gib: float = 0.0
    """The checkpoint on disk."""
    modelled: bool = True
    """False: the engine has no memory model. Weights are counted; fraction, cache and sizes are left to the engine's
    own defaults, and their figures here are 0 and mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Engine, version and image of a plan."""

    name: str
    version: str
    image: str
    image_verified: bool
    image_source: str
    api: bool = True
    """Rank 0 serves an API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricPlan:
    """What carries the traffic between ranks."""

    mode: Literal["pod", "host"]
    collective: Literal["nccl", "rccl", "hccl"]
    interface: str | None
    rdma_resource: str | None
    rdma_count: int
    carrier: str
    """rdma, ascend (the NPUs' own network), host, or tcp: what tensor parallelism across nodes rests on.

    node: the group stays inside one.
    """
    preset: str = ""
    """Name in catalog/fabrics/presets.yaml; empty: nothing is added to the pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionStep:
    """One rewriting of a checkpoint into a directory beside it."""

    tool: Literal["cast", "shard"]
    layout: str
    """What comes out: the name of a WeightLayout, or mp<N> for the DeepSeek-Infer demo."""
    size_gib: float
    path: str
    """Directory of the result, as the containers see it."""
    model_parallel: int | None = None
    """Of shard: files, one a rank."""
    experts: int | None = None
    """Of shard: routed experts of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How the checkpoint that is had becomes the one that the engine reads; each step reads the one before it."""

    source_layout: str
    source_gib: float
    source_path: str
    """Directory of the checkpoint that is had."""
    steps: tuple[ConversionStep, ...]


WeightsVolume = Literal["claim", "node", "shared", "perRank", "ephemeral", "mounted"]
"""claim and mounted hold weights already; the operator fills the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsPlan:
    """Where weights come from and where they lie."""

    source: str
    """hf://…, modelscope://…, s3://…, pvc://claim/path or path:///dir."""
    repository: str | None
    revision: str | None
    layout: str
    """What the engine reads."""
    size_gib: float
    """Of what the engine reads."""
    volume: WeightsVolume
    claim: str | None
    """volume claim and shared: the user's claim. node: the claim that the operator makes."""
    node_path: str | None
    """Directory of the node, with volume node."""
    path: str
    """Directory of the weights inside the container, for --model-path."""
    conversion: Conversion | None = None
    source_claim: str | None = None
    """The user's claim that a conversion reads."""
    storage_class: str | None = None
    """Of the claim of each rank; None: the default."""
    tool_image: str = ""
    """The operator's image, whose tool fetches, converts and verifies; empty where an older version planned."""

    @property
    def fetched(self) -> bool:
        """Whether the operator brings the checkpoint from elsewhere."""
        return self.source.startswith(REMOTE)

    @property
    def prepared(self) -> bool:
        """Whether the operator writes to the volume."""
        return self.fetched or self.conversion is not None

    @property
    def source_path(self) -> str:
        """Where the checkpoint lies that the source holds."""
        return self.conversion.source_path if self.conversion else self.path

    @property
    def disk_gib(self) -> float:
        """What the operator's volume must hold: the checkpoint, where it is fetched, and every result."""
        if self.conversion is None:
            return self.size_gib if self.fetched else 0.0
        fetched = self.conversion.source_gib if self.fetched else 0.0
        return fetched + sum(step.size_gib for step in self.conversion.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCache:
    """A directory of each node for compiled kernels."""

    folder: str
    """In its volume."""
    claim: str | None = None
    """Claim of its own; None: it lies in the volume of the weights."""
    node_path: str | None = None
    """Directory of the node behind that claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Resources of one pod."""

    accelerators: int
    cpu_millicores: int
    memory_bytes: int
    """Shared memory included."""
    shm_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One line of the explanation: a class considered, and what became of it."""

    product: str
    nodes_per_group: int
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that engines and render need; computed once a revision, stored with it, never re-derived."""

    model: str
    served_name: str
    precision: str
    hardware: HardwareClass
    nodes_per_group: int
    accelerators_per_node: int
    """Devices a pod requests."""
    parallelism: Parallelism
    engine: EngineChoice
    weights: WeightsPlan
    memory: MemoryFit
    fabric: FabricPlan
    requests: Requests
    mtp: bool
    torch_compile: bool
    kv_cache_precision: str
    """auto, bf16 or fp8."""
    startup_seconds: int
    """Budget from start to serving: size over rate, at least an hour."""
    considered: tuple[Candidate, ...]
    warnings: tuple[str, ...]
    spread: ExpertSpread = ExpertSpread()
    kernels: KernelCache | None = None
    """Where compiled kernels are kept; None: nowhere."""

    @property
    def world_size(self) -> int:
        """Devices of one group."""
        return self.parallelism.tensor * self.parallelism.pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No plan: the problems, best remedy first, and what was considered."""

    problems: tuple[Problem, ...]
    considered: tuple[Candidate, ...]
    warnings: tuple[str, ...] = ()
    waits_for_cluster: bool
    """True: nodes, labels or volumes may still appear (Planned=False).

    False: only the user can help (Accepted=False).
    """
