"""``python3 -m sglang.launch_server``, as SGLang's images have it."""

from __future__ import annotations

import sys

from e2e.engine.sglang.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
