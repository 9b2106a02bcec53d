"""The demo's configuration of a model with values of the plan: ``configure_infer.py FROM TO KEY=JSON …``.

The demo's files name FP8; BF16 weights, and any other batch or length, are the same file with another value.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    """Write the changed configuration; exit code 1 with a message where the image has none."""
    source, target, *changes = sys.argv[1:]
    try:
        described = json.loads(Path(source).read_text("utf-8"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"spec.engine.image: the image has no readable {source}: {error}\n")
        return 1
    for change in changes:
        key, _, value = change.partition("=")
        described[key] = json.loads(value)
    Path(target).write_text(json.dumps(described, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
