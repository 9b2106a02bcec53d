from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

FIT_KEYS = {
    "fits", "engine", "freeGiB", "memFraction", "weightsGiB", "kvBytesPerToken", "kvTokens", "kvGiB", "reserveGiB",
    "contextLength", "terms", "limitedBy", "problems",
}  # fmt: skip
V3 = ("fit", "--model", "deepseek-v3-0324", "--precision", "fp8")
CONFIG = {
    "hidden_size": 7168, "num_hidden_layers": 61, "first_k_dense_replace": 3, "num_attention_heads": 128,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
    "vocab_size": 129280, "max_position_embeddings": 163840, "num_nextn_predict_layers": 1,
}  # fmt: skip


def test_json_has_the_keys_of_the_contract(run: Run) -> None:
    result = run(*V3, "--product", "H100", "--tensor", "16", "-o", "json")

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document.keys() >= FIT_KEYS
    assert (document["fits"], document["limitedBy"], document["problems"]) == (True, None, [])


def test_what_does_not_fit_is_exit_code_3_and_the_blame_is_named(run: Run) -> None:
    result = run(*V3, "--free-gib", "78", "--tensor", "8", "-o", "json")

    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["fits"], document["limitedBy"]) == (False, "weights")
    assert "tensor 16" in document["problems"][0]["message"]


def test_a_split_that_breaks_the_model_is_exit_code_2(run: Run) -> None:
    result = run(*V3, "--product", "H100", "--tensor", "12", "-o", "json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"][0]["reason"] == "HeadsNotDivisible"


def test_a_config_json_is_sized_like_the_catalogue_model_of_the_same_shape(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    options = ("--precision", "fp8", "--product", "H200", "-o", "json")

    of_file = run("fit", "--model", config, *options)
    of_catalogue = run("fit", "--model", "deepseek-v3-0324", *options)

    assert json.loads(of_file.stdout) == json.loads(of_catalogue.stdout)


def test_a_config_json_of_another_architecture_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({key: value for key, value in CONFIG.items() if key != "kv_lora_rank"}))

    result = run("fit", "--model", config, "--precision", "fp8", "--product", "H200")

    assert result.exit_code == 2
    assert "kv_lora_rank" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [
        ("--pipeline", "2", "weightsGiB"),
        ("--attention-data", "2", "weightsGiB"),
        ("--redundant-experts", "32", "weightsGiB"),
        ("--moe-dense-tensor", "1", "weightsGiB"),
        ("--kv-cache", "fp8", "kvBytesPerToken"),
        ("--mem-fraction", "0.7", "memFraction"),
        ("--context-length", "65536", "contextLength"),
        ("--max-running", "16", "terms"),
        ("--mtp", None, "weightsGiB"),
        ("--tensor", "16", "weightsGiB"),
        ("--free-gib", "120", "freeGiB"),
    ],
)
def test_every_option_changes_the_answer(run: Run, option: str, value: str | None, changed: str) -> None:
    device = () if option == "--free-gib" else ("--product", "H200")
    plain = json.loads(run(*V3, "--product", "H200", "-o", "json").stdout)
    result = run(*V3, *device, option, *([value] if value else []), "-o", "json")

    assert json.loads(result.stdout)[changed] != plain[changed]


def test_the_text_names_every_term(run: Run) -> None:
    text = run(*V3, "--product", "H200").stdout

    assert "routedExperts" in text
    assert "KV tokens" in text


def test_vllm_answers_with_its_own_meaning_of_the_fraction(run: Run) -> None:
    result = run(*V3, "--product", "H200", "--tensor", "8", "--engine", "vllm", "-o", "json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["engine"], document["memFraction"]) == ("vllm", 0.92)
    assert document["kvTokens"] > 300_000


def test_an_engine_without_a_memory_model_gets_no_figure_of_another(run: Run) -> None:
    result = run(*V3, "--product", "H200", "--tensor", "8", "--engine", "lmdeploy", "-o", "json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["weightsGiB"] == pytest.approx(83, abs=4)
    assert [document[key] for key in ("kvTokens", "kvGiB", "memFraction", "requests4k")] == [None] * 4


def test_an_old_version_counts_what_it_counted(run: Run) -> None:
    options = (*V3, "--free-gib", "137", "--tensor", "8", "-o", "json")

    now, then = (json.loads(run(*options, *more).stdout) for more in ((), ("--engine-version", "0.4.6")))

    assert then["weightsGiB"] - now["weightsGiB"] == pytest.approx(2.08, abs=0.01)


@pytest.mark.parametrize("precision", ["int8", "w4afp8", "awq", "nvfp4", "mxfp4", "w4a8"])
def test_every_precision_has_a_footprint(run: Run, precision: str) -> None:
    result = run("fit", "--model", "deepseek-r1", "--precision", precision, "--free-gib", "130", "-o", "json")

    assert result.exit_code == 0, result.stderr
    assert 40 < json.loads(result.stdout)["weightsGiB"] < 82


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--tensor", "12"), "--tensor"),
        (("--attention-data", "3"), "--attention-data"),
        (("--expert", "3"), "--expert"),
        (("--engine-version", "0.0.1"), "--engine-version"),
        (("--context-length", "200000"), "--context-length"),
        (("--mem-fraction", "0.3"), "--mem-fraction"),
        (("--tensor", "4"), "--tensor"),
    ],
)
def test_what_is_wrong_is_named_by_its_option(run: Run, options: tuple[str, ...], field: str) -> None:
    result = run(*V3, "--product", "H200", *options, "-o", "json")

    (problem, *_) = json.loads(result.stdout)["problems"]
    assert problem["field"] == field
    assert f"error: {field}: " in result.stderr
    assert "spec." not in result.stderr.replace("spec.engine.image", "")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--model", "deepseek-v33", "--precision", "fp8", "--product", "H200"), "--model"),
        (("--model", "deepseek-v3", "--precision", "fp8", "--product", "H300"), "--product"),
        (("--model", "deepseek-v3", "--precision", "fp8"), "--product"),
        (("--model", "deepseek-v3", "--precision", "fp8", "--product", "A100"), "--precision"),
    ],
)
def test_a_name_that_is_not_known_is_named_by_its_option(run: Run, arguments: tuple[str, ...], field: str) -> None:
    result = run("fit", *arguments, "-o", "json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"][0]["field"] == field
    assert field in result.stderr


def test_a_context_longer_than_the_models_is_wrong_input(run: Run) -> None:
    result = run(*V3, "--product", "H200", "--context-length", "163841", "-o", "json")

    assert result.exit_code == 2
    assert "use at most 163840" in json.loads(result.stdout)["problems"][0]["message"]
