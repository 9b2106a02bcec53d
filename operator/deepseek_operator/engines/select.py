"""The engines that there are, by name: the only place that knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deepseek_operator.api.names import leader_address
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.engines import arguments
from deepseek_operator.engines.assemble import assemble
from deepseek_operator.engines.deepseek_infer import DeepSeekInfer
from deepseek_operator.engines.lmdeploy import LMDeploy
from deepseek_operator.engines.sglang import SGLang
from deepseek_operator.engines.tensorrt_llm import TensorRTLLM
from deepseek_operator.engines.types import Engine, Launch, ReportedMemory, Start
from deepseek_operator.engines.vllm import VLLM
from deepseek_operator.plan.types import Plan

_ENGINES: Final[Mapping[str, Engine]] = {
    each.name: each for each in (SGLang(), VLLM(), LMDeploy(), TensorRTLLM(), DeepSeekInfer())
}


def launch(plan: Plan, spec: Spec, catalog: Catalog, *, name: str, namespace: str, cluster_domain: str) -> Launch:
    """How the plan's engine starts.

    Raises:
        LookupError: the plan was made by an operator with engines that this one does not have.
    """
    leader = leader_address(name, 0, namespace, cluster_domain=cluster_domain)
    return assemble(_engine(plan), Start(plan=plan, spec=spec, catalog=catalog, leader=leader))


def directories(plan: Plan, catalog: Catalog) -> tuple[str, ...]:
    """Directories and files of the container that belong to the plan's engine and vendor: caches and drivers."""
    preset = catalog.fabrics.get(plan.fabric.preset)
    mounts = (*catalog.vendors[plan.hardware.vendor].mounts, *(preset.mounts if preset else ()))
    return (*_engine(plan).caches(), *(mount.container_path for mount in mounts))


def check_args(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
    """What is wrong with ``spec.engine``'s args, env and features for this plan; empty when nothing is."""
    return (*arguments.check(spec, plan), *_engine(plan).supports(spec, plan))


def doubts(spec: Spec, plan: Plan) -> tuple[str, ...]:
    """Warnings of arguments that nobody can check: of an image of the user's own, or of an unknown version."""
    return arguments.doubts(spec, plan)


def read_metrics(engine: str, page: str) -> ReportedMemory | None:
    """The memory figures of a leader's Prometheus page; None where it has no number of KV tokens."""
    found = _ENGINES.get(engine)
    return None if found is None else found.metrics(page)


def _engine(plan: Plan) -> Engine:
    found = _ENGINES.get(plan.engine.name)
    if found is None:
        raise LookupError(f"this operator cannot launch the engine {plan.engine.name}")
    return found
