"""The exec probe of every rank: ``probe.py PORT RANKS [PROC]``; exit code 0 when this rank works.

Rank 0 asks the engine's ``/health``. With SGLang's default, SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=1, that lets all
ranks generate one token, within 20 s (SGLANG_HEALTH_CHECK_TIMEOUT): it fails while weights load, while the engine
drains, and when any rank of the group hangs. With 0 it only tells that the HTTP server runs.

Other ranks serve a ``/health`` that is always 200 (SGLang, launch_dummy_health_check_server), so that they are judged
by their processes: each of their RANKS devices has one whose title begins with ``sglang::scheduler``. A rank that
holds after a restart has neither, and fails.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

TITLE = b"sglang::scheduler"
HEALTH_SECONDS = 25.0  # more than SGLANG_HEALTH_CHECK_TIMEOUT, less than the probe's own limit


def healthy(port: int) -> str | None:
    """What is wrong with the engine of rank 0, or None."""
    # No proxy, whatever the environment says: the engine is on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=HEALTH_SECONDS) as answer:
            return None if answer.status == 200 else f"/health answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"/health answered {error.code}"
    except OSError as error:
        return f"/health cannot be reached: {error}"


def schedulers(proc: Path) -> int:
    """Processes of the engine that drive a device."""
    found = 0
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            found += (directory / "cmdline").read_bytes().startswith(TITLE)
        except OSError:  # the process has ended
            continue
    return found


def main() -> int:
    """Says on standard error, for the event of the failed probe, what is wrong."""
    port, ranks = int(sys.argv[1]), int(sys.argv[2])
    proc = Path(sys.argv[3]) if len(sys.argv) > 3 else Path("/proc")
    if os.environ["NODE_RANK"] == "0":
        problem = healthy(port)
    else:
        running = schedulers(proc)
        problem = None if running == ranks else f"{running} of {ranks} engine processes run"
    if problem:
        sys.stderr.write(f"rank {os.environ['NODE_RANK']}: {problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
