"""What is told of a failed rank: what its last words are known to mean, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.exits import told_exit

CAUSES = {
    "a broken device is no fabric timeout": (
        ("DeviceEcc", "CollectiveTimeout"),
        "DeviceEcc",
    ),
    "a full device is no engine failure": (("DeviceOutOfMemory", "EngineCoreFailed", "PeerGone"), "DeviceOutOfMemory"),
    "a refused argument is no failed child": (("ChildFailed", "UnknownArgument"), "UnknownArgument"),
    "a lost peer explains less than a failed kernel": (("PeerGone", "KernelFault"), "KernelFault"),
    "an aborted MPI explains less than a timeout": (("MPIAborted", "CollectiveTimeout"), "CollectiveTimeout"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_told_and_not_its_echo(case: str) -> None:
    names, cause = CAUSES[case]
    text = "\n".join(SAMPLES[name][0] for name in names)
    found = load_operations().diagnose(text)
    assert found is not None
    assert found.name == cause


@pytest.mark.parametrize(
    "line",
    [
        "[TP0] Load weight end. type=DeepseekV3ForCausalLM, dtype=torch.bfloat16, avail mem=12.84 GB.",
        "node-1:88:211 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB eth0:10.0.0.4<0>",
        "Capture cuda graph begin. This can take up to several minutes. avail mem=11.20 GB",
        'INFO:     10.0.0.9:52110 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        "The server is fired up and ready to roll!",
        "[W socket.cpp:204] [c10d] The hostname of the client socket cannot be retrieved. err=-3",
        "Using default MoE config. Performance might be sub-optimal! Config file not found at /x/E=256,N=256.json",
        "Ignore import error when loading sglang.srt.models.midashenglm: No module named 'torchaudio'",
    ],
)
def test_a_healthy_log_has_no_diagnosis(line: str) -> None:
    assert load_operations().diagnose(line) is None


SAMPLES: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("last_words.yaml").read_text(encoding="utf-8"))
CASES = [(name, words) for name, lines in SAMPLES.items() for words in lines]


@pytest.mark.parametrize(("name", "words"), CASES)
def test_known_last_words_get_their_diagnosis_and_a_remedy(name: str, words: str) -> None:
    found = load_operations().diagnose(words)
    assert found is not None
    assert found.name == name
    assert found.remedy


def test_every_diagnosis_has_a_sample_and_a_source() -> None:
    known = load_operations().diagnoses
    assert {each.name for each in known} == SAMPLES.keys()
    assert all(each.source.startswith("https://") for each in known)


def test_a_remedy_fits_into_status_and_an_event() -> None:
    assert max(len(each.remedy) for each in load_operations().diagnoses) <= 300


def test_words_that_are_not_known_get_no_diagnosis() -> None:
    assert load_operations().diagnose("Killed") is None


def test_a_signal_is_told_by_its_name() -> None:
    assert told_exit(137) == " with exit code 137 (SIGKILL)"
    assert told_exit(1) == " with exit code 1"
    assert told_exit(None) == ""
