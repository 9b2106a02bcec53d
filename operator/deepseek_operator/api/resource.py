"""The ``DeepSeekDeployment`` spec: what a user may write, field by field.

Only fields whose behaviour exists are here; each one changes what is planned, rendered or decided, or is
refused (``tests/unit/test_every_field_matters.py`` mutates every leaf of the schema). Floats and unbounded
strings or lists are absent on purpose: they break server-side apply, CEL cost estimates, or both.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.base import Model
from deepseek_operator.api.names import MAX_REPLICAS
from deepseek_operator.api.operation import Recovery, Rollout, Scheduling, Startup
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.words import LabelKey, LabelValue, ObjectName, Word

VolumePath = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^/].*$")]

Precision = Literal["auto", "fp8", "bf16", "int8", "w4a8", "w4afp8", "awq", "gptq", "nvfp4", "mxfp4"]
KVCachePrecision = Literal["auto", "bf16", "fp8"]
EngineName = Literal["sglang", "vllm", "lmdeploy", "tensorrt-llm", "deepseek-infer"]
Backend = Literal["mp", "ray"]
Vendor = Literal["nvidia", "amd", "ascend"]
FabricMode = Literal["pod", "host"]


class Context(Model):
    """How long and how many requests the engine must be able to hold."""

    max_length: Annotated[int, Field(ge=1024, le=1_048_576)] | None = None
    """Longest context in tokens. The plan is refused when the KV cache cannot hold it. Default: as long as memory
    allows, at most the model's own limit."""
    max_running_requests: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Most requests decoded at once by a group. Default: the engine's, by memory."""
    kv_cache_precision: KVCachePrecision = "auto"
    """Precision of the KV cache. auto keeps the engine's default for the weights."""


class EnvVar(Model):
    """One environment variable of the engine container."""

    name: Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name. Variables the operator owns (rendezvous, ranks, interfaces) are refused."""
    value: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Literal value, taken as it is: no expansion."""


class EngineFeatures(Model):
    """Optional abilities of the engine; each is checked against the plan."""

    mtp: bool = False
    """Speculative decoding with the model's own multi-token-prediction layer."""
    torch_compile: bool = False
    """torch.compile of the decode path; for small batches."""
    deepep: bool = False
    """Spreads whole experts over all ranks and moves tokens to them by DeepEP, for large batches on several nodes.
    Expert parallelism is then as wide as tensor parallelism, and FP8 may use more than 16 ranks."""
    redundant_experts: Annotated[int, Field(ge=0, le=256)] = 0
    """Copies of busy experts that the engine's balancer (EPLB) places; only with deepep."""


class Engine(Model):
    """The inference engine, its version and its image."""

    name: EngineName = "sglang"
    """Inference engine."""
    version: Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9A-Za-z]+)*$")] | None = None
    """Engine version out of the catalogue. Default: the catalogue's for the vendor and architecture."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Image to run instead of the catalogue's. Command lines stay those of `version`."""
    backend: Backend | None = None
    """What joins vLLM's ranks; for other engines it must be left out. mp: vLLM's own processes over nodes. ray: a Ray
    cluster inside the group, which needs an `image` with Ray. Default: mp."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=8)] = []
    """Names of Secrets for pulling the image."""
    args: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]], Field(max_length=64)] = []
    """Further engine arguments, added last. Arguments that the operator owns are refused. Unknown flags and values are
    refused too; with an image of your own they are a warning."""
    env: Annotated[list[EnvVar], Field(max_length=64)] = []
    """Further environment variables of the engine container."""
    features: EngineFeatures = EngineFeatures()
    """Optional abilities."""


class Hardware(Model):
    """Narrows the choice of nodes; never needed."""

    vendor: Vendor | None = None
    """Accelerator vendor."""
    product: Word | None = None
    """Accelerator product, as the catalogue or the node label spells it, e.g. NVIDIA-H100-80GB-HBM3 or H100."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] = {}
    """Labels that the nodes must carry; also rendered into the pods."""
    accelerators_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """Accelerators to use on each node. Default: all of them when a group spans nodes."""
    allow_tight: bool = False
    """Accepts memory that is too tight by the usual measure, with a warning: weights that nearly fill a device, or a
    KV cache of fewer than 32768 tokens. Without it such a plan is refused with the figures."""


