"""SGLang: command lines, environment, ports and probes from a plan.

Only canonical long flags are written. Where releases differ, the release's own flags decide (`flags`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from deepseek_operator.api.names import API_PORT, leader_address
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, EngineRelease
from deepseek_operator.engines.environment import environment, interface_variables
from deepseek_operator.engines.flags import release_flags
from deepseek_operator.engines.script import Script, program, render
from deepseek_operator.engines.types import Launch
from deepseek_operator.plan.types import Plan

RENDEZVOUS_PORT: Final = 20000
"""torch's store; with attention data parallelism SGLang also binds the 13 ports after it (server_args.PortArgs)."""
BARRIER_PORT: Final = 20100

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
_HEALTH_PERIOD_SECONDS: Final = 30
"""At least as long as a health check may take: issue 6624 (SGLANG_HEALTH_CHECK_TIMEOUT is 20 s)."""
_GRACE_SECONDS: Final = 120
"""Rank 0 drains by itself and then ends the others, which wait for it: 60 s for requests, 60 s for the end."""
CACHE: Final = "/root/.cache"
"""DeepGEMM's, Triton's and torch's compiled kernels; the images run as root."""


def launch(plan: Plan, spec: Spec, catalog: Catalog, *, name: str, namespace: str, cluster_domain: str) -> Launch:
    """How every rank of every group of a deployment starts.

    The commands shown are those of group 0; keys appear as ``$API_KEY`` and ``$ADMIN_API_KEY``.
    """
    vendor = catalog.vendors[plan.hardware.vendor]
    arguments = tuple(_arguments(plan, spec, catalog))
    chat_template = _chat_template(plan, catalog)
    keys = spec.access.keys.mode != "none"
    spans_nodes = plan.nodes_per_group > 1
    script = Script(
        arguments=arguments,
        user_arguments=spec.engine.args,
        chat_template=chat_template,
        keys=keys,
        interface=plan.fabric.interface,
        interface_variables=interface_variables(vendor),
        address_variables=vendor.address_env,
        setup_scripts=vendor.setup_scripts,
        unset_proxies=vendor.collective == "hccl",
        barrier=spans_nodes,
        barrier_port=BARRIER_PORT,
        rendezvous_port=RENDEZVOUS_PORT,
    )
    leader = leader_address(name, 0, namespace, cluster_domain=cluster_domain)
    common = ("python3", "-m", "sglang.launch_server", *chain.from_iterable(arguments))
    only_leader = [*_KEYS] if keys else []
    if chat_template is not None:
        only_leader += ["--chat-template", chat_template]
    user = tuple(spec.engine.args)
    probe = ("python3", "-c", program("probe.py"), str(API_PORT), str(plan.accelerators_per_node))
    return Launch(
        script=render(script),
        leader_command=(*common, *_place(plan, leader, rank=0), *only_leader, *user),
        worker_command=(*common, *_place(plan, leader, rank=1), *user) if spans_nodes else (),
        env=environment(plan, vendor),
        ports={"http": API_PORT} | ({"rendezvous": RENDEZVOUS_PORT, "barrier": BARRIER_PORT} if spans_nodes else {}),
        startup_probe=probe,
        readiness_probe=probe,
        probe_timeout_seconds=_HEALTH_PERIOD_SECONDS,
        probe_period_seconds=_HEALTH_PERIOD_SECONDS,
        startup_seconds=plan.startup_seconds,
        termination_grace_seconds=_GRACE_SECONDS,
        mounts=vendor.mounts,
        writable=(CACHE,),
    )


_KEYS: Final = ("--api-key=$API_KEY", "--admin-api-key=$ADMIN_API_KEY")


def _place(plan: Plan, leader: str, *, rank: int) -> tuple[str, ...]:
    """Where a rank stands in its group; nothing for a group of one node."""
    if plan.nodes_per_group == 1:
        return ()
    size, address = str(plan.nodes_per_group), f"{leader}:{RENDEZVOUS_PORT}"
    return ("--nnodes", size, "--node-rank", str(rank), "--dist-init-addr", address)


