"""Operator processes without the second of imports that each would begin with.

``python -m e2e.faults.nursery`` imports the operator once and forks a child for each order on stdin; the child runs
the command line's own ``main`` with its own arguments, environment, session and log, and is a process like any other:
it can be killed, stopped and replaced. One line of JSON a start (``pid``) and one an end (``ended``, ``status``).
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
from typing import Any, Final

from kubernetes.aio.config import kube_config as aio_kube_config
from kubernetes.config import kube_config

METRICS_SECONDS: Final = 0.3
_alive: set[int] = set()


def main() -> None:
    """Fork on order until stdin ends, then end the children."""
    from deepseek_operator.catalog.load import load  # noqa: PLC0415 - imports are the point
    from deepseek_operator.cli import main as cli  # noqa: PLC0415
    from deepseek_operator.control import process, reported  # noqa: F401, PLC0415

    load()
    # Nobody answers at the addresses of fake nodes' pods, and each group of each case would be waited for.
    vars(reported)["SECONDS"] = METRICS_SECONDS
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        order = json.loads(line)
        # A child that ends at once must be known before it is reaped.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _become(order, cli.main)
        _alive.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        _tell({"order": order["order"], "pid": pid})
    for pid in _alive:
        os.kill(pid, signal.SIGKILL)


def _become(order: dict[str, Any], run: Any) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    for module in (kube_config, aio_kube_config):
        # Read from the environment when the library was imported, before it held this process's file.
        vars(module)["KUBE_CONFIG_DEFAULT_LOCATION"] = order["environment"]["KUBECONFIG"]
    # The identity in the Lease is random: forked twins would take each other for themselves.
    random.seed()
    sys.argv = ["deepseek-operator", *order["arguments"]]
    code = 1
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(*_: object) -> None:
    while _alive:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _alive.discard(pid)
        _tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
