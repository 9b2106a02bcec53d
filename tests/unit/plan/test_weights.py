"""Where weights come from and where they lie."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.plan.types import Facts, WeightsPlan
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, plan_of

REVISION = "e9b33add76883f293d6bf61f6bd89b497e80e335"


def weights_of(*, facts: Facts = FACTS, **fields: Any) -> WeightsPlan:
    return plan_of([nodes.h200("a")], facts=facts, precision="fp8", **fields).weights


def test_the_models_own_repository_is_the_default_at_its_pinned_commit() -> None:
    weights = weights_of()
    assert weights.source == "hf://deepseek-ai/DeepSeek-V3-0324"
    assert (weights.repository, weights.revision) == ("deepseek-ai/DeepSeek-V3-0324", REVISION)
    assert (weights.layout, weights.size_gib, weights.path) == ("fp8-block128", 641.3, "/models")


def test_a_revision_of_ones_own_wins() -> None:
    assert weights_of(revision="main").revision == "main"


@pytest.mark.parametrize(
    ("facts", "cache", "volume"),
    [
        (Facts(node_path="/mnt/w", default_storage_class=True), "auto", "node"),
        (Facts(node_path="/mnt/w", default_storage_class=False), "auto", "node"),
        (Facts(node_path="/mnt/w", default_storage_class=True), "perRank", "perRank"),
        (Facts(default_storage_class=True), "auto", "perRank"),
        (Facts(default_storage_class=None), "auto", "perRank"),
    ],
)
def test_the_volume_is_the_best_that_there_is(facts: Facts, cache: str, volume: str) -> None:
    assert weights_of(facts=facts, weights={"cache": cache}).volume == volume


def test_a_node_directory_is_one_a_namespace_model_and_revision() -> None:
    weights = weights_of(facts=Facts(node_path="/mnt/w"))
    assert weights.node_path == f"/mnt/w/default/deepseek-ai--DeepSeek-V3-0324/{REVISION}"
    assert weights.claim is not None
    assert weights.claim.startswith("weights-")
    assert len(weights.claim) == len("weights-") + 10
    other = weights_of(facts=Facts(node_path="/mnt/w"), revision="main")
    assert other.claim != weights.claim


def test_an_unknown_cluster_is_warned_of() -> None:
    plan = plan_of([nodes.h200("a")], facts=Facts())
    assert any("assumed a default StorageClass" in each for each in plan.warnings)
    assert not any("StorageClass" in each for each in plan_of([nodes.h200("a")]).warnings)


def test_a_branch_is_warned_of() -> None:
    assert any("pin spec.revision" in each for each in plan_of([nodes.h200("a")], revision="main").warnings)


@pytest.mark.parametrize(
    ("source", "claim", "path"), [("pvc://big/v3", "big", "/models/v3"), ("pvc://big/a/b/", "big", "/models/a/b")]
)
def test_a_claim_is_used_where_it_is(source: str, claim: str, path: str) -> None:
    weights = weights_of(weights={"source": source}, facts=Facts(default_storage_class=False))
    assert (weights.volume, weights.claim, weights.path, weights.repository) == ("claim", claim, path, None)


def test_a_mounted_directory_is_used_where_it_is() -> None:
    volumes = [{"name": "m", "persistentVolumeClaim": "big"}]
    mounts = [{"name": "m", "mountPath": "/data"}]
    weights = weights_of(
        weights={"source": "path:///data/v3"}, podTemplate={"volumes": volumes, "volumeMounts": mounts}
    )
    assert (weights.volume, weights.path, weights.claim) == ("mounted", "/data/v3", None)
