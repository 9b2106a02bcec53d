"""Sources that cannot be fetched are said so plainly; what was fetched holds Python files only."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from e2e.parsers import sources
from e2e.parsers.sources import LMDEPLOY, RAY, SGLANG, TORCH, VLLM, FetchError, Package


def test_a_registry_that_does_not_answer_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError, match=r"vllm 0\.33\.0 could not be fetched; is the package registry reachable"):
        sources.sources(VLLM, "0.33.0")
    assert [each.name for each in (tmp_path / "deepseek-operator" / "vllm").iterdir()] == ["0.33.0.lock"]


@pytest.mark.parametrize(
    ("package", "version"),
    [(SGLANG, "0.5.23"), (VLLM, "0.33.0"), (LMDEPLOY, "0.18.0"), (RAY, "2.60.0"), (TORCH, "2.4.1")],
    ids=lambda each: each.name if isinstance(each, Package) else None,
)
def test_only_python_files_of_the_engine_are_kept(package: Package, version: str) -> None:
    kept = sources.sources(package, version)
    assert {each.name for each in kept.iterdir()} == set(package.modules)
    assert {each.suffix for each in kept.rglob("*") if each.is_file()} <= {".py", ".pyc"}


def test_a_source_package_is_fetched_without_running_anything_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package whose build would end every run: only its PKG-INFO is read, and its .py files are kept."""
    content = tmp_path / "explosive-1.0"
    (content / "explosive").mkdir(parents=True)
    (content / "explosive" / "__init__.py").write_text("")
    (content / "explosive" / "kernel.bin").write_text("")
    (content / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: explosive\nVersion: 1.0\n")
    (content / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools", "torch"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    (content / "setup.py").write_text("raise SystemExit('built')\n")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with tarfile.open(shelf / "explosive-1.0.tar.gz", "w:gz") as archive:
        archive.add(content, arcname="explosive-1.0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    kept = sources.sources(Package(name="explosive", modules=("explosive",), platform=None), "1.0")
    assert [str(each.relative_to(kept)) for each in kept.rglob("*.*")] == ["explosive/__init__.py"]
