"""Where weights come from and where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.plan.explain import plan_document
from deepseek_operator.plan.stored import dump, restore
from deepseek_operator.plan.types import Facts, StorageClass, WeightsPlan
from deepseek_operator.plan.weights import Located, Sources, precision_of_source
from tests.unit.plan import nodes
from tests.unit.plan.cases import FACTS, plan_of, spec_of
from tests.unit.plan.test_placement import many

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.plan.nodes import Manifest

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


@pytest.mark.parametrize("make", [nodes.a100, nodes.ascend910b])
def test_devices_without_fp8_get_the_publishers_weights_cast_to_bf16(make: Callable[[str], Manifest]) -> None:
    plan = plan_of(many(make, 4))
    weights = plan.weights
    assert (plan.precision, weights.layout, weights.path) == ("bf16", "bf16", "/models/converted/bf16")
    assert weights.source == "hf://deepseek-ai/DeepSeek-V3-0324"
    assert weights.revision == REVISION
    assert weights.conversion is not None
    assert (weights.conversion.source_layout, weights.conversion.source_path) == ("fp8-block128", "/models")
    assert [(step.tool, step.layout) for step in weights.conversion.steps] == [("cast", "bf16")]
    assert weights.size_gib == weights.conversion.steps[0].size_gib == pytest.approx(1275, rel=0.01)
    assert weights.disk_gib == pytest.approx(641.3 + weights.size_gib)
    assert any("cast to bf16" in each and "1,916 GiB of disk" in each for each in plan.warnings)


def test_bf16_by_wish_is_cast_and_published_bf16_is_not() -> None:
    assert plan_of(many(nodes.h200, 2), precision="bf16").weights.conversion is not None
    own = plan_of(many(nodes.h200, 2), precision="bf16", weights={"source": "hf://example/DeepSeek-V3-0324-BF16"})
    assert own.weights.conversion is None
    distilled = plan_of([nodes.h100("a")], model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    assert distilled.weights.conversion is None


def test_fp8_weights_of_the_users_own_claim_are_cast_into_a_volume_of_their_own() -> None:
    source = {"source": "pvc://w/v3-fp8", "cache": "perRank"}
    weights = plan_of(many(nodes.a100, 4), precision="bf16", weights=source).weights
    assert (weights.volume, weights.source_claim, weights.source_path) == ("perRank", "w", "/source/v3-fp8")
    assert weights.path == "/models/converted/bf16"
    assert not weights.fetched
    assert weights.disk_gib == weights.size_gib


def test_a_shared_claim_goes_before_the_nodes_directory_and_holds_one_folder_a_revision() -> None:
    facts = Facts(node_path="/mnt/w", default_storage_class=True)
    weights = weights_of(facts=facts, weights={"claimName": "big"})
    assert (weights.volume, weights.claim, weights.node_path) == ("shared", "big", None)
    assert weights.path == f"/models/deepseek-ai--DeepSeek-V3-0324/{REVISION}"


def test_the_nodes_disk_is_used_only_on_request_and_told_of() -> None:
    plan = plan_of([nodes.h200("a")], weights={"cache": "ephemeral"}, facts=Facts(default_storage_class=False))
    assert plan.weights.volume == "ephemeral"
    assert any("every new pod prepares 641 GiB again" in each for each in plan.warnings)


@pytest.mark.parametrize(
    ("source", "layout", "repository", "revision"),
    [
        ("modelscope://deepseek-ai/DeepSeek-V3-0324", "fp8-block128", "deepseek-ai/DeepSeek-V3-0324", "master"),
        ("s3://models/v3-fp8", "fp8-block128", None, None),
    ],
)
def test_other_sources_are_fetched_too(source: str, layout: str, repository: str | None, revision: str | None) -> None:
    weights = weights_of(weights={"source": source}, facts=Facts(node_path="/mnt/w"))
    assert (weights.source, weights.layout, weights.repository, weights.revision) == (
        source,
        layout,
        repository,
        revision,
    )
    assert weights.fetched
    assert weights.node_path is not None
    assert weights.node_path.startswith(f"/mnt/w/default/{source.partition('://')[0]}--")


def test_an_engine_can_ask_for_weights_cut_by_rank() -> None:
    catalog, spec = load(), spec_of({})
    sources = Sources(
        spec=spec, model=catalog.models["deepseek-v3-0324"], catalog=catalog, facts=FACTS, namespace="default"
    )
    for precision, tools, path in (
        ("fp8", ["shard"], "/models/converted/mp16"),
        ("bf16", ["cast", "shard"], "/models/converted/bf16-mp16"),
    ):
        located = sources.find(precision, architecture="sm90")
        assert isinstance(located, Located)
        cut = sources.sharded(located, model_parallel=16, experts=256)
        assert isinstance(cut, Located)
        assert cut.weights.conversion is not None
        assert [step.tool for step in cut.weights.conversion.steps] == tools
        assert cut.weights.path == path
        assert (cut.weights.conversion.steps[-1].model_parallel, cut.weights.conversion.steps[-1].experts) == (16, 256)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"type": "gp3"}, "StorageClass ebs reads about 125 MiB/s"),
        ({"type": "gp3", "throughput": "1000"}, None),
        ({"type": "gp2"}, "about 250 MiB/s"),
        ({"type": "io2"}, None),
    ],
)
def test_a_slow_storage_class_is_warned_of(parameters: dict[str, str], told: str | None) -> None:
    ebs = StorageClass(name="ebs", provisioner="ebs.csi.aws.com", parameters=parameters, default=True)
    plan = plan_of([nodes.h200("a")], facts=Facts(default_storage_class=True, storage_classes={"ebs": ebs}))
    found = [each for each in plan.warnings if "StorageClass" in each]
    assert bool(found) == bool(told)
    assert all(str(told) in each for each in found)


def test_the_document_of_a_plan_tells_the_conversion() -> None:
    document = plan_document(plan_of(many(nodes.a100, 4)), launch=None, groups=1)
    conversion = document["weights"]["conversion"]
    assert (conversion["from"], conversion["to"], conversion["sourceSizeGiB"]) == ("fp8-block128", "bf16", 641.3)
    assert conversion["sizeGiB"] == pytest.approx(1275, rel=0.01)
    assert conversion["steps"][0]["path"] == "/models/converted/bf16"
    assert plan_document(plan_of([nodes.h200("a")]), launch=None, groups=1)["weights"]["conversion"] is None


def test_a_stored_plan_of_an_earlier_version_is_read() -> None:
    plan = plan_of(many(nodes.a100, 4))
    assert restore(dump(plan)) == plan
    earlier = dump(plan_of([nodes.h200("a")]))
    for name in ("conversion", "source_claim", "storage_class", "tool_image"):
        del earlier["weights"][name]
    assert restore(earlier).weights.tool_image == ""


R1: dict[str, Any] = {"model": "deepseek-ai/DeepSeek-R1"}
VARIANT = {"allowVariant": True}


@pytest.mark.parametrize(
    ("cluster", "model", "precision", "layout", "repository"),
    [
        (many(nodes.a100, 2), "R1", "int8", "int8-block128", "meituan/DeepSeek-R1-Block-INT8"),
        (many(nodes.l40s, 4), "R1", "int8", "int8-block128", "meituan/DeepSeek-R1-Block-INT8"),
        (many(nodes.h100, 1), "R1", "w4afp8", "w4afp8", "novita/Deepseek-R1-W4AFP8"),
        (many(nodes.a100, 1), "R1", "awq", "awq-group64", "cognitivecomputations/DeepSeek-R1-AWQ"),
        (many(nodes.a100, 1), "V3", "awq", "awq-group64", "cognitivecomputations/DeepSeek-V3-AWQ"),
        (many(nodes.b200, 1), "R1", "nvfp4", "nvfp4", "nvidia/DeepSeek-R1-FP4"),
        (many(nodes.mi355x, 1), "R1-0528", "mxfp4", "mxfp4", "amd/DeepSeek-R1-0528-MXFP4"),
    ],
)
def test_an_allowed_variant_is_planned_in_its_own_layout_and_told_of(
    cluster: list[Manifest], model: str, precision: str, layout: str, repository: str
) -> None:
    plan = plan_of(cluster, model=f"deepseek-ai/DeepSeek-{model}", precision=precision, weights=VARIANT)
    assert (plan.weights.layout, plan.weights.repository, plan.precision) == (layout, repository, precision)
    assert plan.memory.disk_gib == pytest.approx(plan.weights.size_gib, rel=0.05)
    assert any(f"{repository.partition('/')[0]}'s {layout} variant" in each for each in plan.warnings)


def test_auto_prefers_the_publishers_own_weights_to_an_allowed_variant() -> None:
    assert plan_of(many(nodes.h100, 2), weights=VARIANT, **R1).precision == "fp8"


def test_auto_takes_an_allowed_variant_where_nothing_else_runs() -> None:
    assert plan_of(many(nodes.a100, 2), weights=VARIANT, **R1).weights.layout == "int8-block128"


def test_a_source_of_ones_own_needs_no_permission() -> None:
    plan = plan_of(
        many(nodes.l40s, 4), precision="int8", weights={"source": "hf://meituan/DeepSeek-R1-Channel-INT8"}, **R1
    )
    assert plan.weights.layout == "int8-channel"
    assert plan.parallelism.tensor == 32


@pytest.mark.parametrize(
    ("cluster", "source", "precision", "layout"),
    [
        (many(nodes.a100, 2), "pvc://w/R1-Channel-INT8", "int8", "int8-channel"),
        (many(nodes.a100, 2), "pvc://w/r1", "int8", "int8-block128"),
        (many(nodes.ascend910b, 2), "pvc://w/r1", "int8", "modelslim-w8a8"),
        (many(nodes.ascend910c, 1), "pvc://w/r1", "w4a8", "modelslim-w4a8"),
    ],
)
def test_the_layout_of_ones_own_weights_follows_from_name_and_devices(
    cluster: list[Manifest], source: str, precision: str, layout: str
) -> None:
    plan = plan_of(cluster, precision=precision, weights={"source": source}, **R1)
    assert plan.weights.layout == layout
    assert plan.weights.size_gib == pytest.approx(plan.memory.disk_gib, abs=0.1)


@pytest.mark.parametrize(
    ("source", "precision"),
    [
        ("hf://nvidia/DeepSeek-R1-FP4", "nvfp4"),
        ("pvc://w/DeepSeek-R1-W8A8", "int8"),
        ("pvc://w/r1-w4a8", "w4a8"),
        ("pvc://w/r1-W4AFP8", "w4afp8"),
        ("pvc://w/r1-mxfp4", "mxfp4"),
        ("pvc://w/r1-bf16", "bf16"),
        ("hf://org/DeepSeek-R1-Channel-FP8-w8a8", "fp8"),
        ("pvc://w/r1", None),
    ],
)
def test_the_name_of_a_source_tells_its_precision(source: str, precision: str | None) -> None:
    catalog = load()
    spec = spec_of({**R1, "weights": {"source": source}})
    assert precision_of_source(spec, catalog.models["deepseek-r1"], catalog) == precision


@pytest.mark.parametrize(
    ("model", "make", "devices"),
    [
        ("Qwen-1.5B", nodes.h100, 1),
        ("Qwen-7B", nodes.l40s, 1),
        ("Qwen-14B", nodes.a100, 1),
        ("Qwen-32B", nodes.h100, 2),
        ("Llama-8B", nodes.ascend910b, 1),
        ("Llama-70B", nodes.h100, 4),
        ("Llama-70B", nodes.mi300x, 1),
    ],
)
def test_a_distilled_model_takes_the_devices_that_it_needs(
    model: str, make: Callable[[str], Manifest], devices: int
) -> None:
    plan = plan_of([make("a")], model=f"deepseek-ai/DeepSeek-R1-Distill-{model}")
    assert (plan.nodes_per_group, plan.accelerators_per_node, plan.parallelism.tensor) == (1, devices, devices)
    assert plan.requests.accelerators == devices
    assert plan.weights.layout == "bf16"
    assert [each.verdict for each in plan.considered] == ["chosen"]
    assert not any("no usable fp8" in each for each in plan.warnings)


def test_a_distilled_model_takes_more_devices_for_a_longer_context() -> None:
    model: dict[str, Any] = {"model": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"}
    assert plan_of([nodes.l40s("a")], **model).accelerators_per_node == 4
    assert plan_of([nodes.l40s("a")], context={"maxLength": 131_072}, **model).accelerators_per_node == 8
