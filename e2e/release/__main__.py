"""``python -m e2e.release``: writes every generated file; ``--check`` only says which are stale."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from e2e.cluster.binaries import binary
from e2e.release.generate import INSTALL, ROOT, generated, install_manifest

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 1 when ``--check`` found a stale file."""
    parser = argparse.ArgumentParser(prog="python -m e2e.release", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check: bool = parser.parse_args(arguments).check

    stale = [path for path, text in generated().items() if _renew(path, text, check=check)]
    # After the others: helm reads the chart's schema and CRD from disk.
    if _renew(INSTALL, install_manifest(binary("helm")), check=check):
        stale.append(INSTALL)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale, run `make generate`' if check else 'written'}")
    return 1 if check and stale else 0


def _renew(path: Path, text: str, *, check: bool) -> bool:
    """Returns whether the file differed; writes it unless only checking."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
