"""LMDeploy: command lines, environment, ports and probes from a plan.

Two shapes (0.18.0 cli/serve.py api_server). Without attention data parallelism rank 0 runs one server over a Ray
cluster that the group's ranks make themselves. With it every rank runs a server a device, each with a private Ray, and
LMDeploy's proxy hands requests out; it is a second process of rank 0, so the API is where every engine has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from deepseek_operator.api.names import API_PORT
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines.environment import environment
from deepseek_operator.engines.option import option
from deepseek_operator.engines.release import model_arguments_of
from deepseek_operator.engines.script import program
from deepseek_operator.engines.types import Body, Commands, Health, ReportedMemory, Start
from deepseek_operator.plan.types import Plan

GCS_PORT: Final = 6379
"""Ray's own default; the three are fixed so that a host port can keep two groups apart on the host's network."""
NODE_MANAGER_PORT: Final = 6380
OBJECT_MANAGER_PORT: Final = 6381
RENDEZVOUS_PORT: Final = 29555
"""torch's store; the port of LMDeploy's guide to data parallelism."""
SERVER_PORT: Final = 23333
"""LMDeploy's default; with data parallelism rank i of a node has the i-th port from here (launch_server.py)."""

_OBJECT_STORE_SHARE: Final = 4
"""Of /dev/shm, which NCCL needs too. Ray would take 30 % of the node's memory, and spill to disk what does not fit."""
_HEALTH_TIMEOUT_SECONDS: Final = 30
"""A probe of the engine may take 10 s (serve/core/health.py DEFAULT_PROBE_TIMEOUT)."""
_HEALTH_PERIOD_SECONDS: Final = 15
_GRACE_SECONDS: Final = 60
"""Servers get 15 s, and then their process groups are killed (launch_server.py terminate_processes)."""
_DRAFTED_TOKENS: Final = 1
"""The checkpoint has one layer of multi-token prediction."""
CACHE: Final = "/root/.cache"
"""DeepGEMM's and torch's compiled kernels; the image runs as root."""
TRITON_CACHE: Final = "/root/.triton"


class LMDeploy:
    """LMDeploy's PyTorch backend: TurboMind has no DeepSeek model left."""

    name = "lmdeploy"

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        """What the plan's rules do not refuse already."""
        return (*_split_problems(plan), *_compile_problems(spec))

    def command(self, start: Start) -> Commands:
        """The server; with Ray over nodes the other ranks have none and join the cluster."""
        plan, user = start.plan, tuple(start.spec.engine.args)
        served = ("lmdeploy", "serve", "api_server", plan.weights.path, *chain.from_iterable(_arguments(start)))
        if _servers(plan):
            url = f"http://{start.leader}:{API_PORT}"
            ranks = [
                (*served, "--nnodes", str(plan.nodes_per_group), "--node-rank", str(rank), "--proxy-url", url, *user)
                for rank in range(2)
            ]
            return Commands(leader=ranks[0], worker=ranks[1] if start.spans_nodes else ())
        worker = (*_ray_worker(plan), "--address", f"{start.leader}:{GCS_PORT}", "--node-ip-address", "$POD_IP")
        return Commands(
            leader=(*served, *(_KEYS if start.keys else ()), *user), worker=worker if start.spans_nodes else ()
        )

    def body(self, start: Start) -> Body:
        """The commands as arrays that the script fills by the rank."""
        plan = start.plan
        return Body(
            template="lmdeploy.sh.j2",
            values={
                "weights": plan.weights.path,
                "arguments": tuple(_arguments(start)),
                "user_arguments": start.spec.engine.args,
                "keys": start.keys,
                "servers": _servers(plan),
                "proxy": PROXY,
                "proxy_program": program("lmdeploy_proxy.py"),
                "ray_head": ray_head(plan),
                "ray_worker": _ray_worker(plan),
                "api_port": API_PORT,
                "gcs_port": GCS_PORT,
                "rendezvous_port": RENDEZVOUS_PORT,
            },
        )

    def env(self, start: Start) -> Mapping[str, str]:
        """What vendor, fabric and engine need; also read by a Ray that LMDeploy starts itself."""
        return {
            **environment(start.plan, start.vendor, start.catalog.engines[self.name]),
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(_object_store(start.plan)),
        }

    def ports(self, start: Start) -> Mapping[str, int]:
        """Those that can be chosen; Ray takes free ones beside them."""
        if _servers(start.plan):
            return {"rendezvous": RENDEZVOUS_PORT, "servers": SERVER_PORT}
        return {
            "rendezvous": RENDEZVOUS_PORT,
            "ray-gcs": GCS_PORT,
            "ray-nodes": NODE_MANAGER_PORT,
            "ray-objects": OBJECT_MANAGER_PORT,
        }

    def health(self, start: Start) -> Health:
        """503 while the engine loads and when it stalls; workers have an actor a device, which Ray names."""
        return Health(
            path="/health",
            processes="^ray::RayWorkerWrapper",
            count=start.plan.accelerators_per_node,
            timeout_seconds=_HEALTH_TIMEOUT_SECONDS,
            period_seconds=_HEALTH_PERIOD_SECONDS,
        )

    def grace_seconds(self, start: Start) -> int:  # noqa: ARG002 - what an engine is asked
        """Requests end at once."""
        return _GRACE_SECONDS

    def caches(self) -> tuple[str, ...]:
        """Compiled kernels."""
        return (CACHE, TRITON_CACHE)

    def metrics(self, page: str) -> ReportedMemory | None:  # noqa: ARG002 - what an engine is asked
        """Its page has the share of the cache in use, never its size (metrics/loggers.py)."""
        return None


