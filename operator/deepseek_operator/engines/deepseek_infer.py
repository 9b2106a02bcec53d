"""The DeepSeek-Infer demo: torchrun on every node, a batch of prompts or a terminal on rank 0, no API.

Sources: deepseek-ai/DeepSeek-V3 9b4e978, README.md 6.1 and ``inference/generate.py``; torch 2.4.1
``distributed/run.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from deepseek_operator.api.names import ANSWERS_DIRECTORY, PROMPTS_DIRECTORY
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.engines.environment import environment
from deepseek_operator.engines.release import release_of
from deepseek_operator.engines.script import RUN_DIRECTORY, program
from deepseek_operator.engines.types import Body, Commands, Health, ReportedMemory, Start
from deepseek_operator.plan.support import configuration_of
from deepseek_operator.plan.types import Plan

RENDEZVOUS_PORT: Final = 20000
"""torchrun's static rendezvous and torch's store; torch's own 29500 is free for whatever else the image runs."""
CONFIGURATION: Final = f"{RUN_DIRECTORY}/config.json"
"""The demo's configuration of the model, with the plan's precision, batch and length."""

_GRACE_SECONDS: Final = 60
"""torchrun passes SIGTERM on and waits 30 s for its ranks (torch 2.4.1 elastic/multiprocessing/api.py)."""
_PERIOD_SECONDS: Final = 10
_YARN_LENGTH: Final = 4096
"""ModelArgs.original_seq_len: up to it the model computes without its long-context scaling, and answers differ."""
_DTYPES: Final = {"fp8": "fp8", "bf16": "bf16"}
_BATCH_FLAGS: Final = {"--max-new-tokens": "spec.batch.maxNewTokens", "--temperature": "spec.batch.temperature"}


