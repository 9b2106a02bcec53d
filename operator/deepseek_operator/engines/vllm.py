"""vLLM: command lines, environment, ports and probes from a plan.

Ranks are joined by vLLM's own multiprocess executor over nodes (``--nnodes``, 0.33.0 engine/arg_utils.py
create_engine_config): the world is tensor x pipeline x data parallel ranks, spread over the nodes in that order from
the inside out, and every rank but 0 is headless. Our ``tensor`` counts all ranks of a stage, vLLM's only those that
share one request's attention. With ``spec.engine.backend: ray`` every rank runs ``ray symmetric-run`` instead, which
makes one Ray cluster of the group and starts vLLM on its head.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from deepseek_operator.api.names import API_PORT
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.engine_types import ModelArguments
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines.environment import environment
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.option import option
from deepseek_operator.engines.prometheus import samples
from deepseek_operator.engines.release import chat_template_of, model_arguments_of
from deepseek_operator.engines.types import Body, Commands, Health, ReportedMemory, Start
from deepseek_operator.plan.support import row_of
from deepseek_operator.plan.types import Plan

RENDEZVOUS_PORT: Final = 29501
"""torch's store of the world group (``--master-port``)."""
DATA_PORT: Final = 29550
"""Where engine cores of other nodes report to the leader (``--data-parallel-rpc-port``)."""
RAY_PORT: Final = 6379
"""Ray's global control store."""

_DISTRIBUTED_TIMEOUT_SECONDS: Final = 3600
"""torch's own 600 s end ranks that wait for one whose storage is slower; as for SGLang."""
_KV_DTYPES: Final = {"auto": "auto", "bf16": "bfloat16", "fp8": "fp8"}
_DRAFT: Final = {"method": "mtp", "num_speculative_tokens": 1}
"""The checkpoint has one layer of multi-token prediction; vLLM's MTP page starts with 1, too."""
_HEALTH_TIMEOUT_SECONDS: Final = 30
_HEALTH_PERIOD_SECONDS: Final = 15
"""``/health`` asks no device: it is 503 from the moment that the engine knows it is dead."""
_GRACE_SECONDS: Final = 60
"""Workers get 5 s to end (VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS), then SIGTERM, 4 s later SIGKILL; twice with engine
cores in between."""
_LEADER_ONLY: Final = frozenset({"--api-server-count"})
"""Arguments with which a headless rank does not start (entrypoints/cli/serve.py)."""
CACHE: Final = "/root/.cache"
"""Compiled graphs and kernels (VLLM_CACHE_ROOT, FlashInfer's); the images run as root."""
TRITON_CACHE: Final = "/root/.triton"