PROXY: Final = (
    *("lmdeploy", "serve", "proxy", "--server-name", "0.0.0.0", "--server-port", str(API_PORT)),  # noqa: S104
    # It would write the servers into the image, and call them again in the next start.
    "--disable-cache-status",
)
"""Without the key, which only the script has."""
_KEYS: Final = ("--api-keys=$API_KEY",)


def ray_head(plan: Plan) -> tuple[str, ...]:
    """How rank 0 starts the cluster; the script adds the address. Its dashboard would run anybody's jobs."""
    return (*_ray(plan), "--head", "--port", str(GCS_PORT), "--include-dashboard", "false", "--disable-usage-stats")


def _ray_worker(plan: Plan) -> tuple[str, ...]:
    """How the others join; the command ends when the head is gone."""
    return (*_ray(plan), "--block", "--disable-usage-stats")


def _ray(plan: Plan) -> tuple[str, ...]:
    return (
        *("ray", "start", "--num-gpus", str(plan.accelerators_per_node)),
        *("--node-manager-port", str(NODE_MANAGER_PORT), "--object-manager-port", str(OBJECT_MANAGER_PORT)),
        *("--object-store-memory", str(_object_store(plan))),
    )


def _object_store(plan: Plan) -> int:
    return plan.requests.shm_bytes // _OBJECT_STORE_SHARE


def _split_problems(plan: Plan) -> Iterator[Problem]:
    """Data and expert parallelism are one thing, over all ranks, as in its guide (--dp N --ep N)."""
    split = plan.parallelism
    if {split.attention_data, split.expert} in ({1}, {split.tensor}):
        return
    field = "expert" if split.attention_data == split.tensor else "attentionData"
    yield Problem(
        field=f"spec.parallelism.{field}",
        reason="UnsupportedCombination",
        message=f"LMDeploy is run with attentionData and expert both 1, or both {split.tensor}, the number of ranks; "
        f"the plan has attentionData {split.attention_data} and expert {split.expert}",
    )


def _compile_problems(spec: Spec) -> Iterator[Problem]:
    if spec.engine.features.torch_compile:
        yield Problem(
            field="spec.engine.features.torchCompile",
            reason="NoChoiceInEngine",
            message="LMDeploy compiles its kernels by itself; leave torchCompile out. --eager-mode in spec.engine.args "
            "turns CUDA graphs off",
        )


def _servers(plan: Plan) -> int:
    """How many servers the proxy knows; 0: there is no proxy."""
    return plan.parallelism.attention_data if plan.parallelism.attention_data > 1 else 0


def _arguments(start: Start) -> Iterator[tuple[str, ...]]:
    """Arguments of every server after the model, a flag and its values at a time."""
    plan, spec = start.plan, start.spec
    yield option("--backend", "pytorch")
    yield option("--model-name", plan.served_name)
    if _servers(plan):
        # The servers listen on the pod's address, whatever they are told (launch_server.py get_host_ip).
        yield option("--server-port", SERVER_PORT)
    else:
        yield option("--server-name", "0.0.0.0")  # noqa: S104 - probes and the Service reach the pod from outside
        yield option("--server-port", API_PORT)
    yield from _split(plan)
    yield option("--session-len", plan.memory.context_length)
    if plan.memory.max_running_requests is not None:
        # Each server has the limit for itself.
        yield option("--max-batch-size", -(-plan.memory.max_running_requests // plan.parallelism.attention_data))
    if plan.precision == "bf16":
        yield option("--dtype", "bfloat16")
    if plan.mtp:
        yield option("--speculative-algorithm", "deepseek_mtp")
        yield option("--speculative-num-draft-tokens", _DRAFTED_TOKENS)
    if spec.trust_remote_code:
        yield ("--trust-remote-code",)
    yield from _of_model(plan, start.catalog)


def _split(plan: Plan) -> Iterator[tuple[str, ...]]:
    split = plan.parallelism
    if _servers(plan):
        yield option("--dp", split.attention_data)
        yield option("--ep", split.expert)
    else:
        yield option("--tp", split.tensor)
    # Its own choice; the multiprocess executor is deprecated and known to hang (executor/__init__.py).
    yield option("--distributed-executor-backend", "ray" if plan.world_size > 1 else "uni")


def _of_model(plan: Plan, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    found = model_arguments_of(plan, catalog)
    if found is not None:
        yield found.arguments
