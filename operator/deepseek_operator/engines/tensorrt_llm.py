"""TensorRT-LLM: command lines, configuration, environment, ports and probes from a plan.

Its PyTorch backend alone. On one node ``trtllm-serve`` starts its own ranks. Over nodes rank 0 starts all of them by
``mpirun`` over ssh and the other pods run sshd; the operator makes the key pair. ``trtllm-llmapi-launch`` then runs the
server on rank 0 and an MPI worker on every other rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from deepseek_operator.api.names import API_PORT, RUN_DIRECTORY, SSH_DIRECTORY
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines.environment import environment
from deepseek_operator.engines.release import model_arguments_of
from deepseek_operator.engines.types import Body, Commands, Health, ReportedMemory, Start
from deepseek_operator.plan.support import row_of
from deepseek_operator.plan.types import Plan

SSH_PORT: Final = 2222
_HEALTH_TIMEOUT_SECONDS: Final = 30
_HEALTH_PERIOD_SECONDS: Final = 15
_GRACE_SECONDS: Final = 60
_DRAFTED_TOKENS: Final = 1
"""The checkpoint has one layer of multi-token prediction."""
_BATCHED_TOKENS: Final = 8192
"""TensorRT-LLM's DeepSeek guide; trtllm-serve's own default."""
CACHE: Final = "/root/.cache"
"""Compiled kernels (DeepGEMM, FlashInfer, Triton by XDG_CACHE_HOME); the image runs as root."""
TRITON_CACHE: Final = "/root/.triton"


class TensorRTLLM:
    """NVIDIA's engine, on Hopper and datacentre Blackwell."""

    name = "tensorrt-llm"

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        """What the plan's rules do not refuse already."""
        return (*_key_problems(spec), *_split_problems(plan), *_compile_problems(spec))

    def command(self, start: Start) -> Commands:
        """The server, behind mpirun where the group has several nodes; the others' sshd."""
        plan = start.plan
        configuration = ("--config", f"{RUN_DIRECTORY}/llm.yaml")
        serve = (
            *("trtllm-serve", plan.weights.path),
            *chain.from_iterable(_arguments(start)),
            *configuration,
            *start.spec.engine.args,
        )
        if not start.spans_nodes:
            return Commands(leader=serve)
        host, dot, domain = start.leader.partition(".")
        names = [f"{host.removesuffix('0')}{rank}{dot}{domain}" for rank in range(plan.nodes_per_group)]
        hosts = ",".join(f"{name}:{plan.accelerators_per_node}" for name in names)
        return Commands(
            leader=(*mpirun(plan), "-H", hosts, "trtllm-llmapi-launch", *serve),
            worker=("sshd", "-D", "-e", "-f", f"{RUN_DIRECTORY}/sshd_config"),
        )

    def body(self, start: Start) -> Body:
        """The commands as arrays, and the configuration as JSON, which YAML contains."""
        return Body(
            template="tensorrt_llm.sh.j2",
            values={
                "weights": start.plan.weights.path,
                "arguments": tuple(_arguments(start)),
                "user_arguments": start.spec.engine.args,
                "config": json.dumps(configuration(start.plan, start.catalog), sort_keys=True),
                "mpirun": mpirun(start.plan),
                "ssh_port": SSH_PORT,
                "ssh_directory": SSH_DIRECTORY,
            },
            ssh=start.spans_nodes,
        )

    def env(self, start: Start) -> Mapping[str, str]:
        """What vendor and fabric need; pods' names are told apart by their first label only."""
        names = {"OMPI_MCA_orte_keep_fqdn_hostnames": "1"} if start.spans_nodes else {}
        return {**environment(start.plan, start.vendor, start.catalog.engines[self.name]), **names}

    def ports(self, start: Start) -> Mapping[str, int]:  # noqa: ARG002 - what an engine is asked
        """MPI takes free ports beside it."""
        return {"ssh": SSH_PORT}

    def health(self, start: Start) -> Health:
        """503 until the engine is loaded, and for good once it is broken (NVIDIA/TensorRT-LLM issue 18663)."""
        return Health(
            path="/health",
            processes=r"^\S*python3? -m tensorrt_llm\.llmapi\.mgmn_worker_node",
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
        """``/metrics`` is JSON about iterations; nothing there is the size of the cache."""
        return None


def mpirun(plan: Plan) -> tuple[str, ...]:
    """Without the hosts and what ssh needs, which the script has."""
    return (
        *("mpirun", "--allow-run-as-root", "-n", str(plan.world_size), "--bind-to", "none"),
        # UCX would look for adapters that only NCCL may use.
        *("--mca", "pml", "ob1"),
        *("--mca", "plm_rsh_agent", "ssh", "--mca", "plm_rsh_no_tree_spawn", "1"),
    )


def configuration(plan: Plan, catalog: Catalog) -> dict[str, Any]:
    """What trtllm-serve has no flag for (1.2.1 llmapi/llm_args.py)."""
    found: dict[str, Any] = {
        "enable_attention_dp": plan.parallelism.attention_data > 1,
        "cuda_graph_config": {"enable_padding": True},
        # /prometheus/metrics exists with it only.
        "return_perf_metrics": True,
    }
    row = row_of(
        plan.engine.name, catalog.layouts[plan.weights.layout], catalog, architecture=plan.hardware.architecture
    )
    arguments = () if row is None or not catalog.models[plan.model].dimensions.routed_experts else row.arguments
    for field, value in zip(arguments[::2], arguments[1::2], strict=True):
        section, _, name = field.partition(".")
        found[section] = {name: value}
    if plan.kv_cache_precision != "auto":
        found["kv_cache_config"] = {"dtype": {"bf16": "bfloat16"}.get(plan.kv_cache_precision, plan.kv_cache_precision)}
    if plan.mtp:
        found["speculative_config"] = {"decoding_type": "MTP", "num_nextn_predict_layers": _DRAFTED_TOKENS}
    return found


def _arguments(start: Start) -> Iterator[tuple[str, ...]]:
    """Arguments after the model, a flag and its values at a time."""
    plan, split = start.plan, start.plan.parallelism
    # Without it the server listens on loopback.
    yield ("--host", "0.0.0.0")  # noqa: S104 - probes and the Service reach the pod from outside
    yield ("--port", str(API_PORT))
    yield ("--backend", "pytorch")
    yield ("--tensor_parallel_size", str(split.tensor))
    yield ("--pipeline_parallel_size", str(split.pipeline))
    yield ("--moe_expert_parallel_size", str(split.expert))
    yield ("--gpus_per_node", str(plan.accelerators_per_node))
    yield ("--max_seq_len", str(plan.memory.context_length))
    yield ("--max_num_tokens", str(_BATCHED_TOKENS))
    if plan.memory.max_running_requests is not None:
        # Each rank counts for itself with attention data parallelism.
        yield ("--max_batch_size", str(-(-plan.memory.max_running_requests // split.attention_data)))
    if start.spec.trust_remote_code:
        yield ("--trust_remote_code",)
    parsers = model_arguments_of(plan, start.catalog)
    if parsers is not None:
        yield parsers.arguments


def _key_problems(spec: Spec) -> Iterator[Problem]:
    if spec.access.keys.mode != "none":
        yield Problem(
            field="spec.access.keys.mode",
            reason="KeysNotInEngine",
            message="trtllm-serve has no API keys, so anybody whom spec.access.from lets in could use it; set "
            "spec.access.keys.mode to none, and spec.access.from or a gateway that checks keys in front",
        )


def _split_problems(plan: Plan) -> Iterator[Problem]:
    split = plan.parallelism
    if split.attention_data not in {1, split.tensor}:
        yield Problem(
            field="spec.parallelism.attentionData",
            reason="UnsupportedCombination",
            message="TensorRT-LLM spreads attention over all ranks or none (enable_attention_dp); use attentionData "
            f"1 or {split.tensor}, not {split.attention_data}",
        )


def _compile_problems(spec: Spec) -> Iterator[Problem]:
    if spec.engine.features.torch_compile:
        yield Problem(
            field="spec.engine.features.torchCompile",
            reason="NoChoiceInEngine",
            message="TensorRT-LLM brings compiled kernels; leave torchCompile out",
        )
