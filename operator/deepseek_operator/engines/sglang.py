"""SGLang: command lines, environment, ports and probes from a plan.

Only canonical long flags are written. Where releases differ, the release's own flags decide (`flags`).
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
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.option import option
from deepseek_operator.engines.prometheus import samples
from deepseek_operator.engines.release import release_of
from deepseek_operator.engines.types import Body, Commands, Health, ReportedMemory, Start
from deepseek_operator.plan.memory_sglang import dispatched_requests
from deepseek_operator.plan.types import Plan

RENDEZVOUS_PORT: Final = 20000
"""torch's store; with attention data parallelism SGLang also binds the 13 ports after it (server_args.PortArgs)."""

_DIST_TIMEOUT_SECONDS: Final = 3600
"""Ranks load weights at different speeds: 12 against 20 minutes, sgl-project/sglang issue 3254."""
_WATCHDOG_SECONDS: Final = 600
"""SGLang's own 300 s strikes healthy groups (issues 3752, 9904); it also is what ends a hang, so not more."""
_WATCHDOG_SECONDS_ASCEND: Final = 9000
"""SGLang's Ascend pages: graphs are compiled while requests wait."""
_MTP_REQUESTS: Final = 48
"""SGLang's own limit with speculation, speculative_hook.py: written out, because it may change between releases."""
_TORCH_COMPILE_BATCH: Final = 8
"""SGLang's DeepSeek cookbook: torch.compile pays for small batches only."""
_KV_DTYPES: Final = {"auto": "auto", "bf16": "bf16", "fp8": "fp8_e4m3"}
_HCCL_BUFFERS_MB: Final = "1600"
"""SGLang's Ascend pages, prefill and decode in one group; too small is an error at start."""
_HEALTH_PERIOD_SECONDS: Final = 30
"""At least as long as a health check may take: issue 6624 (SGLANG_HEALTH_CHECK_TIMEOUT is 20 s)."""
_GRACE_SECONDS: Final = 120
"""Rank 0 drains by itself and then ends the others, which wait for it: 60 s for requests, 60 s for the end."""
CACHE: Final = "/root/.cache"
"""DeepGEMM's, Triton's and torch's compiled kernels; the images run as root."""


class SGLang:
    """The default engine."""

    name = "sglang"

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:  # noqa: ARG002 - what an engine is asked
        """What the plan's rules do not refuse already."""
        if not plan.mtp or plan.parallelism.pipeline == 1:
            return ()
        # SGLang: check_pipeline_parallel_compat (0.5.23), check_server_args (0.5.18).
        return (
            Problem(
                field="spec.engine.features.mtp",
                reason="UnsupportedCombination",
                message=f"SGLang does not combine speculative decoding with pipeline parallelism, and the plan has "
                f"{plan.parallelism.pipeline} pipeline stages; turn mtp off, or set spec.parallelism.pipeline to 1 "
                "where nodes have RDMA or one node is enough",
            ),
        )

    def command(self, start: Start) -> Commands:
        """One program for all ranks; rank 0's has the keys and the chat template."""
        plan, user = start.plan, tuple(start.spec.engine.args)
        common = (
            "python3",
            "-m",
            "sglang.launch_server",
            *chain.from_iterable(_arguments(plan, start.spec, start.catalog)),
        )
        only_leader = [*_KEYS] if start.keys else []
        chat_template = _chat_template(plan, start.catalog)
        if chat_template is not None:
            only_leader += ["--chat-template", chat_template]
        worker = (*common, *_place(plan, start.leader, rank=1), *user)
        return Commands(
            leader=(*common, *_place(plan, start.leader, rank=0), *only_leader, *user),
            worker=worker if start.spans_nodes else (),
        )

    def body(self, start: Start) -> Body:
        """The command as an array that the script fills by the rank."""
        return Body(
            template="sglang.sh.j2",
            values={
                "arguments": tuple(_arguments(start.plan, start.spec, start.catalog)),
                "user_arguments": start.spec.engine.args,
                "chat_template": _chat_template(start.plan, start.catalog),
                "keys": start.keys,
                "rendezvous_port": RENDEZVOUS_PORT,
            },
        )

    def env(self, start: Start) -> Mapping[str, str]:
        """What the vendor and the fabric need, and the buffers of DeepEP on Ascend."""
        variables = dict(environment(start.plan, start.vendor, start.catalog.engines[self.name]))
        if start.plan.spread.deepep and start.vendor.collective == "hccl":
            variables["HCCL_BUFFSIZE"] = _HCCL_BUFFERS_MB
        return variables

    def ports(self, start: Start) -> Mapping[str, int]:  # noqa: ARG002 - what an engine is asked
        """The store of torch.distributed."""
        return {"rendezvous": RENDEZVOUS_PORT}

    def health(self, start: Start) -> Health:
        """Rank 0 lets all ranks generate a token; workers have a scheduler process for each device."""
        return Health(
            path="/health",
            processes="^sglang::scheduler",
            count=start.plan.accelerators_per_node,
            timeout_seconds=_HEALTH_PERIOD_SECONDS,
            period_seconds=_HEALTH_PERIOD_SECONDS,
        )

    def grace_seconds(self, start: Start) -> int:  # noqa: ARG002 - what an engine is asked
        """Rank 0 drains by itself and then ends the others, which wait for it."""
        return _GRACE_SECONDS

    def caches(self) -> tuple[str, ...]:
        """Compiled kernels."""
        return (CACHE,)

    def metrics(self, page: str) -> ReportedMemory | None:
        """Set once at start, a series a rank that records (0.5.23 observability/metrics_collector.py, emit_constants).

        ``sglang:weight_memory_usage_gb`` is GiB (model_runner.py weight_load_mem_usage). ``/server_info`` has the same
        figures, but it needs the API key and shows all keys in clear, so it is not asked.
        """
        tokens = [int(value) for _, value in samples(page, "sglang:max_total_num_tokens") if value > 0]
        weights = [value for _, value in samples(page, "sglang:weight_memory_usage_gb") if value > 0]
        if not tokens:
            return None
        return ReportedMemory(kv_tokens=min(tokens), weights_gib=max(weights, default=None))


