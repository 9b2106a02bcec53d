"""Which precisions each architecture runs, for weights and for the KV cache: by architecture, not by one number."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.types import Plan
from tests.unit.plan.cases import BF16_SOURCE, outcome_of
from tests.unit.plan.clusters import labelled

BOTH, ONLY_BF16 = {"fp8", "bf16"}, {"bf16"}
GATE = {
    # architecture: weights, KV cache, a cluster of the tables that has it
    "sm80": (ONLY_BF16, ONLY_BF16, "A100 80"),
    "sm89": (BOTH, BOTH, "L40S"),
    "sm90": (BOTH, BOTH, "H200"),
    "sm100": (BOTH, BOTH, "B200"),
    "sm103": (BOTH, BOTH, "B300"),
    "sm120": (ONLY_BF16, ONLY_BF16, "RTX PRO 6000"),
    "gfx90a": (ONLY_BF16, ONLY_BF16, "MI250X"),
    "gfx942": (BOTH, BOTH, "MI300X"),
    "gfx950": (BOTH, BOTH, "MI355X"),
    "ascend910b": (ONLY_BF16, ONLY_BF16, "910B, names of 2026"),
    "ascend910c": (ONLY_BF16, ONLY_BF16, "910C, names of 2026"),
    "ascend950": (ONLY_BF16, ONLY_BF16, "950"),
}


WITHOUT_IMAGE = {"sm120", "ascend950"}
"""SGLang publishes none for them that the catalogue knows."""


def test_every_architecture_of_the_catalogue_has_a_row() -> None:
    catalog = load()
    assert catalog.architectures.keys() == GATE.keys()
    assert {each.architecture for each in catalog.accelerators} == GATE.keys()


@pytest.mark.parametrize("architecture", GATE)
def test_products_run_what_their_architecture_runs(architecture: str) -> None:
    weights, kv, _ = GATE[architecture]
    for each in load().accelerators:
        if each.architecture == architecture:
            assert set(each.precisions) & BOTH == weights, each.product
            assert set(each.kv_precisions) & BOTH == kv, each.product


@pytest.mark.parametrize("precision", sorted(BOTH))
@pytest.mark.parametrize("architecture", GATE)
def test_weights_of_a_precision_pass_the_gate_or_are_refused_by_it(architecture: str, precision: str) -> None:
    weights, _, cluster = GATE[architecture]
    nodes = labelled.CLUSTERS[cluster].nodes
    source = BF16_SOURCE if precision == "bf16" else {}
    outcome = outcome_of(nodes, precision=precision, weights=source)
    reasons = set() if isinstance(outcome, Plan) else {each.reason for each in outcome.problems}
    if architecture in WITHOUT_IMAGE:
        # Said first: no precision would cure it.
        assert reasons == {"EngineWithoutImage"}
    else:
        assert ("PrecisionNotNative" in reasons) == (precision not in weights)


@pytest.mark.parametrize("architecture", sorted(GATE.keys() - WITHOUT_IMAGE))
def test_an_fp8_cache_passes_the_gate_or_is_refused_by_it(architecture: str) -> None:
    _, kv, cluster = GATE[architecture]
    outcome = outcome_of(
        labelled.CLUSTERS[cluster].nodes, precision="bf16", weights=BF16_SOURCE, context={"kvCachePrecision": "fp8"}
    )
    reasons = set() if isinstance(outcome, Plan) else {each.reason for each in outcome.problems}
    assert ("KVPrecisionNotNative" in reasons) == ("fp8" not in kv)


@pytest.mark.parametrize("architecture", ["sm120", "ascend950"])
def test_an_architecture_without_engine_is_refused_for_that(architecture: str) -> None:
    outcome = outcome_of(labelled.CLUSTERS[GATE[architecture][2]].nodes, precision="bf16", weights=BF16_SOURCE)
    assert not isinstance(outcome, Plan)
    assert {each.reason for each in outcome.problems} == {"EngineWithoutImage"}
