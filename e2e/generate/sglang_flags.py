"""Writes the flags of each SGLang release into the catalogue, out of SGLang's own parser.

``python -m e2e.generate.sglang_flags [VERSION…]``; without versions: those that the catalogue's releases name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from deepseek_operator.catalog.load import load
from e2e.sglang_parser import flags

DIRECTORY: Final = Path(__file__).parents[2] / "operator" / "deepseek_operator" / "catalog" / "engines" / "sglang-flags"


def document(version: str) -> str:
    """The catalogue's file for a release: one flag a line, so that a new release is a readable diff."""
    source = f"SGLang {version}'s own argument parser (its wheel), by e2e/generate/sglang_flags.py"
    lines = [f"    {json.dumps(name)}: {json.dumps(flag)}" for name, flag in flags(version).items()]
    body = ",\n".join(lines)
    head = f'  "version": {json.dumps(version)},\n  "source": {json.dumps(source)},\n'
    return f'{{\n{head}  "flags": {{\n{body}\n  }}\n}}\n'


def versions() -> tuple[str, ...]:
    """SGLang releases that the catalogue offers."""
    return tuple(sorted({release.version for release in load().releases if release.engine == "sglang"}))


def main() -> None:
    """Writes a file for each release."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for version in sys.argv[1:] or versions():
        (DIRECTORY / f"{version}.json").write_text(document(version))
        print(f"wrote the flags of SGLang {version}")


if __name__ == "__main__":
    main()