_KEYS: Final = ("--api-key=$API_KEY", "--admin-api-key=$ADMIN_API_KEY")


def _place(plan: Plan, leader: str, *, rank: int) -> tuple[str, ...]:
    """Where a rank stands in its group; nothing for a group of one node."""
    if plan.nodes_per_group == 1:
        return ()
    size, address = str(plan.nodes_per_group), f"{leader}:{RENDEZVOUS_PORT}"
    return ("--nnodes", size, "--node-rank", str(rank), "--dist-init-addr", address)


def _arguments(plan: Plan, spec: Spec, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """Arguments of every rank, a flag and its values at a time."""
    yield option("--model-path", plan.weights.path)
    yield option("--served-model-name", plan.served_name)
    yield option("--host", "0.0.0.0")  # noqa: S104 - probes and the Service reach the pod from outside
    yield option("--port", API_PORT)
    yield from _split(plan)
    yield from _memory(plan)
    yield from _precision(plan, catalog)
    if plan.mtp:
        yield from _speculation()
    if plan.torch_compile:
        yield ("--enable-torch-compile",)
        yield option("--torch-compile-max-bs", _TORCH_COMPILE_BATCH)
    device = catalog.vendors[plan.hardware.vendor].device
    yield option("--device", device)
    if device == "npu":
        yield option("--attention-backend", "ascend")
    if spec.trust_remote_code:
        yield ("--trust-remote-code",)
    parsers = catalog.models[plan.model].parsers
    if parsers.reasoning is not None:
        yield option("--reasoning-parser", parsers.reasoning)
    if parsers.tool_call is not None:
        yield option("--tool-call-parser", parsers.tool_call)
    yield option("--dist-timeout", _DIST_TIMEOUT_SECONDS)
    yield option("--watchdog-timeout", _WATCHDOG_SECONDS_ASCEND if device == "npu" else _WATCHDOG_SECONDS)
    yield ("--enable-metrics",)


def _split(plan: Plan) -> Iterator[tuple[str, ...]]:
    split = plan.parallelism
    yield option("--tp-size", split.tensor)
    yield option("--pp-size", split.pipeline)
    yield option("--ep-size", split.expert)
    if plan.spread.deepep:
        yield from _spread(plan)
    if split.attention_data == 1:
        return
    if release_flags("sglang", plan.engine.version).find("--attn-dp-size"):
        yield option("--attn-dp-size", split.attention_data)
    else:
        # Before --attn-dp-size, --dp-size counted attention's ranks under this switch.
        yield option("--dp-size", split.attention_data)
        yield ("--enable-dp-attention",)


def _spread(plan: Plan) -> Iterator[tuple[str, ...]]:
    """SGLang's recipe of large expert parallelism: dense layers and, with DP attention, the output head stay whole."""
    yield option("--moe-a2a-backend", "deepep")
    yield option("--deepep-mode", "auto")
    yield option("--moe-dense-tp-size", 1)
    if plan.parallelism.attention_data > 1:
        yield ("--enable-dp-lm-head",)
    if plan.spread.redundant:
        yield ("--enable-eplb",)
        yield option("--ep-num-redundant-experts", plan.spread.redundant)


def _memory(plan: Plan) -> Iterator[tuple[str, ...]]:
    memory = plan.memory
    yield option("--mem-fraction-static", f"{memory.mem_fraction:.3f}")
    yield option("--cuda-graph-max-bs-decode", memory.graph_max_batch)
    yield option("--chunked-prefill-size", memory.chunked_prefill)
    yield option("--context-length", memory.context_length)
    requests = memory.max_running_requests or (_MTP_REQUESTS if plan.mtp else None)
    if plan.spread.deepep:
        most = dispatched_requests(mtp=plan.mtp) * plan.parallelism.attention_data
        requests = min(requests or most, most)
    if requests is not None:
        yield option("--max-running-requests", requests)


def _precision(plan: Plan, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """What the checkpoint's own configuration does not say: SGLang reads most methods out of it."""
    if plan.precision == "bf16":
        yield option("--dtype", "bfloat16")
    arguments = catalog.layouts[plan.weights.layout].arguments
    yield from zip(arguments[::2], arguments[1::2], strict=True)
    yield option("--kv-cache-dtype", _KV_DTYPES[plan.kv_cache_precision])


def _speculation() -> Iterator[tuple[str, ...]]:
    """All of it or nothing: SGLang asserts when some of the three numbers are given without the steps."""
    yield option("--speculative-algorithm", "EAGLE")
    yield option("--speculative-num-steps", 3)
    yield option("--speculative-eagle-topk", 1)
    yield option("--speculative-num-draft-tokens", 4)


def _chat_template(plan: Plan, catalog: Catalog) -> str | None:
    """The file of the model's chat template in the engine's image."""
    template = catalog.models[plan.model].parsers.chat_template
    return None if template is None else f"{release_of(plan, catalog).source_tree}/{template}"
