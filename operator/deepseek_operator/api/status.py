"""The shape of ``status``: for the CRD's schema only; the dictionaries are written by ``lifecycle``.

Every string and list is bounded well above what is written, because the API server refuses a whole status
for one value beyond its bound; the operator itself keeps status under 64 KiB.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.base import Model
from deepseek_operator.api.resource import Vendor
from deepseek_operator.api.words import Word

Reason = Annotated[str, StringConstraints(max_length=128)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Hash = Annotated[str, StringConstraints(max_length=64)]
Time = Annotated[str, StringConstraints(max_length=64), Field(json_schema_extra={"format": "date-time"})]

ConditionStatus = Literal["True", "False", "Unknown"]
Intent = Literal["Run", "Stop", "Remove"]
Stage = Literal[
    "Pending",
    "WaitingForNodes",
    "PullingImage",
    "FetchingWeights",
    "Rendezvous",
    "Loading",
    "Warming",
    "Serving",
    "Running",
    "Completed",
    "Draining",
    "BackingOff",
    "Suspended",
    "Failed",
]
WarmUpState = Literal["Pulling", "Failing", "Failed", "Pulled", "TimedOut"]
Verdict = Literal["chosen", "feasible", "refused"]

CONDITION_TYPES: Final = (
    "Accepted",
    "Planned",
    "WeightsReady",
    "GroupsReady",
    "Ready",
    "Available",
    "Reconciling",
    "Stalled",
    "FabricReady",
    "NetworkIsolated",
    "MemoryAsPlanned",
    "RuntimeSupported",
    "DevicesHealthy",
)
"""Every condition that the operator sets on all deployments; the CRD's default for status has them all as Unknown."""
BATCH_CONDITION_TYPES: Final = ("Completed",)
"""Those that only a deployment with a batch has."""


class Condition(Model):
    """A condition as in ``metav1.Condition``."""

    type: Reason
    """Type, e.g. Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: int | None = None
    """Generation of the object that the condition speaks of."""
    last_transition_time: Time
    """When `status` last changed."""
    reason: Reason
    """CamelCase word that scripts may match."""
    message: Text
    """What is the case, and what would help."""


class PlannedWeights(Model):
    """The checkpoint that the plan chose."""

    repository: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Repository or source."""
    revision: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Revision of the repository."""
    layout: Reason | None = None
    """Layout of the weights, e.g. fp8-block128."""
    size_gib: Annotated[int | None, Field(alias="sizeGiB")] = None
    """Size on disk in GiB (2^30)."""
    volume: Reason | None = None
    """Where they lie: node, shared, perRank, ephemeral, or the user's own claim or mounted."""
    claim: Word | None = None
    """Claim that holds them, where it is one for all ranks."""
    conversion: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Layouts from what is had to what the engine reads, where they differ."""


class Considered(Model):
    """One class of hardware that the plan looked at."""

    product: Word
    """Product as the nodes' labels spell it."""
    nodes_per_group: int | None = None
    """Nodes that a group would need."""
    verdict: Verdict
    """chosen, feasible or refused."""
    reason: Text
    """Why."""


class Plan(Model):
    """The plan of the current revision."""

    vendor: Vendor | None = None
    """Accelerator vendor."""
    product: Word | None = None
    """Accelerator product."""
    architecture: Reason | None = None
    """Accelerator architecture, e.g. sm90."""
    nodes_per_group: int | None = None
    """Nodes of a group."""
    accelerators_per_node: int | None = None
    """Accelerators on each node."""
    tensor: int | None = None
    """Tensor-parallel size."""
    pipeline: int | None = None
    """Pipeline-parallel size."""
    attention_data: int | None = None
    """Data-parallel size of attention."""
    expert: int | None = None
    """Expert-parallel size."""
    precision: Reason | None = None
    """Precision of the weights."""
    engine: Reason | None = None
    """Inference engine."""
    engine_version: Reason | None = None
    """Version of the engine that the command lines are made for."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Image of the engine container."""
    collective: Reason | None = None
    """Collective library: nccl, rccl or hccl."""
    context_length: int | None = None
    """Longest context in tokens."""
    kv_tokens: int | None = None
    """Tokens that the KV cache is expected to hold."""
    mem_fraction: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Memory fraction given to the engine, a decimal number."""
    weights: PlannedWeights | None = None
    """Weights."""
    considered: Annotated[list[Considered], Field(max_length=64)] | None = None
    """Classes of hardware looked at, with the verdict and the reason."""
    warnings: Annotated[list[Text], Field(max_length=32)] | None = None
    """What works but could be better."""


class Member(Model):
    """One rank of a group."""

    rank: int
    """Rank: the index of the pod."""
    uid: Hash | None = None
    """UID of the pod."""
    node: Word | None = None
    """Node of the pod."""


class Incident(Model):
    """One failure of a group."""

    time: Time
    """When it was seen."""
    rank: int | None = None
    """The rank that ended first."""
    pod: Word | None = None
    """Pod of that rank."""
    node: Word | None = None
    """Node of that pod."""
    reason: Reason
    """CamelCase reason."""
    exit_code: int | None = None
    """Exit code of the engine container."""
    signal: Reason | None = None
    """Signal that ended it, by its name, where the exit code tells of one."""
    ended_at: Time | None = None
    """When the engine ended, by its node's clock."""
    message: Text | None = None
    """The container's last words, or what was seen."""
    diagnosis: Reason | None = None
    """What the last words are known to mean."""
    remedy: Text | None = None
    """What would help."""
    node_trouble: Text | None = None
    """What was reported of the devices and the node of that rank then."""
    log: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=32)] | None = None
    """Last lines of the engine's log, without tokens and keys; of the latest incident only."""


