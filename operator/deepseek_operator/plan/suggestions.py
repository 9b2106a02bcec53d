"""What would work instead of a refused spec: changes are proposed, tried on the same cluster, and only then told.

Proposals come from the problems themselves (a nearer name, a smaller number) and from relaxing what the spec asks for,
one wish at a time before several. With several problems at once each gets the change that cures it while the others
get theirs. What the cluster lacks (nodes, labels, a default StorageClass) is told in the messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion, Value
from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.changes import allowed, apply
from deepseek_operator.plan.proposals import propose
from deepseek_operator.plan.types import Plan, Refusal

_MOST_STEPS: Final = 6
_CLAIM: Final = re.compile(r"spec\.podTemplate\.volumes\[\d+\]\.persistentVolumeClaim")
Place = Callable[[Spec], Plan | Refusal]

MOST_TRIES: Final = 96
"""Plans made for one refusal; each takes a fraction of a millisecond, because sizes are remembered."""
_ENOUGH: Final = 2
"""Suggestions for the problem that has some; the others get the first of them."""


@dataclass(slots=True)
class _Trials:
    """Plans that were made of changed specs, each once, up to a limit."""

    place: Place
    made: dict[str, Plan | Refusal | None] = field(default_factory=dict)

    def of(self, spec: Spec | None) -> Plan | Refusal | None:
        """None: the API server would refuse the spec, or enough was tried."""
        if spec is None:
            return None
        key = spec.model_dump_json()
        if key not in self.made and len(self.made) < MOST_TRIES:
            outcome = self.place(spec)
            # Rules between fields last: few specs come so far.
            self.made[key] = None if isinstance(outcome, Plan) and not allowed(spec) else outcome
        return self.made.get(key)


def tried(refusal: Refusal, spec: Spec, place: Place) -> Refusal:
    """The refusal with what would work, in its messages and for programs.

    Args:
        refusal: the answer to ``spec``; suggestions that its problems carry are taken as proposals.
        spec: what was refused.
        place: plans a spec on the same cluster, without suggestions.
    """
    trials = _Trials(place=place)
    found = _alone(refusal.problems, spec, trials)
    if not any(found) and len(refusal.problems) > 1:
        found = _together(refusal.problems, spec, trials)
    if not any(found):
        found[0] = tuple(_onward(refusal, spec, trials))
    problems: list[Problem] = []
    told: set[Suggestion] = set()
    for problem, works in zip(refusal.problems, found, strict=True):
        message = _told(problem.message, [each for each in works if each not in told], spec, trials)
        told.update(works)
        problems.append(replace(problem, message=message, suggestions=works))
    return replace(refusal, problems=tuple(problems))


def _alone(problems: Sequence[Problem], spec: Spec, trials: _Trials) -> list[tuple[Suggestion, ...]]:
    """Changes that cure the whole spec, by the first problem that has one; they cure the others, too."""
    for problem in problems:
        if works := tuple(_working(problem, spec, trials, most=_ENOUGH)):
            return [works if each is problem else works[:1] for each in problems]
    return [() for _ in problems]


def _working(problem: Problem, spec: Spec, trials: _Trials, *, most: int) -> Iterator[Suggestion]:
    """Changes that alone make the spec plannable, and become different plans or at least different specs."""
    seen: set[str] = set()
    touched: set[tuple[str, ...]] = set()
    for proposal in propose(problem, spec):
        paths = tuple(path for path, _ in proposal.changes)
        if paths in touched and proposal not in problem.suggestions:
            continue
        outcome = trials.of(apply(spec, proposal))
        if not isinstance(outcome, Plan):
            continue
        suggestion = _filled(proposal, outcome)
        changed = apply(spec, suggestion)
        if not isinstance(trials.of(changed), Plan):
            suggestion, changed = proposal, apply(spec, proposal)
        key = changed.model_dump_json() if changed else ""
        if key in seen:
            continue
        seen.add(key)
        touched.add(paths)
        yield suggestion
        if len(seen) == most:
            return


def _filled(proposal: Suggestion, plan: Plan) -> Suggestion:
    """What was only left out, with the numbers that the plan came to."""
    numbers: dict[str, Value] = {
        "spec.parallelism.nodes": plan.nodes_per_group,
        "spec.parallelism.tensor": plan.parallelism.tensor,
        "spec.parallelism.pipeline": plan.parallelism.pipeline,
        "spec.parallelism.attentionData": plan.parallelism.attention_data,
        "spec.parallelism.expert": plan.parallelism.expert,
        "spec.context.maxLength": plan.memory.context_length,
        "spec.hardware.acceleratorsPerNode": plan.accelerators_per_node,
    }
    return Suggestion(
        changes=tuple((path, numbers.get(path) if value is None else value) for path, value in proposal.changes)
    )


def _together(problems: Sequence[Problem], spec: Spec, trials: _Trials) -> list[tuple[Suggestion, ...]]:
    """For each problem the change that cures it; told only if all of them together make the spec plannable."""
    current, left = spec, _keys(problems)
    chosen: list[Suggestion] = []
    for problem in problems:
        key = (problem.field, problem.reason)
        if key not in left and chosen:
            # What cured an earlier problem cured this one, too.
            chosen.append(chosen[-1])
            continue
        for suggestion in propose(problem, current):
            changed = apply(current, suggestion)
            outcome = trials.of(changed)
            if changed is None or outcome is None:
                continue
            after = set() if isinstance(outcome, Plan) else _keys(outcome.problems)
            # The problem is gone, and no other came in its place.
            if key not in after and after <= left:
                current, left = changed, after
                chosen.append(suggestion)
                break
    if len(chosen) == len(problems) and isinstance(trials.of(current), Plan):
        return [(each,) for each in chosen]
    return [() for _ in problems]


def _keys(problems: Sequence[Problem]) -> set[tuple[str, str]]:
    return {(each.field, each.reason) for each in problems}


def _onward(refusal: Refusal, spec: Spec, trials: _Trials) -> Iterator[Suggestion]:
    """Where curing one problem only brings the next to light: all the changes on the way to a plan, as one."""
    current = spec
    changes: dict[str, Value] = {}
    outcome: Plan | Refusal | None = refusal
    for _ in range(_MOST_STEPS):
        if not isinstance(outcome, Refusal):
            break
        step = _step(outcome, current, trials)
        if step is None:
            return
        suggestion, current, outcome = step
        changes |= dict(suggestion.changes)
    whole = Suggestion(changes=tuple(changes.items()))
    if isinstance(trials.of(apply(spec, whole)), Plan):
        yield whole


def _step(refusal: Refusal, spec: Spec, trials: _Trials) -> tuple[Suggestion, Spec, Plan | Refusal] | None:
    """The first change after which the first problem is gone."""
    problem = refusal.problems[0]
    for suggestion in propose(problem, spec):
        changed = apply(spec, suggestion)
        outcome = trials.of(changed)
        if changed is None or outcome is None:
            continue
        if isinstance(outcome, Plan) or problem.field not in {each.field for each in outcome.problems}:
            return suggestion, changed, outcome
    return None


def _told(message: str, works: Sequence[Suggestion], spec: Spec, trials: _Trials) -> str:
    """The message with the suggestions in words; where the split changes, with what it would become."""
    words = []
    for suggestion in works:
        outcome = trials.of(apply(spec, suggestion))
        text = str(suggestion)
        if isinstance(outcome, Plan) and any(path.startswith("spec.parallelism") for path, _ in suggestion.changes):
            split = outcome.parallelism
            text += (
                f" (it would be nodes {outcome.nodes_per_group}, tensor {split.tensor}, pipeline {split.pipeline} on "
                f"{outcome.hardware.product})"
            )
        if any(_CLAIM.fullmatch(path) or str(value).startswith("pvc://") for path, value in suggestion.changes):
            text += " (or what your claim is called)"
        words.append(text)
    return f"{message}. Tried and works: {'; or '.join(words)}" if words else message