class VLLM:
    """vLLM on NVIDIA and AMD, and vLLM-Ascend."""

    name = "vllm"

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        """What the plan's rules do not refuse already."""
        problems = []
        if spec.engine.features.torch_compile:
            problems.append(
                Problem(
                    field="spec.engine.features.torchCompile",
                    reason="NoChoiceInEngine",
                    message="vLLM compiles the model by itself at every start; leave torchCompile out. "
                    "--enforce-eager in spec.engine.args turns it off, --compilation-config changes it",
                )
            )
        if _on_ray(spec) and plan.parallelism.attention_data > 1:
            problems.append(
                Problem(
                    field="spec.parallelism.attentionData",
                    reason="UnsupportedCombination",
                    message=f"attentionData {plan.parallelism.attention_data} makes several engine cores, which the "
                    "operator spreads over nodes with backend mp only; leave attentionData out, or remove "
                    "spec.engine.backend",
                )
            )
        return tuple(problems)

    def command(self, start: Start) -> Commands:
        """``vllm serve`` for all ranks; the key is in the leader's environment, where no log shows it."""
        plan, ray = start.plan, _on_ray(start.spec)
        common = ("vllm", "serve", plan.weights.path, *chain.from_iterable(_arguments(plan, start.spec, start.catalog)))
        everywhere, leader_only = _shared_out(plan, start.spec.engine.args)
        template = chat_template_of(plan, start.catalog)
        chat = () if template is None else ("--chat-template", template)
        if ray:
            # The script writes the leader's address where its name stands here.
            joined = ("--address", f"{start.leader}:{RAY_PORT}", "--min-nodes", str(plan.nodes_per_group))
            cluster = ("ray", "symmetric-run", *joined, *_ray_arguments(start), "--")
            leader = (*cluster, *common, *chat, *everywhere, *leader_only)
            worker = (*cluster, *common, *everywhere)
        else:
            met = ("--master-addr", start.leader) if start.spans_nodes else ()
            leader = (*common, *_place(plan, rank=0), *chat, *everywhere, *leader_only, *met)
            worker = (*common, *_place(plan, rank=1), "--headless", *everywhere, *met)
        return Commands(leader=leader, worker=worker if start.spans_nodes else ())

    def body(self, start: Start) -> Body:
        """The command as an array that the script fills by the rank."""
        everywhere, leader_only = _shared_out(start.plan, start.spec.engine.args)
        return Body(
            template="vllm.sh.j2",
            values={
                "weights": start.plan.weights.path,
                "arguments": tuple(_arguments(start.plan, start.spec, start.catalog)),
                "user_arguments": everywhere,
                "leader_arguments": leader_only,
                "chat_template": chat_template_of(start.plan, start.catalog),
                "keys": start.keys,
                "rendezvous_port": RENDEZVOUS_PORT,
                "ray": _on_ray(start.spec),
                "ray_port": RAY_PORT,
                "ray_arguments": _ray_arguments(start),
            },
        )

    def env(self, start: Start) -> Mapping[str, str]:
        """What vendor, fabric and engine need; a start may take as long as the operator allows, not vLLM's 600 s."""
        patience = max(start.plan.startup_seconds, start.spec.startup.deadline_seconds or 0)
        ray = {"RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT": str(patience)} if _on_ray(start.spec) else {}
        return {
            **ray,
            **environment(start.plan, start.vendor, start.catalog.engines[self.name]),
            "VLLM_ENGINE_READY_TIMEOUT_S": str(patience),
            # Else it tells its makers' server what it runs on (usage/usage_lib.py).
            "VLLM_NO_USAGE_STATS": "1",
        }

    def ports(self, start: Start) -> Mapping[str, int]:
        """Those that vLLM lets one choose; its message queues take free ports."""
        if _on_ray(start.spec):
            return {"ray": RAY_PORT}
        data = {"data-parallel": DATA_PORT} if _cores_elsewhere(start.plan) else {}
        return {"rendezvous": RENDEZVOUS_PORT, **data}

    def health(self, start: Start) -> Health:
        """Headless ranks have no server; their workers name themselves (multiproc_executor.py, setproctitle).

        Ray names its actors itself, until the one in them does.
        """
        return Health(
            path="/health",
            processes=r"^(VLLM::Worker|ray::(\w+\.)?RayWorker)" if _on_ray(start.spec) else "^VLLM::Worker",
            count=start.plan.accelerators_per_node,
            timeout_seconds=_HEALTH_TIMEOUT_SECONDS,
            period_seconds=_HEALTH_PERIOD_SECONDS,
        )

    def grace_seconds(self, start: Start) -> int:  # noqa: ARG002 - what an engine is asked
        """Requests end at once, workers one after another."""
        return _GRACE_SECONDS

    def caches(self) -> tuple[str, ...]:
        """Compiled graphs and kernels."""
        return (CACHE, TRITON_CACHE)

    def metrics(self, page: str) -> ReportedMemory | None:
        """Blocks and their size are labels, one series an engine core (v1/metrics/loggers.py log_metrics_info)."""
        tokens = [
            int(labels["num_gpu_blocks"]) * int(labels["block_size"])
            for labels, _ in samples(page, "vllm:cache_config_info")
            if labels.get("num_gpu_blocks", "").isdecimal() and labels.get("block_size", "").isdecimal()
        ]
        return ReportedMemory(kv_tokens=min(tokens), weights_gib=None) if tokens else None


def _on_ray(spec: Spec) -> bool:
    return spec.engine.backend == "ray"