class Parallelism(Model):
    """The split of the model. What is not set is completed; what is set is checked, never overruled."""

    nodes: Annotated[int, Field(ge=1, le=64)] | None = None
    """Nodes of one group."""
    tensor: Annotated[int, Field(ge=1, le=512)] | None = None
    """Tensor-parallel size."""
    pipeline: Annotated[int, Field(ge=1, le=64)] | None = None
    """Pipeline-parallel size."""
    attention_data: Annotated[int, Field(ge=1, le=512)] | None = None
    """Data-parallel size of attention, inside the tensor-parallel size."""
    expert: Annotated[int, Field(ge=1, le=512)] | None = None
    """Expert-parallel size, inside the tensor-parallel size."""


class RDMA(Model):
    """The RDMA device resource of the nodes."""

    resource: Annotated[str, StringConstraints(max_length=317, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9_.-]+$")] | None = None
    """Resource to request, e.g. rdma/hca. Default: what the nodes advertise."""
    count: Annotated[int, Field(ge=1, le=64)] | None = None
    """How many of it each pod requests. Default: 1 for shared resources, all of the node's otherwise."""


class Fabric(Model):
    """What carries the traffic between ranks."""

    mode: FabricMode = "pod"
    """pod: the pod network (with RDMA devices where nodes advertise them). host: the node's network; must be
    allowed by the operator's configuration."""
    interface: Annotated[str, StringConstraints(max_length=15, pattern=r"^[A-Za-z0-9_.:-]+$")] | None = None
    """Network interface for rendezvous and sockets. Default: the one that holds the pod's IP."""
    rdma: RDMA = RDMA()
    """RDMA devices."""
    preset: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """A kind of network of the catalogue, e.g. rdma, sr-iov, efa, erdma, gke-rdma, amd-nic, ascend, host-network or
    pod-network: it adds variables, annotations, mounts and requests to the pods. Default: the one that the nodes'
    resources and labels tell of."""
    preflight: bool = False
    """Before weights are fetched or loaded, all devices of a group add up one tensor: a network that does not carry the
    group is found first, and its bandwidth and transport stand in `status.groups[].fabric`."""


class SecretKey(Model):
    """A key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(max_length=253, pattern=r"^[-._A-Za-z0-9]+$")] = "token"
    """Key in the Secret."""


class ConfigMapKey(Model):
    """A key of a ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: Annotated[str, StringConstraints(max_length=253, pattern=r"^[-._A-Za-z0-9]+$")] = "config.json"
    """Key in the ConfigMap."""


class Weights(Model):
    """Where the weights come from and where they are kept."""

    source: (
        Annotated[str, StringConstraints(max_length=512, pattern=r"^(hf://|modelscope://|s3://|pvc://|path:///).+$")]
        | None
    ) = None
    """hf://org/name, modelscope://org/name, s3://bucket/prefix, pvc://claim/path, or path:///dir in a volume of
    podTemplate. Default: the model's own repository for the precision."""
    cache: Literal["auto", "node", "claim", "perRank", "ephemeral"] = "auto"
    """Where weights are kept that are fetched or converted. claim: the shared claim `claimName`. node: the directory
    that the operator's configuration names. perRank: a claim for each rank. ephemeral: the node's own disk, anew for
    every pod. auto: claim where `claimName` is set, else node where it is configured, else perRank."""
    claim_name: ObjectName | None = None
    """An existing claim that the operator fills, ReadWriteMany where a group spans nodes; several deployments may
    share it."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the claims of cache perRank. Default: the cluster's."""
    allow_variant: bool = False
    """Lets the operator use quantised weights that another publisher than the model's made, where the model's own
    publisher has none in the precision."""
    token_secret: SecretKey | None = None
    """Hub token; reaches only the container that fetches."""
    credentials_secret: ObjectName | None = None
    """Secret for an s3:// source, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where needed, AWS_ENDPOINT_URL
    and AWS_REGION; reaches only the container that fetches."""


class KeysSecret(Model):
    """Access keys of the API."""

    mode: Literal["generate", "none", "secret"] = "generate"
    """generate: a Secret `<name>-keys` is made once. none: the API is open to whom the network policy lets in.
    secret: use `secretName`."""
    secret_name: ObjectName | None = None
    """Secret with the keys `api-key` and `admin-key`; only with mode secret."""


class Peer(Model):
    """Pods that may call the API."""

    namespace_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=8)] = {}
    """Labels of namespaces; empty: this namespace."""
    pod_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=8)] = {}
    """Labels of pods; empty: all pods of the namespaces."""


