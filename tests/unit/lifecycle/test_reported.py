"""Memory as planned: judged by what the engine reported, kept in status, asked once an incarnation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.status import Status
from deepseek_operator.catalog.load import load
from deepseek_operator.lifecycle.decide import decide
from deepseek_operator.lifecycle.entries import GroupEntry, Report, read_entry, write_entries
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.lifecycle.planning import revision_of
from deepseek_operator.lifecycle.records import DeploymentRecord, NodeRecord, Snapshot
from deepseek_operator.lifecycle.reported import memory_as_planned, with_reports
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.owner import Owner
from tests.unit.lifecycle.observed import NOW, later, pod, stateful_set
from tests.unit.plan import nodes
from tests.unit.plan.cases import plan_of, spec_of

OWNER = Owner(name="x", namespace="default", uid="u")


def outcome_with(**fields: Any) -> Outcome:
    plan = plan_of([nodes.h100(name) for name in "ab"], precision="fp8", **fields)
    spec = spec_of({"precision": "fp8", **fields})
    content = revision_of(OWNER, spec, plan, load(), cluster_domain="cluster.local")
    return Outcome(config=OperatorConfig(), spec=spec, plan=plan, content=content)


def planned(outcome: Outcome) -> Plan:
    assert outcome.plan is not None
    return outcome.plan


def entry(outcome: Outcome, report: Report | None, *, ready: bool = True, incarnation: int = 1) -> GroupEntry:
    assert outcome.content is not None
    return GroupEntry(
        index=0, revision=outcome.content.hash, incarnation=incarnation, ready=ready, reported=report, stage="Serving"
    )


@pytest.mark.parametrize(
    ("tokens", "weights", "status", "reason"),
    [
        (1.0, 1.0, "True", "AsPlanned"),
        (0.91, 1.09, "True", "AsPlanned"),
        (1.09, 0.91, "True", "AsPlanned"),
        (0.89, 1.0, "False", "OffPlan"),
        (1.11, 1.0, "False", "OffPlan"),
        (1.0, 1.11, "False", "OffPlan"),
        (1.0, None, "True", "AsPlanned"),
    ],
)
def test_more_than_a_tenth_off_is_not_as_planned(
    tokens: float, weights: float | None, status: str, reason: str
) -> None:
    outcome = outcome_with()
    memory = planned(outcome).memory
    report = Report(
        incarnation=1,
        kv_tokens=round(memory.kv_tokens * tokens),
        weights_gib=None if weights is None else memory.weights_gib * weights,
    )
    condition = memory_as_planned(outcome, [entry(outcome, report)])
    assert (condition.status, condition.reason) == (status, reason)
    assert f"{report.kv_tokens:,} KV tokens, planned {memory.kv_tokens:,}" in condition.message
    if report.weights_gib is not None:
        assert (
            f"{report.weights_gib:.1f} GiB of weights a device, planned {memory.weights_gib:.1f}" in condition.message
        )


def test_the_draft_model_is_counted_apart() -> None:
    outcome = outcome_with(engine={"features": {"mtp": True}})
    memory = planned(outcome).memory
    main = memory.weights_gib - memory.terms["mtp"]
    report = Report(incarnation=1, kv_tokens=memory.kv_tokens, weights_gib=main)
    assert f"planned {main:.1f}" in memory_as_planned(outcome, [entry(outcome, report)]).message


def test_in_a_pipeline_only_the_tokens_are_compared() -> None:
    outcome = outcome_with(parallelism={"pipeline": 2})
    report = Report(incarnation=1, kv_tokens=planned(outcome).memory.kv_tokens, weights_gib=1.0)
    condition = memory_as_planned(outcome, [entry(outcome, report)])
    assert condition.status == "True"
    assert "weights" not in condition.message


def test_one_group_off_outweighs_the_others_and_an_unreachable_one_is_no_verdict() -> None:
    outcome = outcome_with()
    tokens = planned(outcome).memory.kv_tokens
    good = entry(outcome, Report(incarnation=1, kv_tokens=tokens))
    silent = replace(entry(outcome, Report(incarnation=1, unknown="no route")), index=1)
    bad = replace(entry(outcome, Report(incarnation=1, kv_tokens=1000)), index=2)
    assert memory_as_planned(outcome, [good, silent, bad]).message.startswith("group 2 reports 1,000 KV tokens")
    assert memory_as_planned(outcome, [good, silent]).status == "True"
    unknown = memory_as_planned(outcome, [silent])
    assert (unknown.status, unknown.reason, unknown.message) == ("Unknown", "NotReachable", "group 1: no route")


def test_nothing_serves_nothing_is_known() -> None:
    outcome = outcome_with()
    off = Report(incarnation=1, kv_tokens=1)
    assert memory_as_planned(outcome, [entry(outcome, off, ready=False)]).reason == "NotReported"
    assert memory_as_planned(outcome, [entry(outcome, None)]).status == "Unknown"
    assert memory_as_planned(Outcome(config=OperatorConfig(), spec=None), []).reason == "NotPlanned"


def test_a_report_belongs_to_its_incarnation_and_the_first_one_stays() -> None:
    outcome = outcome_with()
    first, second = Report(incarnation=1, kv_tokens=1), Report(incarnation=1, kv_tokens=2)
    (taken,) = with_reports([entry(outcome, None)], {0: first})
    assert taken.reported == first
    (kept,) = with_reports([taken], {0: second})
    assert kept.reported == first
    (restarted,) = with_reports([replace(taken, incarnation=2)], {0: second})
    assert restarted.reported is None
    (early,) = with_reports([entry(outcome, None, ready=False)], {0: first})
    assert early.reported is None


@pytest.mark.parametrize(
    "report",
    [Report(incarnation=3, kv_tokens=5, weights_gib=40.25), Report(incarnation=1, unknown="no route"), None],
)
def test_a_report_survives_status(report: Report | None) -> None:
    outcome = outcome_with()
    (written,) = write_entries([entry(outcome, report)])
    assert read_entry(written).reported == report


def snapshot(outcome: Outcome, status: dict[str, Any], reports: dict[int, Report]) -> Snapshot:
    """A group of two ranks that serves."""
    assert outcome.content is not None
    owner = stateful_set(revision=outcome.content.hash, template_hash=outcome.content.template_hash)
    record = DeploymentRecord(
        name="x", namespace="default", uid="u", generation=1, resource_version=1, deleting=False, spec={}, status=status
    )
    pods = (pod(0), pod(1))
    nodes = {each.node: NodeRecord(name=each.node) for each in pods}
    return Snapshot(deployment=record, workloads={0: owner}, pods={0: pods}, nodes=nodes, reports=reports)


def test_the_answer_costs_one_write_of_status_and_none_after() -> None:
    outcome = outcome_with()
    before = decide(snapshot(outcome, {}, {}), outcome, now=NOW).status
    assert decide(snapshot(outcome, dict(before), {}), outcome, now=later(60)).status == before
    bad = {0: Report(incarnation=1, kv_tokens=1000)}
    told = decide(snapshot(outcome, dict(before), bad), outcome, now=later(60))
    assert told.status != before
    assert told.status["groups"][0]["memory"] == {"incarnation": 1, "kvTokens": 1000}
    assert [event.reason for event in told.events] == ["MemoryOffPlan"]
    for reports in (bad, {}):
        again = decide(snapshot(outcome, dict(told.status), reports), outcome, now=later(120))
        assert again.status == told.status
        assert again.events == ()


def test_status_with_a_report_is_what_the_crd_allows() -> None:
    outcome = outcome_with()
    for report in (Report(incarnation=1, kv_tokens=5, weights_gib=1.5), Report(incarnation=1, unknown="no route")):
        status = decide(snapshot(outcome, {}, {0: report}), outcome, now=NOW).status
        assert Status.model_validate(status).groups
