"""Published flaws of an engine's release, and whether a configuration exposes them.

A release with a flaw is told (condition RuntimeSupported); it is refused only where the configuration exposes the flaw
and nothing of ours stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.engine_types import Vulnerability
from deepseek_operator.catalog.types import Catalog
from deepseek_operator.plan.types import Plan


def known_flaws(plan: Plan, catalog: Catalog) -> tuple[Vulnerability, ...]:
    """The flaws of the plan's release."""
    version = _numbers(plan.engine.version)
    facts = catalog.engines.get(plan.engine.name)
    listed = facts.vulnerabilities if facts else ()
    return tuple(each for each in listed if _numbers(each.since) <= version < _numbers(each.before))


def exposed(spec: Spec, plan: Plan, flaw: Vulnerability) -> bool:
    """Whether a configuration exposes a flaw, policies or not."""
    if flaw.exposed_by == "attentionData":
        return plan.parallelism.attention_data > 1
    if flaw.exposed_by == "multiNode":
        return plan.nodes_per_group > 1
    if flaw.exposed_by == "openApi":
        return spec.access.keys.mode == "none"
    if flaw.exposed_by == "argument":
        return any(word.partition("=")[0] in flaw.names for word in spec.engine.args)
    return any(variable.name in flaw.names for variable in spec.engine.env)


def refused_flaws(spec: Spec, plan: Plan, catalog: Catalog) -> Iterator[Problem]:
    """A problem for each flaw that the configuration exposes and no policy of ours covers."""
    for flaw in known_flaws(plan, catalog):
        covered = flaw.isolated and plan.fabric.mode != "host"
        if exposed(spec, plan, flaw) and not covered:
            yield Problem(
                field="spec.engine.version",
                reason="VulnerableRelease",
                message=f"{plan.engine.name} {plan.engine.version} has {flaw.id}: {flaw.summary}; use {flaw.before} or "
                f"later (with spec.engine.image where the catalogue has none for these accelerators), or {flaw.remedy}",
            )


def _numbers(version: str) -> tuple[int, ...]:
    """0.5.18.post1 as (0, 5, 18)."""
    release = re.split(r"\.?post|\+|rc", version, maxsplit=1)[0]
    return tuple(int(each) for each in re.findall(r"\d+", release))
