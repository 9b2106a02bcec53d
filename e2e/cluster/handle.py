"""A handle to a cluster: the one this tool runs under a state folder, or one that the user brought."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.cluster import components, controlplane, nodes, processes, realnodes
from e2e.cluster.binaries import binary, ensure, to_stderr
from e2e.cluster.certificates import write_kubeconfig
from e2e.cluster.client import ApiServer
from e2e.cluster.controlplane import APISERVER
from e2e.cluster.dress import dress
from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import Layout
from e2e.cluster.real_node import RealNode, import_image
from e2e.cluster.realnodes import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster.processes import Process


CRD_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A handle to a cluster: one this tool runs, or (``external``) one that the user brought.

    ``audit_log`` is None for the user's. Methods raise ``ClusterError``.
    """

    state: Path
    kubeconfig: Path
    external: bool = False
    port: int = 0

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line, complete when a request has been answered."""
        self._require_own("the audit log")
        return self._layout.audit_log

    @property
    def processes(self) -> tuple[Process, ...]:
        """The programs as they were last started."""
        if self.external:
            return ()
        return (*controlplane.read_record(self._layout)[1], *realnodes.read_processes(self._layout))

    @property
    def real_nodes(self) -> tuple[RealNode, ...]:
        """The real nodes, by their order; none for a control plane with fake ones."""
        return () if self.external else realnodes.read_nodes(self._layout)

    @property
    def healthy(self) -> bool:
        """Whether every program runs and the API server is ready."""
        if self.external:
            return _reachable(self.kubeconfig)
        running = self.processes
        return bool(running) and all(process.alive for process in running) and self._server.ready

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as administrator and return what it printed."""
        return _kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def apply_nodes(self, file: Path) -> tuple[str, ...]:
        """Create or update the nodes of ``file`` as fake nodes; return their names when they are Ready."""
        self._require_own("fake nodes")
        return nodes.apply(file, kubectl=self.kubectl)

    def dress_nodes(self, file: Path) -> tuple[str, ...]:
        """Make the workers of the user's own cluster look like the nodes of ``file``; return their names."""
        return dress(file, kubectl=self.kubectl)

    def import_image(self, archive: Path) -> None:
        """Make the images of a docker-archive known to every real node."""
        self._require_own("images without a registry")
        for node in self.real_nodes:
            import_image(node, archive)

    def wait_for_crd(self, name: str, *, seconds: float = 30.0) -> None:
        """Return when the API server serves a custom resource.

        `kubectl wait` and JSON paths with a filter fail on a definition that has no conditions yet.
        """
        deadline = time.monotonic() + seconds
        while not _established(self.kubectl("get", f"crd/{name}", "--ignore-not-found", "--output=json")):
            if time.monotonic() > deadline:
                raise ClusterError(f"crd/{name}: not Established after {seconds:.0f} s")
            time.sleep(CRD_POLL_SECONDS)

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig that acts as a ServiceAccount, with a token of one day, and return its path."""
        self._require_own("kubeconfig files of service accounts")
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=24h").strip()
        path = self.state / f"{namespace}.{name}.kubeconfig"
        return write_kubeconfig(path, server=self._server.url, authority=self._layout.keys / "ca.crt", token=token)

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """End the API server alone, at once when ``kill``, and return when it is gone."""
        self._require_own("stopping the API server")
        ended = [process for process in self.processes if process.name == APISERVER]
        processes.stop(ended, with_signal=signal.SIGKILL if kill else signal.SIGTERM)

    def start_apiserver(self) -> None:
        """Start the API server again on the same port and return when it is ready."""
        self._require_own("starting the API server")
        others = tuple(each for each in controlplane.read_record(self._layout)[1] if each.name != APISERVER)
        address = controlplane.read_address(self._layout)
        controlplane.start_apiserver(self._layout, self.port, ensure([APISERVER])[APISERVER], others, address=address)

    def restart_apiserver(self, *, kill: bool = False) -> None:
        """Stop the API server, start it again and return when it is ready."""
        self.stop_apiserver(kill=kill)
        self.start_apiserver()

    def restart_program(self, name: str) -> None:
        """Start a program of a real node that was killed again, as an init system does, such as ``h100-0-kubelet``."""
        self._require_own("programs of nodes")
        with controlplane.locked(self._layout):
            realnodes.restart(self._layout, name)

    def down(self) -> None:
        """Stop what ``up`` started and remove its data; logs stay. The user's own cluster is left alone."""
        if self.external:
            return
        with controlplane.locked(self._layout):
            realnodes.stop(self._layout)
            controlplane.stop(self._layout)
            self._layout.clear(keep_logs=True)

    @property
    def _layout(self) -> Layout:
        return Layout(state=self.state)

    @property
    def _server(self) -> ApiServer:
        return ApiServer(port=self.port, keys=self._layout.keys)

    def _require_own(self, what: str) -> None:
        if self.external:
            raise ClusterError(
                f"{what}: only for clusters this tool started, and KUBECONFIG names one of yours "
                f"({self.kubeconfig}); unset KUBECONFIG to use the tool's own"
            )


