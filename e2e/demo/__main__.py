"""``python -m e2e.demo`` tells the story and leaves everything running; ``python -m e2e.demo down`` ends it."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import replace

from e2e.cluster import Cluster, ClusterError, binary, load, up, users_kubeconfig
from e2e.cluster.layout import DEFAULT_STATE
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
    known = state.load().stop_operator()
    cluster, started = _cluster()
    known = replace(known, started_cluster=known.started_cluster or started)
    known.save()
    known = stage.prepare(cluster, known)
    running = operator.start(cluster.kubeconfig)
    known = replace(known, operator=running.process)
    known.save()
    fake = stage.may_fake_nodes(cluster)
    story.tell(stage.Stage(cluster=cluster, operator=running, state=known, fake=fake))
    _farewell(cluster, seconds=time.monotonic() - begun)
    return 0


def _cluster() -> tuple[Cluster, bool]:
    """The cluster, and whether this call started it."""
    external = users_kubeconfig(DEFAULT_STATE)
    before = None if external else load(DEFAULT_STATE)
    running = before is not None and before.healthy
    return up(DEFAULT_STATE, external=external), not (external or running)


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
    external = users_kubeconfig(DEFAULT_STATE)
    cluster = Cluster(state=DEFAULT_STATE.absolute(), kubeconfig=external, external=True) if external else None
    cluster = cluster or load(DEFAULT_STATE)
    known = known.stop_operator()
    if cluster is not None and known.started_cluster and not cluster.external:
        cluster.down()
        print("stopped the operator and the cluster")
    elif cluster is not None and cluster.healthy:
        stage.remove(cluster, known)
        if known.created_crd:
            cluster.kubectl("delete", "--ignore-not-found", "crd", stage.CRD)
        print("stopped the operator and removed what the demonstration made; the cluster was there before")
    else:
        print("nothing runs")
    known.forget()
    return 0


if __name__ == "__main__":
    sys.exit(main())
