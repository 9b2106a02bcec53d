"""Where everything lies under a cluster's state folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE = Path(".state/cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one cluster; ``state`` is absolute, because programs run inside it."""

    state: Path

    @property
    def record(self) -> Path:
        """What runs: ports and processes, as JSON."""
        return self.state / "cluster.json"

    @property
    def nodes_record(self) -> Path:
        """The real nodes, their network and processes, as JSON."""
        return self.state / "nodes.json"

    @property
    def nodes(self) -> Path:
        """One folder a real node: settings, container images, volumes."""
        return self.state / "nodes"

    @property
    def lock(self) -> Path:
        """Held while the cluster is started or stopped."""
        return self.state / "lock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line."""
        return self.state / "audit.log"

    @property
    def keys(self) -> Path:
        """Certificates and private keys."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.state / "logs"

    @property
    def data(self) -> Path:
        """The data of etcd."""
        return self.state / "etcd"

    @property
    def etcd_socket(self) -> Path:
        """Where etcd answers; a socket instead of a port cannot be taken by another cluster."""
        return self.state / "etcd.sock"

    def log(self, program: str) -> Path:
        """Return the log file of ``program``."""
        return self.logs / f"{program}.log"

    def clear(self, *, keep_logs: bool) -> None:
        """Remove what a cluster left, and nothing else that somebody may have put into the folder."""
        for folder in (self.keys, self.data, *([] if keep_logs else [self.logs])):
            shutil.rmtree(folder, ignore_errors=True)
        sockets = (self.etcd_socket, self.etcd_socket.with_name("etcd-peer.sock"))
        settings = (self.kubeconfig, self.state / "kube-scheduler.yaml", *self.state.glob("*.kubeconfig"))
        files = (self.record, self.nodes_record, self.state / "Corefile", *settings, *sockets)
        for path in (*files, *([] if keep_logs else [self.audit_log])):
            path.unlink(missing_ok=True)
