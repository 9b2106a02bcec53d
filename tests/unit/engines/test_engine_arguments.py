"""What a user is told about arguments of engines other than SGLang, beside what the engine itself makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import yaml

from deepseek_operator.engines.arguments import check
from deepseek_operator.engines.flags import known_versions, release_flags, successor
from deepseek_operator.engines.owned_flags import FLAGS
from deepseek_operator.plan.types import Plan
from e2e.generate.flags import ENGINES
from e2e.parsers import lmdeploy, tensorrt_llm, vllm
from e2e.parsers.child import Outcome
from tests.unit.engines.plans import plan, spec

PROGRAMS: Mapping[str, Sequence[str]] = {
    "vllm": ("vllm", "serve", "/weights/v3", "--tensor-parallel-size", "8"),
    "lmdeploy": ("lmdeploy", "serve", "api_server", "/weights/v3"),
    "tensorrt-llm": ("trtllm-serve", "/weights/v3"),
}


def of(engine: str, version: str) -> Plan:
    made = plan()
    return dataclasses.replace(made, engine=dataclasses.replace(made.engine, name=engine, version=version))


def asked(engine: str, version: str, words: Sequence[str]) -> Outcome:
    """What the engine itself says to the words."""
    command = (*PROGRAMS[engine], *words)
    if engine == "vllm":
        return vllm.parse(command, version)
    return lmdeploy.parse(command, version) if engine == "lmdeploy" else tensorrt_llm.parse(command, version)


def told(engine: str, version: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """What the user is told."""
    problems = check(spec(engine={"args": list(words)}), of(engine, version))
    return [(each.reason, each.message) for each in problems]


SOUND = [
    ("vllm", "0.33.0", ["--enable-prefix-caching"]),
    ("vllm", "0.33.0", ["--no-enable-prefix-caching"]),
    ("vllm", "0.33.0", ["--disable-prefix-caching"]),
    ("vllm", "0.33.0", ["--max_num_batched_tokens", "8k"]),
    ("vllm", "0.33.0", ["--compilation-config.mode", "3"]),
    ("vllm", "0.33.0", ["--compilation_config.cudagraph_mode=NONE"]),
    ("vllm", "0.33.0", ["--compilation-config.cudagraph_mode", "NONE"]),
    ("vllm", "0.33.0", ["--compilation-config", '{"mode": 3}']),
    ("vllm", "0.33.0", ["--kv-cache-memory-bytes", "None"]),
    ("vllm", "0.33.0", ["--moe-backend", "DEEP-GEMM"]),
    ("vllm", "0.33.0", ["--disable-log-requests"]),
    ("vllm", "0.33.0", ["--seed", "-1"]),
    ("vllm", "0.23.0", ["--no-enable-log-requests"]),
    ("vllm", "0.23.0", ["--max-num-batched-tokens", "8192", "--all2all-backend=deepep_low_latency"]),
    ("lmdeploy", "0.18.0", ["--cache-max-entry-count", "0.8", "--enable-prefix-caching"]),
    ("lmdeploy", "0.18.0", ["--cudagraph-capture-batch-sizes", "1", "2", "4"]),
    ("tensorrt-llm", "1.2.1", ["--max_num_tokens", "8192", "--kv_cache_free_gpu_memory_fraction=0.8"]),
]


@pytest.mark.parametrize(("engine", "version", "words"), SOUND)
def test_arguments_that_the_engine_takes_are_taken(engine: str, version: str, words: list[str]) -> None:
    assert told(engine, version, words) == []
    assert asked(engine, version, words).error is None


WRONG = [
    ("vllm", "0.33.0", ["--enable-prefix-cacheing"], "UnknownArgument", "did you mean --enable-prefix-caching?"),
    ("vllm", "0.33.0", ["--no-such-thing-at-all"], "UnknownArgument", "vLLM 0.33.0 has no flag"),
    ("vllm", "0.33.0", ["--swap-space", "4"], "RemovedArgument", "use --kv-offloading-size"),
    ("vllm", "0.33.0", ["--guided_decoding_backend", "x"], "RemovedArgument", "--structured-outputs-config.backend"),
    ("vllm", "0.23.0", ["--disable-log-requests"], "RemovedArgument", "use --no-enable-log-requests"),
    ("vllm", "0.23.0", ["--jit-monitor-mode", "warn"], "UnknownArgument", "0.32.0, 0.33.0 have it"),
    ("vllm", "0.33.0", ["--max-num-batched-tokens", "many"], "InvalidArgument", "a whole number, 32k or 1M"),
    ("vllm", "0.33.0", ["--compilation-config", "fast"], "InvalidArgument", "takes JSON, not 'fast'"),
    ("vllm", "0.33.0", ["--all2all-backend", "pigeons"], "InvalidArgument", "does not take 'pigeons'"),
    ("vllm", "0.33.0", ["--enable-prefix-caching", "yes"], "InvalidArgument", "is a switch"),
    ("vllm", "0.33.0", ["--seed", "x"], "InvalidArgument", "takes a whole number"),
    ("lmdeploy", "0.18.0", ["--cache-max-entry", "0.8"], "AmbiguousArgument", "short for --cache-max-entry-count"),
    ("lmdeploy", "0.18.0", ["--mystery"], "UnknownArgument", "LMDeploy 0.18.0 has no flag"),
    ("lmdeploy", "0.18.0", ["--log-level", "LOUD"], "InvalidArgument", "does not take 'LOUD'"),
    ("tensorrt-llm", "1.2.1", ["--max-num-tokens", "1"], "UnknownArgument", "did you mean --max_num_tokens?"),
    ("tensorrt-llm", "1.2.1", ["--max_num_tokens", "many"], "InvalidArgument", "takes a whole number"),
]


@pytest.mark.parametrize(("engine", "version", "words", "reason", "message"), WRONG)
def test_a_wrong_argument_is_named_with_its_remedy(
    engine: str, version: str, words: list[str], reason: str, message: str
) -> None:
    ((found, said),) = told(engine, version, words)
    assert found == reason
    assert message in said
    # An abbreviation is refused although the engine would take it: it may become ambiguous.
    assert asked(engine, version, words).error is not None or reason == "AmbiguousArgument"


OWNED = [
    ("vllm", "0.33.0", ["-tp", "8"], "set spec.parallelism.tensor"),
    ("vllm", "0.33.0", ["--tensor_parallel_size=8"], "set spec.parallelism.tensor"),
    ("vllm", "0.33.0", ["--speculative-config.method", "mtp"], "set spec.engine.features.mtp"),
    ("vllm", "0.33.0", ["--headless"], "connects the ranks itself"),
    ("vllm", "0.33.0", ["--max-model-l", "8"], "set spec.context.maxLength"),
    ("vllm", "0.33.0", ["--max_model_l", "8"], "set spec.context.maxLength"),
    ("vllm", "0.33.0", ["--no-trust-remote-code"], "set spec.trustRemoteCode"),
    ("lmdeploy", "0.18.0", ["--tp", "8"], "set spec.parallelism.tensor"),
    ("lmdeploy", "0.18.0", ["--proxy-url", "http://x"], "connects the ranks itself"),
    ("tensorrt-llm", "1.2.1", ["--tp_size", "8"], "set spec.parallelism.tensor"),
    ("tensorrt-llm", "1.2.1", ["--extra_llm_api_options", "x"], "nobody has checked"),
    ("deepseek-infer", "2025.8.28", ["--ckpt-path", "/x"], "set spec.model"),
]


@pytest.mark.parametrize(("engine", "version", "words", "message"), OWNED)
def test_what_the_operator_decides_is_refused_with_the_field_to_use(
    engine: str, version: str, words: list[str], message: str
) -> None:
    ((reason, said),) = told(engine, version, words)
    assert reason == "OwnedArgument"
    assert message in said


@pytest.mark.parametrize(
    ("engine", "name", "owned"),
    [
        ("vllm", "VLLM_HOST_IP", True),
        ("sglang", "VLLM_HOST_IP", False),
        ("lmdeploy", "LMDEPLOY_EXECUTOR_BACKEND", True),
        ("lmdeploy", "RAY_ADDRESS", True),
        ("tensorrt-llm", "MASTER_ADDR", True),
        ("vllm", "DUMPER_SERVER_PORT", False),
    ],
)
def test_variables_are_owned_by_engine(engine: str, name: str, *, owned: bool) -> None:
    problems = check(spec(engine={"env": [{"name": name, "value": "1"}]}), of(engine, known_versions(engine)[-1]))
    assert [each.reason for each in problems] == (["OwnedVariable"] if owned else [])


RENAMED: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(
    (ENGINES.parent / "renamed-flags.yaml").read_text()
)


@pytest.mark.parametrize(("engine", "name"), [(engine, name) for engine in RENAMED for name in RENAMED[engine]])
def test_a_renamed_flag_is_gone_somewhere_and_its_successor_is_there(engine: str, name: str) -> None:
    assert set(RENAMED[engine][name]) == {"instead", "source"}
    without = [version for version in known_versions(engine) if not release_flags(engine, version).find(name)]
    assert without, f"every release has {name}"
    for version in without:
        flags = release_flags(engine, version)
        instead = successor(flags, name)
        assert instead is not None
        named = [word.rstrip(";,").partition("=")[0] for word in instead.split() if word.startswith("--")]
        assert [word for word in named if flags.find(word) is None] == []
        assert not set(named) & set(FLAGS[engine]), "the operator owns it"
