from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from deepseek_operator.weights.errors import InputError, NoRoomError, TransferError, storage_error
from deepseek_operator.weights.uri import parse_source
from deepseek_operator.weights.workspace import MARKER
from tests.unit.weights.checkpoints import Shape, write_checkpoint
from tests.unit.weights.conftest import Program, content_of, expected_of
from tests.unit.weights.hub import Fault, Hub

TOKEN = "hf_" + "x1y2" * 8


def test_fetch_verify_cast_and_shard_as_a_user_calls_them(program: Program, hub: Hub, tmp_path: Path) -> None:
    write_checkpoint(hub.directory, Shape(hidden=256, heads=256, latent=256, intermediate=256, experts=2))
    source = ("--source", f"hf://{hub.repository}", "--revision", "main")
    fetched = program("fetch", *source, "--output", tmp_path / "fp8", "-o", "json")
    assert (fetched.code, fetched.document["producer"]) == (0, "fetch")
    assert fetched.document["sizeGiB"] >= 0
    assert program("verify", tmp_path / "fp8", "--full").code == 0

    cast = program("cast", "--input", tmp_path / "fp8", "--output", tmp_path / "bf16", "-o", "json")
    assert (cast.code, cast.document["layout"]) == (0, "bf16")
    assert 0 < cast.document["peakMemoryGiB"] < 12
    sharded = program(
        "shard", "--input", tmp_path / "bf16", "--output", tmp_path / "mp2", "--model-parallel", "2", "--experts", "2"
    )
    assert sharded.code == 0
    assert program("verify", tmp_path / "mp2", "--full", "-o", "json").document["good"] is True


def test_a_wrong_file_is_exit_code_2_and_named(program: Program, hub: Hub, tmp_path: Path) -> None:
    program("fetch", "--source", f"file://{hub.directory}", "--output", tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").write_text("x")

    result = program("verify", tmp_path / "out", "-o", "json")

    assert result.code == 2
    assert "error: tokenizer.json: it has 1 bytes instead of" in result.stderr
    assert result.document["problems"][0]["path"] == "tokenizer.json"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--source", "ftp://x", "--output", "out"), 2, "--source ftp://x: not a source of weights; use hf://org/name"),
        (("--source", "hf://only-name", "--output", "out"), 2, "not a location of hf://"),
        (("--source", "file:///none", "--output", "out"), 2, "file:///none: no such directory here; mount it"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    program: Program, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = program("fetch", *arguments, cwd=tmp_path, environment={"PYTHONPATH": os.pathsep.join(sys.path)})

    assert result.code == code
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert result.stdout == ""


def test_a_token_comes_from_the_environment_or_a_file_and_is_never_shown(
    program: Program, hub: Hub, tmp_path: Path
) -> None:
    hub.token = TOKEN
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    source = ("--source", f"hf://{hub.repository}", "--output")

    missing = program("fetch", *source, tmp_path / "a")
    wrong = program("fetch", *source, tmp_path / "a", environment={"HF_TOKEN": "hf_wrong"})
    by_variable = program("fetch", *source, tmp_path / "a", environment={"HF_TOKEN": TOKEN})
    by_file = program("fetch", *source, tmp_path / "b", "--token-file", tmp_path / "token")
    no_file = program("fetch", *source, tmp_path / "c", "--token-file", tmp_path / "none")

    assert [each.code for each in (missing, wrong, by_variable, by_file)] == [2, 2, 0, 0]
    assert no_file.code == 1
    assert "hf_wrong" not in wrong.stderr
    assert TOKEN not in by_variable.stderr + by_file.stderr + by_variable.stdout + by_file.stdout


def test_a_full_volume_is_one_line_and_the_next_run_goes_on(program: Program, hub: Hub, tmp_path: Path) -> None:
    """The kernel refuses bytes beyond a limit of the process, as a full volume does."""
    source = ("--source", f"hf://{hub.repository}", "--output", tmp_path / "out", "--workers", "1")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    full = program("fetch", *source, preexec_fn=limit)

    assert full.code == 3
    assert "no room left" in full.stderr
    assert "what is written is kept" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "out" / MARKER).exists()
    assert program("fetch", *source).code == 0
    assert content_of(tmp_path / "out") == expected_of(hub.directory)


def test_a_cast_on_a_full_volume_is_one_line_and_goes_on(program: Program, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "in")
    arguments = ("cast", "--input", tmp_path / "in", "--output", tmp_path / "out", "--workers", "1")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))

    full = program(*arguments, preexec_fn=limit)

    assert (full.code, "no room left" in full.stderr, "Traceback" in full.stderr) == (3, True, False)
    assert not (tmp_path / "out" / MARKER).exists()
    assert program(*arguments).code == 0
    assert program("verify", tmp_path / "out", "--full").code == 0


