"""The exec probe of every rank: ``probe.py PORT PATH PROCESSES COUNT [PROC]``; exit code 0 when this rank works.

Rank 0 asks the engine's PATH on PORT, unless PATH is empty. Every engine's health means less than one would like on
other ranks (SGLang's answers 200 for ever, vLLM's headless ranks have none), so those are judged by their processes, as
all ranks of an engine without an API are: COUNT of them have a command line in which the regular expression PROCESSES
is found. A rank that holds after a restart has neither, and fails.

With SGLang's default, SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=1, ``/health`` lets all ranks generate one token, within
20 s (SGLANG_HEALTH_CHECK_TIMEOUT): it fails while weights load, while the engine drains, and when any rank hangs.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

HEALTH_SECONDS = 25.0  # more than SGLANG_HEALTH_CHECK_TIMEOUT, less than the probe's own limit


def healthy(port: int, path: str) -> str | None:
    """What is wrong with the engine of rank 0, or None."""
    # No proxy, whatever the environment says: the engine is on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=HEALTH_SECONDS) as answer:
            return None if answer.status == 200 else f"{path} answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{path} answered {error.code}"
    except OSError as error:
        return f"{path} cannot be reached: {error}"


def processes(proc: Path, pattern: str) -> int:
    """Processes of the engine that drive a device; this probe is none of them."""
    wanted, found = re.compile(pattern.encode()), 0
    for directory in proc.iterdir():
        if not directory.name.isdigit() or directory.name == str(os.getpid()):
            continue
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # the process has ended
            continue
        found += wanted.search(line) is not None
    return found


def main() -> int:
    """Says on standard error, for the event of the failed probe, what is wrong."""
    port, path, pattern, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    proc = Path(sys.argv[5]) if len(sys.argv) > 5 else Path("/proc")
    if os.environ["NODE_RANK"] == "0" and path:
        problem = healthy(port, path)
    else:
        running = processes(proc, pattern)
        problem = None if running == count else f"{running} of {count} engine processes run"
    if problem:
        sys.stderr.write(f"rank {os.environ['NODE_RANK']}: {problem}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
