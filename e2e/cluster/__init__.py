"""A real Kubernetes control plane on one machine, without Docker and without root.

``up`` starts it, ``Cluster`` is a handle to a running one, ``ensure`` and ``binary`` build its programs.
"""

from __future__ import annotations

from e2e.cluster.audit import Request, requests, writes
from e2e.cluster.binaries import binary, ensure
from e2e.cluster.errors import ClusterError
from e2e.cluster.handle import Cluster, load, up, users_kubeconfig

__all__ = [
    "Cluster",
    "ClusterError",
    "Request",
    "binary",
    "ensure",
    "load",
    "requests",
    "up",
    "users_kubeconfig",
    "writes",
]