def test_a_directory_that_cannot_be_written_is_one_line(program: Program, hub: Hub, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)

    result = program(
        *("fetch", "--source", f"file://{hub.directory}", "--output", closed / "out"), preexec_fn=obey_modes
    )

    assert result.code == 2
    assert f"error: {closed / 'out'}: cannot be written" in result.stderr
    assert "mount the volume writable" in result.stderr
    assert "Traceback" not in result.stderr


def obey_modes() -> None:
    """Root passes over modes by CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: give both up (prctl(2), capabilities(7))."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, NoRoomError, "no room left"),
        (errno.EDQUOT, NoRoomError, "no room left"),
        (errno.EROFS, InputError, "mount the volume writable"),
        (errno.EACCES, InputError, "mount the volume writable"),
        (errno.EIO, TransferError, "check the volume"),
    ],
)
def test_errors_of_the_volume_say_what_to_do(number: int, kind: type[Exception], words: str) -> None:
    error = storage_error(OSError(number, os.strerror(number)), "/models/x")

    assert isinstance(error, kind)
    assert str(error).startswith("/models/x: ")
    assert words in str(error)


def test_progress_is_served_as_json_and_told_in_lines(hub: Hub, tmp_path: Path) -> None:
    (hub.directory / "large.dat").write_bytes(bytes(2**24))
    hub.fail("large.dat", Fault("slow"))
    command = [
        *(sys.executable, "-m", "tests.unit.weights.program", "fetch", "--source", f"hf://{hub.repository}"),
        *("--output", str(tmp_path / "out"), "--progress-address", "127.0.0.1:0", "--report-every", "0.2"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        url = next(line for line in lines if "progress as JSON" in line).split()[-1]
        told = next(line for line in lines if line.startswith(f"weights: fetch hf://{hub.repository}: "))
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - the loopback
            now = json.load(answer)
        rest = process.stderr.read()
        assert process.wait(240) == 0, rest
    assert " files, " in told
    assert now["bytesTotal"] > 2**24
    assert now.keys() >= {"phase", "bytesDone", "bytesPerSecond", "secondsLeft", "filesDone", "filesTotal", "retries"}


def test_sigterm_frees_the_lease_and_keeps_what_was_received(hub: Hub, program: Program, tmp_path: Path) -> None:
    (hub.directory / "large.dat").write_bytes(bytes(2**25))
    hub.fail("large.dat", Fault("slow", times=9))
    source = ("fetch", "--source", f"hf://{hub.repository}", "--output", str(tmp_path / "out"))
    command = [sys.executable, "-m", "tests.unit.weights.program", *source, "--report-every", "0.1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in iter(process.stderr.readline, "") if "fetch hf://" in line)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(240) == 143
    (lease,) = (tmp_path / "out" / ".deepseek-weights").glob("lease.*")
    assert json.loads(lease.read_text())["released"] is True
    assert not (tmp_path / "out" / MARKER).exists()
    assert program(*source).code == 0


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("hf://deepseek-ai/DeepSeek-V3/", "hf://deepseek-ai/DeepSeek-V3"),
        ("path:///models/v3", "file:///models/v3"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_sources_are_read(uri: str, text: str) -> None:
    assert str(parse_source(uri)) == text


@pytest.mark.parametrize("uri", ["", "hf:/x/y", "hf://a/b/c", "hf:///b", "file://relative", "s3://", "pvc://claim/x"])
def test_other_sources_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        parse_source(uri)
