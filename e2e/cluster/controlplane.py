"""Start and stop the control plane's programs, in the right order, and write down what runs."""

from __future__ import annotations

import fcntl
import json
import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from e2e.cluster import components, processes
from e2e.cluster.certificates import create_authority, create_signing_key, issue, write_kubeconfig
from e2e.cluster.client import ApiServer
from e2e.cluster.errors import ClusterError
from e2e.cluster.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from e2e.cluster.layout import Layout

# Generous: builds and other clusters may share the processors.
START_SECONDS = 120.0
POLL_SECONDS = 0.05
PORT_ATTEMPTS = 3
# Below the range the kernel takes ports of outgoing connections from, so that a port stays ours while the API
# server restarts.
PORTS = range(20000, 30000)

# Clients of the API server: name of the kubeconfig file, and the subject that is their identity.
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kwok": "/O=system:masters/CN=kwok",
    "kube-apiserver-kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
}
SERVER_NAMES = (
    "DNS:localhost",
    "DNS:kubernetes.default.svc",
    "IP:127.0.0.1",
    f"IP:{components.SERVICE_ADDRESS}",
)
APISERVER = "kube-apiserver"
# Exists once the controller manager works: until then no pod can be created.
FIRST_SERVICE_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


class PortTakenError(ClusterError):
    """Another process took the chosen port before the API server did."""


def start(layout: Layout, programs: dict[str, Path], *, address: str | None = None) -> int:
    """Start all programs and return the API server's port when pods could be created.

    With ``address``, an address of this machine, real nodes reach the API server there, and there are no fake ones.

    Takes another port when somebody is faster at taking the chosen one. Raises ``ClusterError``, and then
    nothing is left running.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        try:
            return _start_on_some_port(layout, programs, address)
        except PortTakenError:
            stop(layout)
            if attempt == PORT_ATTEMPTS:
                raise
        except BaseException:
            # Ctrl-C included: whoever asked for a cluster and did not get it has nothing to stop later.
            stop(layout)
            layout.clear(keep_logs=True)
            raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _start_on_some_port(layout: Layout, programs: dict[str, Path], address: str | None) -> int:
    layout.clear(keep_logs=False)
    layout.logs.mkdir(parents=True)
    layout.keys.mkdir(mode=0o700)
    port = _free_port()
    _write_credentials(layout, port, address)
    folder = layout.state

    store = processes.start("etcd", components.etcd(programs["etcd"]), folder=folder, log=layout.log("etcd"))
    _write_record(layout, port, (store,), address)
    _wait(layout.etcd_socket.exists, watched=(store,), layout=layout, what="etcd's socket")
    running = start_apiserver(layout, port, programs[APISERVER], (store,), address=address)

    commands = {
        "kube-controller-manager": components.controller_manager(programs["kube-controller-manager"]),
        "kube-scheduler": components.scheduler(programs["kube-scheduler"], folder=folder),
    }
    if address is None:
        commands["kwok"] = components.kwok(programs["kwok"])
    for name, command in commands.items():
        running += (processes.start(name, command, folder=folder, log=layout.log(name)),)
        _write_record(layout, port, running, address)
    server = ApiServer(port=port, keys=layout.keys)
    _wait(
        lambda: server.answers(FIRST_SERVICE_ACCOUNT),
        watched=running,
        layout=layout,
        what="the default service account",
    )
    return port


def start_apiserver(
    layout: Layout, port: int, program: Path, others: tuple[Process, ...], *, address: str | None = None
) -> tuple[Process, ...]:
    """Start the API server and return the running processes, it included, when it is ready."""
    command = components.apiserver(program, port=port, address=address)
    process = processes.start(APISERVER, command, folder=layout.state, log=layout.log(APISERVER))
    # After etcd, before all others, whenever it was started: the order in which they are stopped.
    running = (*others[:1], process, *others[1:])
    _write_record(layout, port, running, address)
    server = ApiServer(port=port, keys=layout.keys)
    _wait(lambda: server.ready, watched=running, layout=layout, what="the API server")
    return running


def _wait(condition: Callable[[], bool], *, watched: Sequence[Process], layout: Layout, what: str) -> None:
    """Return when the condition holds and all watched programs run; raise when one dies or the time is up."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        _require_alive(watched, layout=layout)
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {START_SECONDS:.0f} s for {what}; see {layout.logs}")
        time.sleep(POLL_SECONDS)
    _require_alive(watched, layout=layout)


def _require_alive(watched: Sequence[Process], *, layout: Layout) -> None:
    for process in watched:
        if not process.alive:
            log = layout.log(process.name)
            text = log.read_text(encoding="utf-8", errors="replace")
            kind = PortTakenError if "address already in use" in text else ClusterError
            raise kind(f"{process.name} ended while the cluster started ({log}):\n{text[-2000:]}")


def stop(layout: Layout) -> None:
    """End the recorded programs, the API server before etcd: without it, it would linger and hold its port."""
    running = read_record(layout)[1] if layout.record.exists() else ()
    processes.stop([process for process in running if process.name == APISERVER])
    processes.stop([process for process in running if process.name not in (APISERVER, "etcd")])
    processes.stop([process for process in running if process.name == "etcd"])
    layout.record.unlink(missing_ok=True)


def _write_credentials(layout: Layout, port: int, address: str | None) -> None:
    authority = create_authority(layout.keys)
    create_signing_key(layout.keys, name="service-account")
    subject = f"/CN={APISERVER}"
    names = SERVER_NAMES if address is None else (*SERVER_NAMES, f"IP:{address}")
    issue(authority, name=APISERVER, subject=subject, server_names=names, serial=1)
    server = ApiServer(port=port, keys=layout.keys).url
    for serial, (name, subject) in enumerate(CLIENTS.items(), start=2):
        client = issue(authority, name=name, subject=subject, serial=serial)
        path = layout.kubeconfig if name == "admin" else layout.state / f"{name}.kubeconfig"
        write_kubeconfig(path, server=server, authority=authority.certificate, client=client)


def _free_port() -> int:
    """Return a port nobody listens on now; random, so that clusters that start together rarely collide."""
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise ClusterError(f"no free port between {PORTS.start} and {PORTS.stop}")


def read_record(layout: Layout) -> tuple[int, tuple[Process, ...]]:
    """Return the API server's port and the programs as they were last started."""
    document = json.loads(layout.record.read_text(encoding="utf-8"))
    return int(document["port"]), tuple(Process(**fields) for fields in document["processes"])


def read_address(layout: Layout) -> str | None:
    """Return where real nodes reach the API server, or None for a cluster of fake ones."""
    found: str | None = json.loads(layout.record.read_text(encoding="utf-8")).get("address")
    return found


def _write_record(layout: Layout, port: int, running: tuple[Process, ...], address: str | None) -> None:
    """Write down what runs, after every start, so that an interrupted start can still be undone."""
    document = {"port": port, "address": address, "processes": [asdict(process) for process in running]}
    unfinished = layout.record.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=2), encoding="utf-8")
    unfinished.replace(layout.record)


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Keep other processes from starting or stopping the same cluster."""
    layout.state.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