def users_kubeconfig(state: Path) -> Path | None:
    """Return the kubeconfig that the user set, unless it is the one this tool wrote under ``state``."""
    given = os.environ.get("KUBECONFIG", "")
    paths = [Path(part).absolute() for part in given.split(os.pathsep) if part]
    own = Layout(state=state.absolute()).kubeconfig
    foreign = [path for path in paths if path != own]
    if len(foreign) > 1:
        raise ClusterError(f"KUBECONFIG names several files ({given}); set it to one")
    return foreign[0] if foreign else None


def load(state: Path) -> Cluster | None:
    """Return a handle to the cluster under ``state``, running or half dead, or None when there is none."""
    layout = Layout(state=state.absolute())
    if not layout.record.exists():
        return None
    return Cluster(state=layout.state, kubeconfig=layout.kubeconfig, port=controlplane.read_record(layout)[0])


def sweep(state: Path) -> bool:
    """Remove what the nodes of a tool that was killed left, and whether there was anything."""
    layout = Layout(state=state.absolute())
    if not realnodes.remains(layout):
        return False
    with controlplane.locked(layout):
        realnodes.stop(layout)
    return True


def up(
    state: Path,
    *,
    external: Path | None = None,
    real: Wanted | None = None,
    report: Callable[[str], None] = to_stderr,
) -> Cluster:
    """Return a running cluster: the one under ``state``, started when it is not, or the user's ``external``.

    With ``real`` its nodes are real ones, else fake ones can be applied. A cluster of which a part has died is
    taken down and started anew. Raises ``ClusterError``.
    """
    layout = Layout(state=state.absolute())
    if external is not None:
        if not _reachable(external):
            raise ClusterError(f"no answer from the cluster of KUBECONFIG={external}; unset it to start one here")
        report(f"using your cluster: {external}")
        return Cluster(state=layout.state, kubeconfig=external, external=True)
    machine = None if real is None else realnodes.prepare(real, report=report)
    names = components.PROGRAMS if real is None else realnodes.PROGRAMS
    programs = ensure(names, report=report)
    with controlplane.locked(layout):
        running = load(layout.state)
        if running is not None:
            if running.healthy:
                _require_same_level(running, real=real)
                report(f"already running: {layout.state}")
                return running
            report("a part of the cluster has died: starting it anew")
            realnodes.stop(layout)
            controlplane.stop(layout)
        begun = time.monotonic()
        if real is None or machine is None:
            port = controlplane.start(layout, programs)
        else:
            port = realnodes.start(layout, programs, real, machine=machine, report=report)
        report(f"{'control plane' if real is None else 'cluster'} ready in {time.monotonic() - begun:.1f} s")
        return Cluster(state=layout.state, kubeconfig=layout.kubeconfig, port=port)


def _require_same_level(running: Cluster, *, real: Wanted | None) -> None:
    names = [node.name for node in running.real_nodes]
    wanted = [] if real is None else [node["metadata"]["name"] for node in real.nodes]
    if names != wanted:
        raise ClusterError(
            f"{running.state}: a cluster with {f'real nodes {names}' if names else 'fake nodes'} runs there; "
            "stop it first, or give another folder with --state"
        )


def _reachable(kubeconfig: Path) -> bool:
    try:
        _kubectl(kubeconfig, "get", "--raw=/readyz", "--request-timeout=10s")
    except ClusterError:
        return False
    return True


def _established(definition: str) -> bool:
    """Whether a CustomResourceDefinition is served; its conditions may be null still, and a JSONPath fails on that."""
    conditions = json.loads(definition or "{}").get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


def _kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    command: list[str | Path] = [binary("kubectl"), f"--kubeconfig={kubeconfig}", *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout
