"""A real Kubernetes control plane on one machine, without Docker; with fake nodes, or as root with real ones.

``up`` starts it, ``Cluster`` is a handle to a running one, ``ensure`` and ``binary`` build its programs.
"""

from __future__ import annotations

from e2e.cluster.audit import Request, requests, writes
from e2e.cluster.binaries import binary, ensure
from e2e.cluster.errors import ClusterError
from e2e.cluster.handle import Cluster, load, up, users_kubeconfig
from e2e.cluster.real_node import RealNode
from e2e.cluster.realnodes import Wanted, wanted

__all__ = [
    "Cluster",
    "ClusterError",
    "RealNode",
    "Request",
    "Wanted",
    "binary",
    "ensure",
    "load",
    "requests",
    "up",
    "users_kubeconfig",
    "wanted",
    "writes",
]