class DeepSeekInfer:
    """Batch or terminal, by ``spec.batch``."""

    name = "deepseek-infer"

    def supports(self, spec: Spec, plan: Plan) -> tuple[Problem, ...]:
        """An image of the user's own, and nothing that only an API could honour."""
        return (
            *_image(spec),
            *_length(plan),
            *_without_api(spec),
            *_said_twice(spec),
            *_compiled(spec),
            *_claims(spec, plan),
        )

    def command(self, start: Start) -> Commands:
        """The same on every rank but for the node rank."""
        return Commands(
            leader=_command(start, rank=0),
            worker=_command(start, rank=1) if start.spans_nodes else (),
        )

    def body(self, start: Start) -> Body:
        """The command, the checks that come before it, and where a batch's answers go."""
        plan, spec = start.plan, start.spec
        answers = spec.batch.answers if spec.batch else None
        return Body(
            template="deepseek_infer.sh.j2",
            values={
                "arguments": (*_arguments(start), *spec.engine.args),
                "processes": plan.accelerators_per_node,
                "ranks": plan.world_size,
                "rendezvous_port": RENDEZVOUS_PORT,
                "source_tree": release_of(plan, start.catalog).source_tree,
                "weights": plan.weights.path,
                "described": _configuration(start),
                "configuration": CONFIGURATION,
                "changes": _changes(plan),
                "configure_program": program("configure_infer.py"),
                "prompts": f"{PROMPTS_DIRECTORY}/{spec.batch.prompts.path}" if spec.batch else None,
                "most_prompts": plan.memory.max_running_requests,
                "answers": f"{ANSWERS_DIRECTORY}/{answers.path}" if answers else None,
            },
        )

    def env(self, start: Start) -> Mapping[str, str]:
        """What the vendor and the fabric need; a terminal may be silent for longer than NCCL waits.

        Ranks wait for the next prompt inside a broadcast, and NCCL's watchdog would end them after ten minutes
        (torch 2.4.1 ProcessGroupNCCL.hpp: 0 is NoHandling). A batch keeps it: it ends a hang.
        """
        variables = dict(environment(start.plan, start.vendor, start.catalog.engines[self.name]))
        if start.spec.batch is None:
            variables["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
        return variables

    def ports(self, start: Start) -> Mapping[str, int]:  # noqa: ARG002 - what an engine is asked
        """The store of torch.distributed."""
        return {"rendezvous": RENDEZVOUS_PORT}

    def health(self, start: Start) -> Health:
        """There is nothing to ask: a rank works while a process for each of its devices does."""
        return Health(
            path="",
            # torchrun starts them so (torch 2.4.1 distributed/run.py, config_from_args); its own line begins otherwise.
            processes=r"^\S*python\S* -u generate\.py ",
            count=start.plan.accelerators_per_node,
            timeout_seconds=_PERIOD_SECONDS,
            period_seconds=_PERIOD_SECONDS,
        )

    def grace_seconds(self, start: Start) -> int:  # noqa: ARG002 - what an engine is asked
        """Torchrun ends its ranks."""
        return _GRACE_SECONDS

    def caches(self) -> tuple[str, ...]:
        """Triton's kernels, and whatever else torch compiles."""
        return ("/root/.triton", "/root/.cache")

    def metrics(self, page: str) -> ReportedMemory | None:  # noqa: ARG002 - what an engine is asked
        """There are none."""
        return None


def _image(spec: Spec) -> Iterator[Problem]:
    if spec.engine.image is None:
        yield Problem(
            field="spec.engine.image",
            reason="ImageNeeded",
            message="nobody publishes an image of the DeepSeek-Infer demo; build one with the seven lines in "
            "docs/engines/deepseek-infer.md and name it in spec.engine.image",
        )


def _length(plan: Plan) -> Iterator[Problem]:
    if plan.memory.context_length <= _YARN_LENGTH:
        yield Problem(
            field="spec.context.maxLength",
            reason="ContextChangesModel",
            message=f"up to {_YARN_LENGTH} tokens the demo computes attention without the model's long-context "
            f"scaling, and its answers differ; use more than {_YARN_LENGTH}",
        )


def _without_api(spec: Spec) -> Iterator[Problem]:
    """Fields that speak of an API or of code with the weights would change nothing."""
    asked = {
        "spec.servedName": spec.served_name is not None,
        "spec.access.keys": spec.access.keys.mode == "secret",
        "spec.access.from": bool(spec.access.sources),
        "spec.trustRemoteCode": spec.trust_remote_code,
    }
    for field, is_asked in asked.items():
        if is_asked:
            yield Problem(
                field=field,
                reason="NoAPI",
                message="the DeepSeek-Infer demo serves no API and runs no code of the weights: this would change "
                "nothing; remove it, or use engine sglang or vllm",
            )


def _said_twice(spec: Spec) -> Iterator[Problem]:
    if spec.batch is None:
        return
    for index, word in enumerate(spec.engine.args):
        if field := _BATCH_FLAGS.get(word.partition("=")[0]):
            yield Problem(
                field=f"spec.engine.args[{index}]",
                reason="OwnedArgument",
                message=f"{word} belongs to the operator; set {field}",
            )


def _compiled(spec: Spec) -> Iterator[Problem]:
    if spec.engine.features.torch_compile:
        yield Problem(
            field="spec.engine.features.torchCompile",
            reason="CompileNotInEngine",
            message="the DeepSeek-Infer demo does not compile its model; turn torchCompile off",
        )


def _claims(spec: Spec, plan: Plan) -> Iterator[Problem]:
    if spec.batch is not None and plan.weights.volume == "perRank":
        yield Problem(
            field="spec.weights.cache",
            reason="NoClaimForEachRank",
            message="a Job makes no claim for each rank; use cache node (weights.nodePath in the operator's "
            "configuration), claim with weights.claimName, or ephemeral, or cut weights pvc://claim/…-mp<N>",
        )


def _command(start: Start, *, rank: int) -> tuple[str, ...]:
    plan = start.plan
    place: tuple[str, ...] = ()
    if start.spans_nodes:
        place = ("--node-rank", str(rank), "--master-addr", start.leader, "--master-port", str(RENDEZVOUS_PORT))
    return (
        "torchrun",
        "--nnodes",
        str(plan.nodes_per_group),
        "--nproc-per-node",
        str(plan.accelerators_per_node),
        *place,
        "generate.py",
        *_arguments(start),
        *start.spec.engine.args,
    )


def _arguments(start: Start) -> tuple[str, ...]:
    """Of generate.py."""
    common = ("--ckpt-path", start.plan.weights.path, "--config", CONFIGURATION)
    batch = start.spec.batch
    if batch is None:
        return (*common, "--interactive")
    return (
        *common,
        "--input-file",
        f"{PROMPTS_DIRECTORY}/{batch.prompts.path}",
        "--max-new-tokens",
        str(batch.max_new_tokens),
        "--temperature",
        batch.temperature,
    )


def _configuration(start: Start) -> str:
    facts = start.catalog.engines[start.plan.engine.name]
    found = configuration_of(facts, start.plan.model)
    if found is None:
        raise LookupError(f"{facts.title} has no configuration of {start.plan.model}")
    return found.file


def _changes(plan: Plan) -> tuple[str, ...]:
    """Values of the configuration as ``key=JSON`` words."""
    values: dict[str, Any] = {
        "dtype": f'"{_DTYPES[plan.precision]}"',
        "max_batch_size": plan.memory.max_running_requests,
        "max_seq_len": plan.memory.context_length,
    }
    return tuple(f"{key}={value}" for key, value in values.items())
