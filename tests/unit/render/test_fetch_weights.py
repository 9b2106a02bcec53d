from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from deepseek_operator.render.scripts import fetch_weights

REPOSITORY = "deepseek-ai/DeepSeek-V3-0324"
COMMIT = "e9b33add76883f293d6bf61f6bd89b497e80e335"
FILES = {"config.json": b"{}", "model-00001.safetensors": b"weights", "pytorch_model.bin": b"pickle"}


class HubError(Exception):
    """An error of the hub's client with the answer that caused it."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__("hub")
        self.response = None if status is None else SimpleNamespace(status_code=status)


class RepositoryNotFoundError(HubError):
    pass


class GatedRepoError(RepositoryNotFoundError):
    pass


class RevisionNotFoundError(HubError):
    pass


class Hub(ModuleType):
    """huggingface_hub as far as the script uses it: writes FILES, or raises."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.size_factor = 1
        self.truncate = False

    def HfApi(self) -> Hub:  # noqa: N802 - the library's name
        return self

    def model_info(self, repository: str, *, revision: str, files_metadata: bool) -> Any:
        self.calls.append(f"info {repository}@{revision}")
        assert files_metadata
        if self.error:
            raise self.error
        siblings = [
            SimpleNamespace(rfilename=name, size=len(content) * self.size_factor) for name, content in FILES.items()
        ]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def snapshot_download(self, repository: str, *, revision: str, local_dir: str, ignore_patterns: list[str]) -> None:
        self.calls.append(f"download {repository}@{revision}")
        for name, content in FILES.items():
            if not any(Path(name).match(pattern) for pattern in ignore_patterns):
                (Path(local_dir) / name).write_bytes(content[:-1] if self.truncate else content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    module = Hub()
    errors = ModuleType("huggingface_hub.utils")
    for error in (GatedRepoError, RevisionNotFoundError, RepositoryNotFoundError):
        setattr(errors, error.__name__, error)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", errors)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return module


class Outcome(NamedTuple):
    code: int
    messages: str


@pytest.fixture
def run(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def start(revision: str = "main") -> Outcome:
        arguments = ["--repository", REPOSITORY, "--revision", revision, "--directory", str(tmp_path)]
        code = fetch_weights.main(arguments)
        return Outcome(code, capsys.readouterr().err)

    return start


def test_weights_are_fetched_at_the_commit_that_the_revision_named(run: Any, hub: Hub, tmp_path: Path) -> None:
    assert run().code == 0
    assert hub.calls == [f"info {REPOSITORY}@main", f"download {REPOSITORY}@{COMMIT}"]
    assert (tmp_path / "model-00001.safetensors").read_bytes() == b"weights"
    marker = json.loads((tmp_path / fetch_weights.MARKER).read_text())
    assert marker == {"repository": REPOSITORY, "revision": "main", "commit": COMMIT}


def test_pickles_and_other_formats_are_not_fetched(run: Any, tmp_path: Path) -> None:
    assert run().code == 0
    assert not (tmp_path / "pytorch_model.bin").exists()


def test_a_finished_download_never_contacts_the_hub_again(run: Any, hub: Hub) -> None:
    run()
    hub.calls.clear()
    hub.error = HubError(500)
    again = run()
    assert again.code == 0
    assert "is complete" in again.messages
    assert hub.calls == []


def test_another_revision_is_fetched_anew(run: Any, hub: Hub) -> None:
    run()
    run("v2")
    assert f"info {REPOSITORY}@v2" in hub.calls


def test_a_damaged_marker_is_no_marker(run: Any, hub: Hub, tmp_path: Path) -> None:
    for content in ("", "[]", "{"):
        (tmp_path / fetch_weights.MARKER).write_text(content)
        hub.calls.clear()
        assert run().code == 0
        assert hub.calls


def test_an_incomplete_file_leaves_no_marker(run: Any, hub: Hub, tmp_path: Path) -> None:
    hub.truncate = True
    failed = run()
    assert failed.code == 1
    assert "incomplete" in failed.messages
    assert not (tmp_path / fetch_weights.MARKER).exists()


@pytest.mark.parametrize(
    ("error", "field", "words"),
    [
        (GatedRepoError(403), "spec.weights.tokenSecret", "accept the model's conditions"),
        (HubError(403), "spec.weights.tokenSecret", "403"),
        (RevisionNotFoundError(404), "spec.revision", "no revision main"),
        (RepositoryNotFoundError(401), "spec.weights.source", "no token was sent (401)"),
        (HubError(404), "spec.weights.source", "spec.weights.tokenSecret"),
        (HubError(500), "cannot fetch", "HF_ENDPOINT"),
        (ConnectionError("no route"), "cannot fetch", "no route"),
        (PermissionError(13, "Permission denied", "/models"), "spec.weights.cache", "Permission denied"),
    ],
)
def test_an_error_names_the_field_to_change(run: Any, hub: Hub, error: Exception, field: str, words: str) -> None:
    hub.error = error
    failed = run()
    assert failed.code == 1
    assert failed.messages.startswith(f"fetch-weights: {field}")
    assert words in failed.messages


def test_a_refused_token_is_told_from_a_missing_one(run: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    hub.error = RepositoryNotFoundError(401)
    failed = run()
    assert "the token was refused" in failed.messages
    assert "secret-token" not in failed.messages


def test_too_small_a_volume_is_refused_before_the_download(run: Any, hub: Hub) -> None:
    hub.size_factor = 10**15
    failed = run()
    assert failed.code == 1
    assert "spec.weights.cache" in failed.messages
    assert "GiB free" in failed.messages
    assert not any(call.startswith("download") for call in hub.calls)


def test_what_is_already_there_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4096 * 256
    (tmp_path / "part").write_bytes(b"x" * size)
    room = SimpleNamespace(free=fetch_weights.RESERVE_BYTES + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    fetch_weights.require_space(tmp_path, {"part": size})
    with pytest.raises(fetch_weights.FetchError):
        fetch_weights.require_space(tmp_path, {"part": 2 * size})


def test_a_directory_that_cannot_be_made_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(fetch_weights.FetchError, match=r"spec\.weights\.cache: cannot write"):
        fetch_weights.fetch(REPOSITORY, "main", tmp_path / "file" / "below")


def test_progress_is_told_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waits: Iterator[bool] = iter([False, True])

    def wait(_: float) -> bool:
        (tmp_path / "part").write_bytes(b"x" * 8192)
        return next(waits)

    fetch_weights.report(tmp_path, 16384, wait)
    line = capsys.readouterr().err
    assert "(50 %)" in line
    assert "min left" in line


def hold(directory: str, held: Any, release: Any) -> None:
    with fetch_weights.exclusive(Path(directory)):
        held.set()
        release.wait(30)


def test_pods_that_share_a_directory_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), held, release))

    def let_go(_: float) -> None:
        release.set()
        other.join(30)

    other.start()
    try:
        assert held.wait(30)
        monkeypatch.setattr(time, "sleep", let_go)
        with fetch_weights.exclusive(tmp_path):
            assert release.is_set()
    finally:
        release.set()
        other.join(30)
    assert "another pod is fetching" in capsys.readouterr().err
