"""The containers as they are rendered, run one after another as processes on real bytes: fetch, convert, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.types import Conversion, ConversionStep, WeightsPlan
from deepseek_operator.render.weights_tool import TERMINATION_LOG, containers
from deepseek_operator.weights.cast import cast
from deepseek_operator.weights.dequantize import CpuDequantizer
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.workspace import MARKER, read_marker
from tests.unit.render.samples import CAST_WEIGHTS, spec
from tests.unit.render.test_quantity import kubernetes_expansion
from tests.unit.weights import test_objectstore
from tests.unit.weights.conftest import Fetcher, Outcome, Program, content_of
from tests.unit.weights.test_objectstore import Bucket

s3 = test_objectstore.s3
bucket = test_objectstore.bucket
Run = Callable[[Spec, WeightsPlan], dict[str, Outcome]]


def planned(volume: Path, source: str, **changes: Any) -> WeightsPlan:
    """Weights of a source, cast to BF16, in a volume that is mounted at a directory of this machine."""
    step = ConversionStep(tool="cast", layout="bf16", size_gib=1.0, path=f"{volume}/converted/bf16")
    conversion = Conversion(source_layout="fp8-block128", source_gib=1.0, source_path=str(volume), steps=(step,))
    return replace(CAST_WEIGHTS, source=source, path=step.path, conversion=conversion, **changes)


@pytest.fixture
def run(program: Program, tmp_path: Path) -> Run:
    """Run the containers in order until one fails, as a kubelet does."""

    def go(wanted: Spec, weights: WeightsPlan) -> dict[str, Outcome]:
        ended: dict[str, Outcome] = {}
        for container in containers(wanted, weights, user_mounts=[]):
            words = [kubernetes_expansion(word) for word in container["command"][2:]]
            words[words.index("--progress-address") + 1] = "127.0.0.1:0"
            words = [str(tmp_path / "termination-log") if word == TERMINATION_LOG else word for word in words]
            ended[container["name"]] = program(*words)
            if ended[container["name"]].code:
                break
        return ended

    return go


def expected(source: Path, target: Path) -> dict[str, bytes]:
    cast(source, target, dequantize=CpuDequantizer(), workers=1, progress=Progress())
    return content_of(target)


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_hubs_fp8_weights_become_bf16_that_is_complete_and_equal(
    scheme: str, fetched: Fetcher, run: Run, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    weights = planned(volume, f"{scheme}://{fetched.hub.repository}", revision="main" if scheme == "hf" else "master")
    ended = run(spec(), weights)
    assert {name: outcome.code for name, outcome in ended.items()} == {
        "fetch-weights": 0,
        "convert-weights": 0,
        "verify-weights": 0,
    }, [outcome.stderr for outcome in ended.values()]
    fetched()
    assert content_of(Path(weights.path)) == expected(fetched.target, tmp_path / "expected")
    config = json.loads((Path(weights.path) / "config.json").read_text())
    assert "quantization_config" not in config
    summary = json.loads((tmp_path / "termination-log").read_text())
    assert summary["readBytes"] + summary["cachedBytes"] > 0
    # A restart of the group: nobody is asked, nothing is written.
    before = len(fetched.hub.requests), (Path(weights.path) / MARKER).stat().st_mtime_ns
    assert all(outcome.code == 0 for outcome in run(spec(), weights).values())
    assert (len(fetched.hub.requests), (Path(weights.path) / MARKER).stat().st_mtime_ns) == before


@pytest.mark.usefixtures("bucket")
def test_weights_in_s3_too(run: Run, origin: Path, tmp_path: Path, bucket: Bucket) -> None:
    assert bucket.url
    volume = tmp_path / "volume"
    weights = planned(volume, "s3://weights/models/v3", repository=None, revision=None)
    asked = spec(weights={"source": "s3://weights/models/v3", "credentialsSecret": "minio"})
    ended = run(asked, weights)
    assert all(outcome.code == 0 for outcome in ended.values()), [outcome.stderr for outcome in ended.values()]
    marker = read_marker(Path(weights.path))
    assert marker is not None
    assert marker.about["layout"] == "bf16"
    assert origin.is_dir()


def test_a_claims_own_fp8_weights_are_cast_without_touching_them(run: Run, origin: Path, tmp_path: Path) -> None:
    before = content_of(origin)
    weights = planned(tmp_path / "volume", "pvc://mine/v3-fp8", repository=None, source_claim="mine")
    assert weights.conversion is not None
    weights = replace(weights, conversion=replace(weights.conversion, source_path=str(origin)))
    ended = run(spec(), weights)
    assert list(ended) == ["convert-weights", "verify-weights"]
    assert all(outcome.code == 0 for outcome in ended.values())
    assert content_of(Path(weights.path)) == expected(origin, tmp_path / "expected")
    assert content_of(origin) == before
    assert not (origin / ".deepseek-weights").exists()


def test_the_demos_files_are_cut_from_the_cast(run: Run, origin: Path, tmp_path: Path) -> None:
    weights = planned(tmp_path / "volume", "pvc://mine/v3-fp8", repository=None, source_claim="mine")
    assert weights.conversion is not None
    cut = ConversionStep(
        tool="shard",
        layout="mp2",
        size_gib=1.0,
        path=f"{tmp_path}/volume/converted/bf16-mp2",
        model_parallel=2,
        experts=4,
    )
    conversion = replace(weights.conversion, source_path=str(origin), steps=(*weights.conversion.steps, cut))
    ended = run(spec(), replace(weights, conversion=conversion, path=cut.path))
    assert list(ended) == ["convert-weights", "convert-weights-2", "verify-weights"]
    assert all(outcome.code == 0 for outcome in ended.values()), [outcome.stderr for outcome in ended.values()]
    assert sorted(path.name for path in Path(cut.path).glob("model*.safetensors")) == [
        "model0-mp2.safetensors",
        "model1-mp2.safetensors",
    ]


def test_a_damaged_file_stops_the_start_before_the_engine(fetched: Fetcher, program: Program, tmp_path: Path) -> None:
    fetched()
    weights = replace(CAST_WEIGHTS, conversion=None, path=str(fetched.target))
    words = containers(spec(), weights, user_mounts=[])[-1]["command"][2:]
    words = words[: words.index("--summary")]
    assert program(*words).code == 0
    shard = next(fetched.target.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    ended = program(*words)
    assert ended.code == 2
    assert shard.name in ended.stderr
