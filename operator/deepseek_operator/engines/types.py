"""What an engine is asked, and what render gets of the answers: commands, environment, ports, probes as plain data.

An engine is one module with one object that has the methods of ``Engine``, one template under ``launch/`` and one file
under ``catalog/engines/``; ``select`` lists the objects. Two of its sides lie below this layer, because planning needs
them: what it serves and how it may be split is data (``catalog.engine_types``), and its memory model, where it has one,
is a module of ``plan`` (``plan.memory.memory_model``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.fabric_types import FabricPreset, Mount
from deepseek_operator.catalog.types import Catalog, Vendor
from deepseek_operator.plan.types import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an engine starts from."""

    plan: Plan
    spec: Spec
    catalog: Catalog
    leader: str
    """DNS name of rank 0 of the group whose commands are shown; scripts read LEADER_ADDRESS instead."""

    @property
    def vendor(self) -> Vendor:
        """Of the accelerators."""
        return self.catalog.vendors[self.plan.hardware.vendor]

    @property
    def preset(self) -> FabricPreset | None:
        """Of the fabric; None where nothing is added to the pods."""
        return self.catalog.fabrics.get(self.plan.fabric.preset)

    @property
    def spans_nodes(self) -> bool:
        """Whether the group has workers."""
        return self.plan.nodes_per_group > 1

    @property
    def keys(self) -> bool:
        """Whether API_KEY and ADMIN_API_KEY are in the environment."""
        return self.spec.access.keys.mode != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What the script finally executes, for people, tests and ``plan``.

    Rank and leader's address are written as in a running pod of group 0; keys appear as ``$API_KEY``.
    """

    leader: tuple[str, ...]
    worker: tuple[str, ...] = ()
    """Rank 1's; empty for a group of one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The engine's part of the launch script: a template that sets the array ``command`` for each rank.

    It may define the function ``start``, which runs after the rank barrier and else executes the command.
    """

    template: str
    """File under ``launch/``."""
    values: Mapping[str, Any] = field(default_factory=dict)
    ssh: bool = False
    """One rank starts the others over ssh: the pods get a key pair (``render.secret.ssh_secret``), and may run sshd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the probe of a rank sees that it works."""

    path: str
    """Asked of the leader's API port; empty: there is no API, and the leader is judged by its processes, too."""
    processes: str
    """Regular expression found in the command lines of a rank's processes, one a device."""
    count: int
    """How many of them a worker has."""
    timeout_seconds: int
    period_seconds: int


class Engine(Protocol):
    """One inference engine. Everything is a pure function of the start."""

    @property
    def name(self) -> str:
        """As in spec.engine.name."""

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        """What of a spec the engine cannot do with a plan; empty when nothing is wrong."""

    def command(self, start: Start) -> Commands:
        """What the ranks execute."""

    def body(self, start: Start) -> Body:
        """How the launch script comes to that."""

    def env(self, start: Start) -> Mapping[str, str]:
        """Constant environment, the vendor's and fabric's included."""

    def ports(self, start: Start) -> Mapping[str, int]:
        """Ports beside the API's and the barrier's, by name; outside NodePort and ephemeral ranges."""

    def health(self, start: Start) -> Health:
        """What the probes ask."""

    def grace_seconds(self, start: Start) -> int:
        """How long a rank may take to end."""

    def caches(self) -> tuple[str, ...]:
        """Directories of the container that need a scratch volume."""

    def metrics(self, page: str) -> ReportedMemory | None:
        """The memory figures of the leader's Prometheus page; None where it has no number of KV tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedMemory:
    """Figures of the leader's page; None: not on it."""

    kv_tokens: int | None
    """Of the rank with the fewest."""
    weights_gib: float | None
    """Of the rank with the most, without a draft model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How every rank of a group starts, and how one sees that it works.

    One pod template serves all ranks: ``script`` branches on NODE_RANK. ``leader_command`` and
    ``worker_command`` are what the script finally executes, with rank, leader address and keys already
    written as in a running pod where they are constant; they are for people, tests and `plan`.
    """

    script: str
    """Shell text for ``/bin/bash -c``; complete, every value quoted."""
    leader_command: tuple[str, ...]
    worker_command: tuple[str, ...]
    """Rank 1's; further workers differ in --node-rank only. Empty for a group of one node."""
    env: Mapping[str, str]
    """Constant environment of the engine container."""
    ports: Mapping[str, int]
    """Declared container ports by name (http, rendezvous, barrier), outside NodePort and ephemeral ranges."""
    startup_probe: tuple[str, ...]
    readiness_probe: tuple[str, ...]
    """Exec commands that branch on the rank."""
    probe_timeout_seconds: int
    probe_period_seconds: int
    startup_seconds: int
    termination_grace_seconds: int
    mounts: tuple[Mount, ...]
    """Directories of the node for drivers and the fabric, where the vendor's runtime does not bring them."""
    writable: tuple[str, ...]
    """Directories of the container that need a scratch volume (caches)."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """That the fabric needs on the pods."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """That the fabric needs beside the devices, as request and limit."""
    preflight: str | None = None
    """Shell text like ``script``, for a container before all others; None: not asked for."""
    ssh: bool = False
    """Whether the pods have the key pair of the deployment, and what sshd needs."""