class ReportedMemory(Model):
    """What the engine of an incarnation said about its memory."""

    incarnation: int
    """Start of the group that was asked."""
    kv_tokens: int | None = None
    """Tokens that the KV cache holds."""
    weights_gib: Annotated[str | None, StringConstraints(max_length=32), Field(alias="weightsGiB")] = None
    """Weights of a device in GiB (2^30), a decimal number."""
    unknown: Text | None = None
    """Why the engine could not be asked."""


class GroupFabric(Model):
    """What the preflight of an incarnation measured, the slowest of its ranks."""

    incarnation: int
    """Start of the group that was measured."""
    transport: Reason
    """Way between the devices as NCCL calls it, e.g. NET/IB/GDRDMA, NET/OFI, NET/Socket, SHM or P2P."""
    bus_bandwidth: Annotated[str | None, StringConstraints(max_length=32), Field(alias="busBandwidthGBps")] = None
    """Bus bandwidth of an all-reduce over all devices in GB/s (10^9 bytes), a decimal number."""
    ranks: int | None = None
    """Ranks that have reported."""


class WarmUp(Model):
    """The image of the revision that is to come, on the nodes of a group that still serves."""

    template_hash: Hash | None = None
    """Pod template of the revision that is to come."""
    since: Time | None = None
    """Since when it is pulled."""
    state: WarmUpState | None = None
    """Pulling; Failing: it cannot be pulled, and is tried again; Failed: for longer than spec.rollout.warmUpSeconds;
    Pulled; TimedOut: it is not waited for any more."""
    message: Text | None = None
    """How many nodes have it, and what keeps it from the others."""


class Progress(Model):
    """How far the weights of a group are prepared, all its ranks together."""

    phase: Reason
    """What is being done: fetch, cast, shard, verify or read (into memory)."""
    bytes_done: int | None = None
    """Bytes that are done."""
    bytes_total: int | None = None
    """Bytes in all."""
    bytes_per_second: int | None = None
    """Rate of the last minute."""
    seconds_left: int | None = None
    """Until the slowest rank is done, at its present rate."""


class Group(Model):
    """One group of ranks."""

    index: int
    """Index: the group's objects are named `<name>-g<index>`."""
    revision: Hash | None = None
    """Revision that the group runs."""
    template_hash: Hash | None = None
    """Hash of the pod template that the group runs."""
    incarnation: int | None = None
    """Counter of the group's starts."""
    intent: Intent | None = None
    """What the operator is doing with the group: Run, Stop or Remove."""
    stage: Stage | None = None
    """How far the group is."""
    since: Time | None = None
    """Since when it is in that stage."""
    message: Text | None = None
    """What the stage waits for, or progress where it is known."""
    members: Annotated[list[Member], Field(max_length=64)] | None = None
    """Ranks, their pods and nodes."""
    ready: bool | None = None
    """The leader is ready."""
    formed: bool | None = None
    """All ranks met at least once in this incarnation."""
    completed: Time | None = None
    """When the group's batch ended well; nothing starts it again but a changed spec."""
    restarts: int | None = None
    """Restarts counted against the budget."""
    stable_since: Time | None = None
    """Since when the group serves without an incident."""
    not_before: Time | None = None
    """The next start does not come before this time."""
    avoided_nodes: Annotated[list[Word], Field(max_length=4)] | None = None
    """Nodes where this group failed repeatedly; its pods stay away from them."""
    incidents: Annotated[list[Incident], Field(max_length=3)] | None = None
    """The last incidents."""
    progress: Progress | None = None
    """How far the weights are, while they are prepared."""
    memory: ReportedMemory | None = None
    """What the engine reported after the start, for condition MemoryAsPlanned."""
    fabric: GroupFabric | None = None
    """What the preflight measured, for condition FabricReady."""
    warm_up: WarmUp | None = None
    """While a revision with another image is to replace the group."""


class ForeignObject(Model):
    """An object of somebody else that holds a name of ours."""

    kind: Reason
    """Kind."""
    name: Word
    """Name."""


class Status(Model):
    """What the operator sees and does."""

    observed_generation: int | None = None
    """Generation of the spec that the operator last acted on; -1 before its first visit."""
    replicas: int | None = None
    """Groups that exist."""
    ready_replicas: int | None = None
    """Groups that serve."""
    updated_replicas: int | None = None
    """Groups of the current revision."""
    selector: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Label selector of the groups' leaders, for autoscalers."""
    current_revision: Hash | None = None
    """Revision that the spec asks for."""
    precision: Reason | None = None
    """Precision of the weights, for the printer column."""
    engine: Reason | None = None
    """Engine and version, for the printer column."""
    hardware: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Nodes and accelerators of a group, for the printer column."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Image of the engine container, for the printer column."""
    plan: Plan | None = None
    """The plan, with its reasons."""
    conditions: Annotated[list[Condition], Field(max_length=16)] | None = None
    """Conditions."""
    name_taken: ForeignObject | None = None
    """A foreign object that keeps one of ours from being made."""
    served_revisions: Annotated[list[Hash], Field(max_length=10)] | None = None
    """Revisions with which a group has served: their plan is not made anew."""
    groups: Annotated[list[Group], Field(max_length=128)] | None = None
    """Groups."""