def _ray_arguments(start: Start) -> tuple[str, ...]:
    """Of ``ray start``, on every node. Ray counts NPUs by itself, as a resource of another name."""
    devices = (f"--num-gpus={start.plan.accelerators_per_node}",) if start.vendor.device == "cuda" else ()
    return (*devices, "--include-dashboard=false", "--disable-usage-stats")


def _cores_elsewhere(plan: Plan) -> bool:
    """Whether engine cores run on several nodes and report to the leader."""
    return plan.nodes_per_group > 1 and plan.parallelism.attention_data > 1


def _place(plan: Plan, *, rank: int) -> tuple[str, ...]:
    """Where a rank stands in its group; nothing for a group of one node."""
    if plan.nodes_per_group == 1:
        return ()
    size = str(plan.nodes_per_group)
    return ("--nnodes", size, "--node-rank", str(rank), "--master-port", str(RENDEZVOUS_PORT))


def _arguments(plan: Plan, spec: Spec, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """Arguments of every rank after the model, a flag and its values at a time."""
    yield option("--served-model-name", plan.served_name)
    yield option("--host", "0.0.0.0")  # noqa: S104 - probes and the Service reach the pod from outside
    yield option("--port", API_PORT)
    yield from _split(plan, on_ray=_on_ray(spec))
    yield from _memory(plan)
    if plan.precision == "bf16":
        yield option("--dtype", "bfloat16")
    yield from _of_layout(plan, catalog)
    yield option("--kv-cache-dtype", _KV_DTYPES[plan.kv_cache_precision])
    if plan.mtp:
        yield option("--speculative-config", json.dumps(_DRAFT, separators=(",", ":")))
    if spec.trust_remote_code:
        yield ("--trust-remote-code",)
    yield from _of_model(model_arguments_of(plan, catalog))
    yield option("--distributed-timeout-seconds", _DISTRIBUTED_TIMEOUT_SECONDS)


def _split(plan: Plan, *, on_ray: bool) -> Iterator[tuple[str, ...]]:
    split = plan.parallelism
    yield option("--tensor-parallel-size", split.tensor // split.attention_data)
    yield option("--pipeline-parallel-size", split.pipeline)
    if split.attention_data > 1:
        yield option("--data-parallel-size", split.attention_data)
    if _cores_elsewhere(plan):
        yield option("--data-parallel-rpc-port", DATA_PORT)
    if split.expert > 1:
        yield ("--enable-expert-parallel",)
    if on_ray:
        yield option("--distributed-executor-backend", "ray")
    elif plan.world_size > 1:
        # vLLM would choose by what it finds installed, and on ROCm without looking at the number of devices.
        yield option("--distributed-executor-backend", "mp")


def _memory(plan: Plan) -> Iterator[tuple[str, ...]]:
    memory = plan.memory
    yield option("--gpu-memory-utilization", f"{memory.mem_fraction:.3f}")
    yield option("--max-model-len", memory.context_length)
    requests = None
    if memory.max_running_requests is not None:
        # Each engine core has the limit for itself.
        requests = -(-memory.max_running_requests // plan.parallelism.attention_data)
    # config/scheduler.py: a batch takes a token of every running request at least.
    yield option("--max-num-batched-tokens", max(memory.chunked_prefill, requests or 0))
    if requests is not None:
        yield option("--max-num-seqs", requests)


def _of_layout(plan: Plan, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """What the checkpoint's own configuration does not say."""
    layout = catalog.layouts[plan.weights.layout]
    row = row_of(VLLM.name, layout, catalog, architecture=plan.hardware.architecture)
    arguments = () if row is None else row.arguments
    yield from zip(arguments[::2], arguments[1::2], strict=True)


def _of_model(found: ModelArguments | None) -> Iterator[tuple[str, ...]]:
    if found is not None:
        yield found.arguments


def _shared_out(plan: Plan, words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The user's arguments for all ranks, and those that only the leader may have."""
    flags = release_flags(VLLM.name, plan.engine.version)
    everywhere: list[str] = []
    leader_only: list[str] = []
    chosen = everywhere
    for word in words:
        if word.startswith("--"):
            flag = flags.find(word.partition("=")[0])
            chosen = leader_only if flag is not None and flag.name in _LEADER_ONLY else everywhere
        chosen.append(word)
    return tuple(everywhere), tuple(leader_only)
