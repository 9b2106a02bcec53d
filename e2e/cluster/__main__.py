"""``python -m e2e.cluster``: a Kubernetes cluster for development and tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from e2e.cluster import components, realnodes
from e2e.cluster.binaries import ensure, to_stderr
from e2e.cluster.errors import ClusterError
from e2e.cluster.handle import Cluster, load, sweep, up, users_kubeconfig
from e2e.cluster.layout import DEFAULT_STATE
from e2e.cluster.network import MAX_NODES
from e2e.cluster.realnodes import HARDWARE, wanted
from e2e.cluster.requirements import prepare, problems

NOT_RUNNING = 4


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit codes: 0 good, 1 failed, 2 wrong usage, 4 no cluster runs, 130 Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "build":
            return _build()
        external = users_kubeconfig(options.state)
        if options.command == "up":
            return _up(options, external=external)
        if options.command == "down":
            return _down(options.state, external=external)
        cluster = _find(options.state, external=external)
        if cluster is None:
            to_stderr(f"no cluster under {options.state}; start one with: python -m e2e.cluster up")
            return NOT_RUNNING
        if options.command == "status":
            return _status(cluster)
        if options.command == "kubeconfig":
            print(_kubeconfig(cluster, options.service_account))
        elif options.command == "dress":
            for name in cluster.dress_nodes(options.file):
                print(f"node/{name}")
        else:
            for name in cluster.apply_nodes(options.file):
                print(f"node/{name}")
    except ClusterError as error:
        to_stderr(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        to_stderr("interrupted; nothing was left half started")
        return 130
    return 0


def _build() -> int:
    """Build everything that tests start; the programs of real nodes only where such nodes can run."""
    ensure([*components.PROGRAMS, "helm"])
    if found := problems():
        to_stderr("programs of real nodes are left out: " + "; ".join(found))
        return 0
    prepare(report=to_stderr)
    ensure(realnodes.PROGRAMS)
    return 0


def _up(options: argparse.Namespace, *, external: Path | None) -> int:
    real = None
    if options.level == "real-nodes" and external is None:
        real = wanted(options.hardware, count=options.nodes)
    cluster = up(options.state, external=external, real=real)
    to_stderr(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(state: Path, *, external: Path | None) -> int:
    if external is not None:
        to_stderr(f"your cluster ({external}) is left alone")
    cluster = load(state)
    if cluster is not None:
        cluster.down()
        to_stderr(f"stopped: {state}")
    elif sweep(state):
        to_stderr(f"removed what a killed start left: {state}")
    elif external is None:
        to_stderr(f"nothing runs under {state}")
    return 0


def _find(state: Path, *, external: Path | None) -> Cluster | None:
    if external is not None:
        return Cluster(state=state.absolute(), kubeconfig=external, external=True)
    return load(state)


def _status(cluster: Cluster) -> int:
    healthy = cluster.healthy
    print(f"cluster     {'ready' if healthy else 'not ready'}")
    print(f"kubeconfig  {cluster.kubeconfig}")
    for process in cluster.processes:
        print(f"{process.name:<25} {'running' if process.alive else 'dead':<8} pid {process.pid}")
    return 0 if healthy else NOT_RUNNING


def _kubeconfig(cluster: Cluster, service_account: str | None) -> Path:
    if service_account is None:
        return cluster.kubeconfig
    namespace, slash, name = service_account.partition("/")
    if not (namespace and slash and name):
        raise ClusterError(f"--service-account {service_account}: expected NAMESPACE/NAME")
    return cluster.service_account_kubeconfig(namespace, name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.cluster",
        description="A Kubernetes cluster on this machine, without Docker: fake GPU nodes, or real ones (as root). "
        "When KUBECONFIG names a cluster of yours, that one is used.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, help="folder of all its files (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="build all programs now, and install packages that real nodes need")
    start = commands.add_parser("up", parents=[shared], help="start it, or say that it runs")
    start.add_argument(
        "--level",
        choices=("control-plane", "real-nodes"),
        default="control-plane",
        help="fake nodes of any number, without root; or nodes that run pods (Linux, root)",
    )
    start.add_argument("--nodes", type=int, default=2, help=f"real nodes, at most {MAX_NODES} (default: %(default)s)")
    start.add_argument(
        "--hardware", type=Path, default=HARDWARE, help="node file whose labels and devices real nodes show"
    )
    commands.add_parser("down", parents=[shared], help="stop what up started; logs stay")
    commands.add_parser("status", parents=[shared], help="what runs")
    dressing = commands.add_parser(
        "dress", parents=[shared], help="give the workers of your cluster labels and devices of a node file"
    )
    dressing.add_argument("file", type=Path, metavar="FILE")
    kubeconfig = commands.add_parser("kubeconfig", parents=[shared], help="print the path of a kubeconfig")
    kubeconfig.add_argument("--service-account", metavar="NAMESPACE/NAME", help="act as this ServiceAccount")
    nodes = commands.add_parser("nodes", help="fake nodes")
    actions = nodes.add_subparsers(dest="action", required=True, metavar="ACTION")
    apply = actions.add_parser("apply", parents=[shared], help="create or update the nodes of a file")
    apply.add_argument("file", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