def _arguments(plan: Plan, spec: Spec, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """Arguments of every rank, a flag and its values at a time."""
    yield _option("--model-path", plan.weights.path)
    yield _option("--served-model-name", plan.served_name)
    yield _option("--host", "0.0.0.0")  # noqa: S104 - probes and the Service reach the pod from outside
    yield _option("--port", API_PORT)
    yield from _split(plan)
    yield from _memory(plan)
    yield from _precision(plan, catalog)
    if plan.mtp:
        yield from _speculation()
    if plan.torch_compile:
        yield ("--enable-torch-compile",)
        yield _option("--torch-compile-max-bs", _TORCH_COMPILE_BATCH)
    device = catalog.vendors[plan.hardware.vendor].device
    yield _option("--device", device)
    if device == "npu":
        yield _option("--attention-backend", "ascend")
    if spec.trust_remote_code:
        yield ("--trust-remote-code",)
    parsers = catalog.models[plan.model].parsers
    if parsers.reasoning is not None:
        yield _option("--reasoning-parser", parsers.reasoning)
    if parsers.tool_call is not None:
        yield _option("--tool-call-parser", parsers.tool_call)
    yield _option("--dist-timeout", _DIST_TIMEOUT_SECONDS)
    yield _option("--watchdog-timeout", _WATCHDOG_SECONDS_ASCEND if device == "npu" else _WATCHDOG_SECONDS)
    yield ("--enable-metrics",)


def _split(plan: Plan) -> Iterator[tuple[str, ...]]:
    split = plan.parallelism
    yield _option("--tp-size", split.tensor)
    yield _option("--pp-size", split.pipeline)
    yield _option("--ep-size", split.expert)
    if split.attention_data == 1:
        return
    if release_flags("sglang", plan.engine.version).find("--attn-dp-size"):
        yield _option("--attn-dp-size", split.attention_data)
    else:
        # Before --attn-dp-size, --dp-size counted attention's ranks under this switch.
        yield _option("--dp-size", split.attention_data)
        yield ("--enable-dp-attention",)


def _memory(plan: Plan) -> Iterator[tuple[str, ...]]:
    memory = plan.memory
    yield _option("--mem-fraction-static", f"{memory.mem_fraction:.3f}")
    yield _option("--cuda-graph-max-bs-decode", memory.graph_max_batch)
    yield _option("--chunked-prefill-size", memory.chunked_prefill)
    yield _option("--context-length", memory.context_length)
    requests = memory.max_running_requests or (_MTP_REQUESTS if plan.mtp else None)
    if requests is not None:
        yield _option("--max-running-requests", requests)


def _precision(plan: Plan, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """What the checkpoint's own configuration does not say: SGLang reads most methods out of it."""
    if plan.precision == "bf16":
        yield _option("--dtype", "bfloat16")
    arguments = catalog.layouts[plan.weights.layout].arguments
    yield from zip(arguments[::2], arguments[1::2], strict=True)
    yield _option("--kv-cache-dtype", _KV_DTYPES[plan.kv_cache_precision])


def _speculation() -> Iterator[tuple[str, ...]]:
    """All of it or nothing: SGLang asserts when some of the three numbers are given without the steps."""
    yield _option("--speculative-algorithm", "EAGLE")
    yield _option("--speculative-num-steps", 3)
    yield _option("--speculative-eagle-topk", 1)
    yield _option("--speculative-num-draft-tokens", 4)


def _option(flag: str, value: str | int) -> tuple[str, ...]:
    """A flag with its value; joined by ``=`` where argparse would take the value for another flag."""
    text = str(value)
    return (f"{flag}={text}",) if text.startswith("-") else (flag, text)


def _chat_template(plan: Plan, catalog: Catalog) -> str | None:
    """The file of the model's chat template in the engine's image."""
    template = catalog.models[plan.model].parsers.chat_template
    return None if template is None else f"{_release(plan, catalog).source_tree}/{template}"


def _release(plan: Plan, catalog: Catalog) -> EngineRelease:
    """The plan's release; for an image of the user's own, of a version the catalogue lacks, its default one."""
    found = [
        each for each in catalog.releases if (each.engine, each.vendor) == (plan.engine.name, plan.hardware.vendor)
    ]
    fitting = [each for each in found if plan.hardware.architecture in each.architectures] or found
    fitting = [each for each in fitting if each.version == plan.engine.version] or fitting
    if not fitting:
        raise LookupError(f"the catalogue has no release {plan.engine.version} of {plan.engine.name}")
    return fitting[0]
