"""Writes the flags of the engines' releases into the catalogue, out of the engines' own sources.

``python -m e2e.generate.flags [ENGINE VERSION]``; without arguments: every release whose sources the package registry
has. The others are written from a copy of the source file, ``… ENGINE VERSION FILE COMMIT`` (`from_source`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deepseek_operator.catalog.load import load
from e2e.generate.from_source import SOURCES, read
from e2e.parsers import lmdeploy, sglang, vllm

ENGINES: Final = Path(__file__).parents[2] / "operator" / "deepseek_operator" / "catalog" / "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the flags of an engine come from."""

    flags: Callable[[str], Mapping[str, Mapping[str, Any]]]
    reads: Sequence[str]
    """What its parser takes beyond argparse: see ReleaseFlags."""
    also: frozenset[str] = frozenset()
    """Versions besides those of the catalogue."""


ORIGINS: Final[Mapping[str, Origin]] = {
    "sglang": Origin(flags=sglang.flags, reads=sglang.READS),
    "vllm": Origin(
        flags=vllm.flags,
        reads=vllm.READS,
        # vllm-ascend 0.23.0.post1 runs vLLM 0.23.0 and adds no flag (platform.py, pre_register_and_update); 0.32.0 is
        # the newest build for processors, which runs without a device.
        also=frozenset({"0.23.0", "0.32.0"}),
    ),
    "lmdeploy": Origin(flags=lmdeploy.flags, reads=lmdeploy.READS),
}


def place(engine: str, version: str) -> Path:
    """The catalogue's file for a release."""
    return ENGINES / f"{engine}-flags" / f"{version}.json"


def document(engine: str, version: str) -> str:
    """The text of the file, from the release's own parser."""
    origin = ORIGINS[engine]
    title = load().engines[engine].title
    said = f"{title} {version}'s own argument parser, by e2e/generate/flags.py"
    return written(version, said, origin.flags(version), reads=origin.reads)


def written(version: str, source: str, flags: Mapping[str, Mapping[str, Any]], *, reads: Sequence[str] = ()) -> str:
    """A file's text: one flag a line, so that a new release is a readable diff."""
    lines = [f"    {json.dumps(name)}: {json.dumps(flag)}" for name, flag in flags.items()]
    body = ",\n".join(lines)
    head = f'  "version": {json.dumps(version)},\n  "source": {json.dumps(source)},\n'
    if reads:
        head += f'  "reads": {json.dumps(list(reads))},\n'
    return f'{{\n{head}  "flags": {{\n{body}\n  }}\n}}\n'


def versions(engine: str) -> tuple[str, ...]:
    """Releases that the catalogue offers, and those that are wanted besides."""
    offered = {release.version.partition(".post")[0] for release in load().releases if release.engine == engine}
    return tuple(sorted(offered | ORIGINS[engine].also))


def main() -> None:
    """Writes a file for each release."""
    if len(sys.argv) == 5:
        engine, version, file, commit = sys.argv[1:]
        text = written(version, SOURCES[engine].named(commit), read(engine, Path(file)))
        wanted = {(engine, version): text}
    else:
        releases = [(each, version) for each in ORIGINS for version in versions(each)]
        wanted = {each: document(*each) for each in ([(sys.argv[1], sys.argv[2])] if sys.argv[1:] else releases)}
    for (engine, version), text in wanted.items():
        place(engine, version).parent.mkdir(parents=True, exist_ok=True)
        place(engine, version).write_text(text)
        print(f"wrote the flags of {engine} {version}")


if __name__ == "__main__":
    main()
