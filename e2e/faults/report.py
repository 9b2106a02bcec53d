"""The matrix as a page: its size, a table, every write, and what differed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from e2e.faults.case import FAULTS, KILLS, Result, Undisturbed
from e2e.faults.matrix import Matrix
from e2e.faults.scenarios import SCENARIOS

MOMENTS = (*KILLS, *FAULTS)

HEAD = """# Crash matrix

Written by `make faults`. The operator (the real `deepseek-operator run`) is killed with SIGKILL at every write of every
scenario, in a run each: once when the API server has carried the write out and before the operator gets the answer
(*before*), once when it has got the answer and before its next write reaches the API server (*after*). Write 0 is a
kill before the user acts. Then a new process starts, the scenario goes on, and what is in the namespace at the end must
equal the undisturbed run's, byte for byte, under [one mask file](../../e2e/faults/mask.yaml).

In three scenarios that together hold every kind of write, each write is also, with the operator left alive, refused
once (*409*, *429*, *500*), never delivered (*dropped*), carried out without its answer (*lost*), or delivered twice.

The dead operator's Lease is deleted by the harness, since its 15 s would be added to each case; failover by expiry has
a test of its own (`tests/faults/test_leaders.py`). Operators are forked from a process that has imported the program,
and run the command line's `main` (`e2e/faults/nursery.py`). Pods are kwok's: they run as soon as they are scheduled.
"""


def page(matrix: Matrix) -> str:
    """The whole page."""
    reached = [result for result in matrix.results if result.reached]
    cost = [result.seconds for result in matrix.results]
    lines = [
        HEAD,
        (
            f"**{len(matrix.undisturbed)} scenarios, {sum(len(run.writes) for run in matrix.undisturbed)} writes, "
            f"{len(reached)} kills and faults: {len(reached) - len(matrix.unequal)} ended like the undisturbed run, "
            f"{len(matrix.unequal)} did not.** {matrix.seconds / 60:.1f} minutes, median {median(cost):.1f} s a case."
        ),
        "",
        *([f"**A random sample: {matrix.left} more cells were not run.**", ""] if matrix.left else []),
        *_lost_leases(matrix),
        f"Pods of two starts of a group at the same time: **{len(matrix.mixed)}** ({matrix.pods} pods watched).",
        "",
        f"| Scenario | What happens | Writes | {' | '.join(MOMENTS)} | Not reached | Extra starts |",
        "|---" * (5 + len(MOMENTS)) + "|",
        *(_row(run, _of(matrix, run)) for run in matrix.undisturbed),
        "",
        (
            "*Not reached*: the run ended before it came to that write, since progress is told at most once a second. "
            "*Extra starts*: starts of groups beyond the undisturbed run's, over all cases of the row."
        ),
        "",
        "## Writes",
        "",
        *(line for run in matrix.undisturbed for line in _writes(run, _of(matrix, run))),
    ]
    if matrix.unequal:
        lines += ["## Differences", "", *(line for result in matrix.unequal for line in _difference(result))]
    if matrix.mixed:
        lines += ["## Two starts at once", "", *(f"- {line}" for line in matrix.mixed), ""]
    return "\n".join(lines).rstrip() + "\n"


def _lost_leases(matrix: Matrix) -> list[str]:
    lost = sum(result.lost_leases for result in matrix.results)
    told = "operators could not renew their Lease within 10 s on a busy machine; they ended and were started again, as"
    return [f"{lost} {told} a kubelet does.", ""] if lost else []


def _of(matrix: Matrix, run: Undisturbed) -> list[Result]:
    return [result for result in matrix.results if result.scenario == run.scenario.name]


def _row(run: Undisturbed, results: Sequence[Result]) -> str:
    def equal(moment: str) -> str:
        reached = [result for result in results if result.moment == moment and result.reached]
        return f"{sum(not result.difference for result in reached)} of {len(reached)}" if reached else ""

    about = next(scenario.about for scenario in SCENARIOS if scenario.name == run.scenario.name)
    missed = sum(not result.reached for result in results)
    extra = sum(result.extra_starts for result in results)
    cells = (run.scenario.name, about, len(run.writes), *map(equal, MOMENTS), missed, extra)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _writes(run: Undisturbed, results: Sequence[Result]) -> list[str]:
    moments = [m for m in MOMENTS if any(result.moment == m for result in results)]
    lines = [f"### {run.scenario.name}", "", f"| Write | Request | {' | '.join(moments)} |"]
    lines.append("|---" * (2 + len(moments)) + "|")
    for number in range(max((result.write for result in results), default=0) + 1):
        mine = {result.moment: result for result in results if result.write == number}
        label = "killed before the user acts" if number == 0 else "beyond the undisturbed run"
        if 0 < number <= len(run.writes):
            label = f"`{run.writes[number - 1].replace(run.namespace, 'NAMESPACE')}`"
        verdicts = " | ".join(_verdict(mine.get(moment)) for moment in moments)
        lines.append(f"| {number} | {label} | {verdicts} |")
    return [*lines, ""]


def _verdict(result: Result | None) -> str:
    if result is None:
        return ""
    if not result.reached:
        return "not reached"
    verdict = "**differs**" if result.difference else "equal"
    return f"{verdict}, {result.extra_starts:+d} starts" if result.extra_starts else verdict


def _difference(result: Result) -> list[str]:
    label = result.label.replace(result.namespace, "NAMESPACE")
    title = f"### {result.scenario}, write {result.write} {result.moment} (`{label}`)"
    return [title, "", "```diff", result.difference.replace(result.namespace, "NAMESPACE"), "```", ""]
