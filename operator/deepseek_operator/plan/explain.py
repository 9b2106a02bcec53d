"""Plans and memory fits as the JSON documents that the command line contract fixes; keys are camelCase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.plan.types import Candidate, MemoryFit, Plan, Refusal, WeightsPlan

_OF_A_MODEL: Final = (
    "memFraction",
    "kvTokens",
    "kvGiB",
    "reserveGiB",
    "graphMaxBatch",
    "chunkedPrefill",
    "longestContext",
    "requests4k",
    "requests32k",
    "hostGiB",
)
"""Keys that only an engine's memory model can fill."""


class Commands(Protocol):
    """What an engine executes on rank 0 and on the others."""

    @property
    def leader_command(self) -> Sequence[str]:
        """Program and arguments of rank 0."""

    @property
    def worker_command(self) -> Sequence[str]:
        """Program and arguments of rank 1."""

    @property
    def env(self) -> Mapping[str, str]:
        """Constant environment of both."""


def plan_document(outcome: Plan | Refusal, *, launch: Commands | None, groups: int) -> dict[str, Any]:
    """The document of ``plan -o json``; parts that a refusal lacks are null."""
    plan = outcome if isinstance(outcome, Plan) else None
    leader = _commands(launch.leader_command, launch.env) if launch else None
    # A group of one node has no worker.
    multi = plan is not None and plan.nodes_per_group > 1
    worker = _commands(launch.worker_command, launch.env) if launch and multi else None
    problems = outcome.problems if isinstance(outcome, Refusal) else ()
    return {
        "fits": plan is not None,
        **_chosen(plan),
        "groups": groups,
        "leader": leader,
        "worker": worker,
        "considered": [_considered(each) for each in outcome.considered],
        "warnings": list(outcome.warnings),
        "problems": [problem_document(each) for each in problems],
        "suggestions": [
            {"field": field, "set": dict(suggestion.changes)} for suggestion, field in _suggested(problems).items()
        ],
    }


def fit_document(fit: MemoryFit, *, engine: str) -> dict[str, Any]:
    """The document of ``fit -o json``; also ``memory`` of a plan. What an engine has no model for is null."""
    document = {
        "fits": fit.fits,
        "engine": engine,
        "freeGiB": _rounded(fit.free_gib),
        "memFraction": fit.mem_fraction,
        "weightsGiB": _rounded(fit.weights_gib),
        "kvBytesPerToken": fit.kv_bytes_per_token,
        "kvTokens": fit.kv_tokens,
        "kvGiB": _rounded(fit.kv_gib),
        "reserveGiB": _rounded(fit.reserve_gib),
        "contextLength": fit.context_length,
        "graphMaxBatch": fit.graph_max_batch,
        "chunkedPrefill": fit.chunked_prefill,
        "maxRunningRequests": fit.max_running_requests,
        "terms": {name: _rounded(size) for name, size in fit.terms.items()},
        "longestContext": fit.longest_context,
        "requests4k": fit.requests_4k,
        "requests32k": fit.requests_32k,
        "hostGiB": _rounded(fit.host_gib),
        "diskGiB": _rounded(fit.disk_gib),
        "limitedBy": fit.limited_by,
        "problems": [problem_document(each) for each in fit.problems],
    }
    return document if fit.modelled else document | dict.fromkeys(_OF_A_MODEL)


def _suggested(problems: Sequence[Problem]) -> dict[Suggestion, str]:
    """Each suggestion once, with the first field that it cures."""
    found: dict[Suggestion, str] = {}
    for problem in problems:
        for suggestion in problem.suggestions:
            found.setdefault(suggestion, problem.field)
    return found


def problem_document(problem: Problem) -> dict[str, str]:
    """A problem in its three parts."""
    return {"field": problem.field, "reason": problem.reason, "message": problem.message}


def _chosen(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        names = ("hardware", "nodesPerGroup", "parallelism", "engine", "precision", "weights", "memory", "collective")
        return dict.fromkeys(names)
    return {
        "hardware": {
            "vendor": plan.hardware.vendor,
            "product": plan.hardware.product,
            "architecture": plan.hardware.architecture,
            "resource": plan.hardware.resource,
            "acceleratorsPerNode": plan.accelerators_per_node,
            "acceleratorMemoryGiB": _rounded(plan.hardware.memory_gib),
        },
        "nodesPerGroup": plan.nodes_per_group,
        "parallelism": {
            "tensor": plan.parallelism.tensor,
            "pipeline": plan.parallelism.pipeline,
            "attentionData": plan.parallelism.attention_data,
            "expert": plan.parallelism.expert,
        },
        "engine": {
            "name": plan.engine.name,
            "version": plan.engine.version,
            "image": plan.engine.image,
        },
        "precision": plan.precision,
        "weights": {
            "repository": plan.weights.repository,
            "revision": plan.weights.revision,
            "source": plan.weights.source,
            "layout": plan.weights.layout,
            "sizeGiB": plan.weights.size_gib,
            "volume": plan.weights.volume,
            "path": plan.weights.path,
            "diskGiB": _rounded(plan.weights.disk_gib),
            "conversion": _conversion(plan.weights),
        },
        "memory": fit_document(plan.memory, engine=plan.engine.name),
        "collective": plan.fabric.collective,
        "fabric": {
            "mode": plan.fabric.mode,
            "carrier": plan.fabric.carrier,
            "preset": plan.fabric.preset or None,
            "rdmaResource": plan.fabric.rdma_resource,
            "rdmaCount": plan.fabric.rdma_count,
        },
    }


def _conversion(weights: WeightsPlan) -> dict[str, Any] | None:
    """What is made of the checkpoint that is had; null where the engine reads it as it is."""
    conversion = weights.conversion
    if conversion is None:
        return None
    return {
        "from": conversion.source_layout,
        "to": conversion.steps[-1].layout,
        "sourceSizeGiB": conversion.source_gib,
        "sizeGiB": conversion.steps[-1].size_gib,
        "steps": [
            {"tool": step.tool, "layout": step.layout, "sizeGiB": step.size_gib, "path": step.path}
            for step in conversion.steps
        ],
    }


def _commands(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    return {"command": list(command), "env": dict(env)}


def _considered(candidate: Candidate) -> dict[str, Any]:
    return {
        "product": candidate.product,
        "nodesPerGroup": candidate.nodes_per_group,
        "verdict": candidate.verdict,
        "reason": candidate.reason,
    }


def _rounded(gib: float) -> float:
    return round(gib, 3)
