"""Condition RuntimeSupported: whether the engine's release has published flaws, and whether they matter here."""

from __future__ import annotations

from deepseek_operator.lifecycle.conditions import Condition
from deepseek_operator.lifecycle.outcome import Outcome
from deepseek_operator.plan.exposure import exposed


def runtime_supported(outcome: Outcome) -> Condition:
    """False names the flaws of the release of the current plan, those first that its configuration exposes."""
    spec, plan = outcome.spec, outcome.plan
    if spec is None or plan is None:
        return Condition(type="RuntimeSupported", status="Unknown", reason="NotPlanned")
    release = f"{plan.engine.name} {plan.engine.version}"
    if not outcome.flaws:
        message = f"no flaw of {release} is known to the catalogue"
        return Condition(type="RuntimeSupported", status="True", reason="NoKnownFlaw", message=message)
    ordered = sorted(outcome.flaws, key=lambda flaw: not exposed(spec, plan, flaw))
    told = [
        f"{flaw.id} ({'exposed, kept out by the network policy' if exposed(spec, plan, flaw) else 'not exposed'})"
        for flaw in ordered
    ]
    newest = max((flaw.before for flaw in outcome.flaws), key=lambda each: tuple(map(int, each.split("."))))
    return Condition(
        type="RuntimeSupported",
        status="False",
        reason="VulnerableRelease",
        message=f"{release} has {', '.join(told)}; {newest} or later has none of them",
    )
