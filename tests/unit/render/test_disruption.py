from __future__ import annotations

from deepseek_operator.render.disruption import disruption_budget
from deepseek_operator.render.owner import pod_selector
from tests.unit.render.samples import OWNER


def test_no_rank_of_a_serving_group_may_be_evicted() -> None:
    budget = disruption_budget(OWNER, 0)
    assert budget["metadata"]["name"] == "deepseek-fp8-g0"
    assert budget["spec"]["maxUnavailable"] == 0
    assert budget["spec"]["selector"]["matchLabels"] == pod_selector(OWNER, 0)


def test_a_group_that_does_not_serve_never_blocks_a_drain() -> None:
    assert disruption_budget(OWNER, 0)["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_an_open_budget_lets_one_rank_go() -> None:
    assert disruption_budget(OWNER, 0, open_for_drain=True)["spec"]["maxUnavailable"] == 1
