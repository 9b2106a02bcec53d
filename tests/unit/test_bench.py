from __future__ import annotations

import pytest

from e2e.bench import plan
from e2e.bench.plan import Case, many_deployments, measure, one_deployment, specs, table


def test_the_benchmark_plans_what_it_says() -> None:
    assert one_deployment(24)() == 1
    assert 0 < many_deployments(24, 30)() < 30
    assert len({spec.model_dump_json() for spec in specs(300)}) == 300


def test_a_case_over_its_limit_is_marked_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy() -> int:
        return sum(range(200_000)) and 1

    fast, slow = Case(name="fast", limit=60.0, run=busy), Case(name="slow", limit=0.0, run=busy)
    lines = table([measure(fast), measure(slow)]).splitlines()
    assert ["over" in line for line in lines] == [False, False, False, True]
    monkeypatch.setattr(plan, "cases", lambda: iter([fast]))
    assert plan.main() == 0
    monkeypatch.setattr(plan, "cases", lambda: iter([fast, slow]))
    assert plan.main() == 1
    assert "| slow |" in capsys.readouterr().out
