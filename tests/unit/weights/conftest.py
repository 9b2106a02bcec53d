from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.weights.fetch import Fetched, Request, fetch
from deepseek_operator.weights.patience import Patience
from deepseek_operator.weights.progress import Progress
from deepseek_operator.weights.uri import parse_source
from tests.unit.weights.checkpoints import write_checkpoint
from tests.unit.weights.hub import Hub, serve

QUICK = Patience(attempts=4, first_seconds=0.01, longest_seconds=0.05)
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "MODELSCOPE_API_TOKEN")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's tokens nor their proxies."""
    for name in (*SECRETS, "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The repository's files."""
    directory = tmp_path / "origin"
    write_checkpoint(directory)
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    (directory / ".gitattributes").write_bytes(b"*.safetensors filter=lfs\n")
    return directory


@pytest.fixture
def hub(origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(directory=origin)
    servers = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    yield hub
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Fetcher:
    """Fetches into ``target`` as the command does, with little patience."""

    hub: Hub
    target: Path
    progress: Progress

    def __call__(self, **changes: Any) -> Fetched:
        source = parse_source(changes.pop("source", f"hf://{self.hub.repository}"))
        changes.setdefault("patience", QUICK)
        return fetch(Request(source=source, directory=self.target, **changes), self.progress)


@pytest.fixture
def fetched(hub: Hub, tmp_path: Path) -> Fetcher:
    return Fetcher(hub, tmp_path / "target", Progress())


@dataclass
class Outcome:
    """What a finished process left."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found


Program = Callable[..., Outcome]


@pytest.fixture
def program() -> Program:
    """Runs ``deepseek-operator weights`` as a process of its own."""

    def run(*arguments: str | Path, environment: dict[str, str] | None = None, **options: Any) -> Outcome:
        command = [sys.executable, "-m", "tests.unit.weights.program", *map(str, arguments)]
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            **options,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def content_of(directory: Path) -> dict[str, bytes]:
    """Every visible file of a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }


def expected_of(origin: Path) -> dict[str, bytes]:
    """What a fetch of a repository leaves: everything but pickles and hidden files."""
    return {name: content for name, content in content_of(origin).items() if not name.endswith(".bin")}
