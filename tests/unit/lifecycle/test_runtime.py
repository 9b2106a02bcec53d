"""Known flaws of an engine's release: told in a condition, refused only where a configuration exposes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.runtime import runtime_supported
from deepseek_operator.plan.exposure import known_flaws, refused_flaws
from deepseek_operator.plan.types import Parallelism, Plan
from tests.unit.engines.plans import plan, spec

CATALOG = load()
SPREAD: dict[str, Any] = {"split": Parallelism(tensor=16, attention_data=16, expert=16)}


def condition(made: Plan, wanted: Spec) -> Any:
    outcome = Outcome(config=OperatorConfig(), spec=wanted, plan=made, flaws=known_flaws(made, CATALOG))
    return runtime_supported(outcome)


def refused(made: Plan, wanted: Spec) -> list[str]:
    return [problem.message for problem in refused_flaws(wanted, made, CATALOG)]


def test_the_newest_release_is_supported() -> None:
    told = condition(plan(version="0.5.23"), spec())
    assert (told.status, told.reason) == ("True", "NoKnownFlaw")


def test_an_older_release_names_its_flaws_and_the_release_without_them() -> None:
    told = condition(plan(version="0.5.18"), spec())
    assert (told.status, told.reason) == ("False", "VulnerableRelease")
    assert "CVE-2026-93034 (not exposed)" in told.message
    assert told.message.endswith("0.5.23 or later has none of them")
    assert refused(plan(version="0.5.18"), spec()) == []


def test_a_flaw_between_ranks_is_kept_out_by_the_policy_and_refused_where_none_applies() -> None:
    made = plan(version="0.5.18", **SPREAD)
    told = condition(made, spec())
    assert told.message.startswith("sglang 0.5.18 has CVE-2026-93034 (exposed, kept out by the network policy)")
    assert refused(made, spec()) == []
    on_the_host = replace(made, fabric=replace(made.fabric, mode="host"))
    (message,) = refused(on_the_host, spec())
    assert "CVE-2026-93034" in message
    assert "use 0.5.21 or later" in message


@pytest.mark.parametrize(
    ("version", "wanted", "flaw"),
    [
        ("0.5.18", {"access": {"keys": {"mode": "none"}}}, "CVE-2026-86793"),
        ("0.5.18.post1", {"access": {"keys": {"mode": "none"}}}, "CVE-2026-86793"),
        ("0.5.10", {"engine": {"args": ["--enable-custom-logit-processor"]}}, "CVE-2026-7304"),
        ("0.5.22", {"engine": {"env": [{"name": "DUMPER_SERVER_PORT", "value": "1"}]}}, "CVE-2026-111391"),
    ],
)
def test_what_a_configuration_exposes_is_refused_with_what_makes_it_safe(
    version: str, wanted: dict[str, Any], flaw: str
) -> None:
    made = plan()
    made = replace(made, engine=replace(made.engine, version=version))
    assert any(flaw in message for message in refused(made, spec(**wanted)))
    assert not any(flaw in message for message in refused(made, spec()))
    assert not any(flaw in message for message in refused(plan(version="0.5.23"), spec(**wanted)))


def test_versions_of_every_flaw_are_in_order() -> None:
    for facts in CATALOG.engines.values():
        for flaw in facts.vulnerabilities:
            assert tuple(map(int, flaw.since.split("."))) < tuple(map(int, flaw.before.split(".")))