class Access(Model):
    """Who may call the API, and with which keys. Changing it never restarts a group, keys excepted."""

    keys: KeysSecret = KeysSecret()
    """API keys."""
    sources: Annotated[list[Peer], Field(max_length=16, alias="from")] = []
    """Peers that may reach the API port. Default: the same namespace."""


class Prompts(Model):
    """Where the prompts of a batch are. Exactly one volume."""

    config_map: ObjectName | None = None
    """A ConfigMap."""
    persistent_volume_claim: ObjectName | None = None
    """An existing claim, ReadWriteMany or ReadOnlyMany where the group spans nodes."""
    path: VolumePath = "prompts.txt"
    """The file with one prompt a line: a key of the ConfigMap, or a path in the claim."""


class Answers(Model):
    """Where the answers of a batch go besides rank 0's log."""

    persistent_volume_claim: ObjectName
    """An existing claim, ReadWriteMany where the group spans nodes."""
    path: VolumePath = "answers.txt"
    """Path of the file in the claim. It is there once the batch has ended well, and replaces an older one."""


class Batch(Model):
    """Prompts that are answered once; the accelerators are free afterwards."""

    prompts: Prompts
    """The prompts, at most as many as `context.maxRunningRequests` (8 by default): they are answered together."""
    answers: Answers | None = None
    """A file for the answers. Default: rank 0's log alone."""
    max_new_tokens: Annotated[int, Field(ge=1, le=65_536)] = 200
    """Most tokens of an answer."""
    temperature: Annotated[str, StringConstraints(max_length=8, pattern=r"^[0-9](\.[0-9]{1,3})?$")] = "0.2"
    """Temperature of sampling, a decimal number; 0 takes the likeliest token."""


class Spec(Model):
    """What to serve. Only `model` is needed."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """A model of the catalogue: its id or its Hugging Face repository, e.g. deepseek-ai/DeepSeek-V3-0324. With
    `modelConfig` any name."""
    config_json: Annotated[ConfigMapKey | None, Field(alias="modelConfig")] = None
    """The config.json of a model of your own, of DeepSeek-V2's, V3's or V3.2's architecture; its weights are named in
    `weights.source`. It is read when the deployment is planned: a later change of the ConfigMap changes no group."""
    revision: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    """Revision of the repository: a commit, branch or tag."""
    served_name: Annotated[str, StringConstraints(max_length=253, pattern=r"^[!-9;-~]+$")] | None = None
    """Model name in the API. Default: the repository's name."""
    trust_remote_code: bool = False
    """Lets the engine run code that comes with the weights."""
    precision: Precision = "auto"
    """Precision of the weights. auto: the one the accelerators run natively. The quantised ones below bf16 come from
    other publishers: see weights.allowVariant."""
    context: Context = Context()
    """Context length and concurrency."""
    engine: Engine = Engine()
    """Inference engine."""
    hardware: Hardware = Hardware()
    """Narrows the choice of nodes."""
    parallelism: Parallelism = Parallelism()
    """The split of the model."""
    fabric: Fabric = Fabric()
    """Traffic between ranks."""
    weights: Weights = Weights()
    """Weights."""
    batch: Batch | None = None
    """Prompts to answer once, with engine deepseek-infer: the group runs as a Job and is Completed at its end. Without
    it that engine waits for prompts on rank 0's terminal."""
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Number of groups; each serves the whole model."""
    suspend: bool = False
    """Frees the accelerators and keeps the configuration."""
    restarted_at: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9TZ:.+-]+$")] | None = None
    """Any new value (a time stamp) restarts the groups, one at a time."""
    rollout: Rollout = Rollout()
    """How a changed spec reaches the groups."""
    recovery: Recovery = Recovery()
    """What counts as a failure, and how often a group is restarted."""
    startup: Startup = Startup()
    """How long a start may take."""
    access: Access = Access()
    """Who may call the API."""
    scheduling: Scheduling = Scheduling()
    """How the pods are scheduled."""
    pod_template: PodTemplate = PodTemplate()
    """Additions to the pods."""
