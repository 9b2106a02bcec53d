"""``python -m e2e.demo`` tells the story and leaves everything running; ``python -m e2e.demo down`` ends it."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from e2e.cluster import Cluster, ClusterError, binary, load, up, users_kubeconfig
from e2e.cluster.layout import DEFAULT_STATE, Layout
from e2e.demo import operator, screen, stage, state, story
from e2e.demo.screen import DemoError


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 good, 1 the story could not be told to its end, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("command", choices=("up", "down"), nargs="?", default="up")
    try:
        return _down() if parser.parse_args(arguments).command == "down" else _up()
    except (ClusterError, DemoError, subprocess.SubprocessError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        print(f"the operator's log: {operator.log_file()}", file=sys.stderr)
        print(f"the cluster's logs: {DEFAULT_STATE.absolute() / 'logs'}", file=sys.stderr)
        print("to remove what was started: make demo-down", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; to remove what was started: make demo-down", file=sys.stderr)
        return 130


def _up() -> int:
    begun = time.monotonic()
    external = users_kubeconfig(DEFAULT_STATE)
    known = state.load()
    target = str(external or Layout(state=DEFAULT_STATE.absolute()).kubeconfig)
    if known.kubeconfig not in ("", target):
        raise DemoError(f"a demonstration runs on another cluster ({known.kubeconfig}); end it with make demo-down")
    known = replace(known.stop_operator(), kubeconfig=target)
    before = None if external else load(DEFAULT_STATE)
    running = external is not None or (before is not None and before.healthy)
    # Written before anything starts, so that an interrupted start can still be undone.
    known = replace(known, started_cluster=known.started_cluster or not running)
    known.save()
    cluster = up(DEFAULT_STATE, external=external)
    known = stage.prepare(cluster, known)
    started = operator.start(cluster.kubeconfig)
    known = replace(known, operator=started.process)
    known.save()
    fake = stage.may_fake_nodes(cluster)
    story.tell(stage.Stage(cluster=cluster, operator=started, state=known, fake=fake))
    _farewell(cluster, seconds=time.monotonic() - begun)
    return 0


def _farewell(cluster: Cluster, *, seconds: float) -> None:
    screen.heading(f"Done in {seconds:.0f} s. Everything keeps running; look around:")
    screen.output(
        f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}\n"
        f"export PATH={shlex.quote(str(binary('kubectl').parent))}:$PATH\n"
        "kubectl get dsd -A\n"
        "kubectl describe dsd deepseek-fp8 -n demo-nvidia\n"
        "kubectl scale dsd deepseek-fp8 -n demo-nvidia --replicas 2\n"
        f"tail -f {shlex.quote(str(operator.log_file()))}\n"
    )
    screen.heading("To stop exactly what was started: make demo-down")


def _down() -> int:
    known = state.load()
    if not known.kubeconfig:
        print("nothing runs")
        return 0
    known = known.stop_operator()
    own = load(DEFAULT_STATE)
    if own is not None and str(own.kubeconfig) == known.kubeconfig:
        cluster = own
    else:
        cluster = Cluster(state=DEFAULT_STATE.absolute(), kubeconfig=Path(known.kubeconfig), external=True)
    if known.started_cluster:
        cluster.down()
        print("stopped the operator and the cluster")
    elif cluster.healthy:
        stage.remove(cluster, known)
        if known.created_crd:
            stage.remove_crd(cluster)
        print("stopped the operator and removed what the demonstration made; the cluster was there before")
    else:
        print("stopped the operator; the cluster does not answer any more")
    known.forget()
    return 0


if __name__ == "__main__":
    sys.exit(main())
