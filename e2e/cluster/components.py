"""The command line of each program of the control plane.

Programs run inside the state folder and name their files relative to it: that keeps etcd's socket paths under
the 107 bytes the kernel allows, however deep the state folder lies.
"""

from __future__ import annotations

from pathlib import Path

import yaml

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl")

# Rates and workers well above the defaults, or a scale test measures these programs instead of the operator.
CLIENT_QPS = 200
CLIENT_BURST = 400
STATEFULSET_WORKERS = 20

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
POD_RANGE = "10.64.0.0/12"
# For fake nodes that name no address of their own; TEST-NET-1, routed nowhere (RFC 5737).
NODE_ADDRESS = "192.0.2.1"
FAKE_NODE = "kwok.x-k8s.io/node"

# For logs and exec of real nodes' pods.
KUBELET_CLIENT = (
    "--kubelet-client-certificate=pki/kube-apiserver-kubelet-client.crt",
    "--kubelet-client-key=pki/kube-apiserver-kubelet-client.key",
)

STAGES = (Path(__file__).parent / "stages" / "node.yaml", Path(__file__).parent / "stages" / "pod.yaml")
AUDIT_POLICY = Path(__file__).parent / "audit-policy.yaml"


def etcd(program: Path) -> list[str | Path]:
    """Return etcd's command line: one member, on unix sockets, without waiting for the disk."""
    client, peer = "unix://etcd.sock", "unix://etcd-peer.sock"
    return [
        program,
        "--name=e2e",
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=e2e={peer}",
    ]


def apiserver(program: Path, *, port: int, address: str | None = None) -> list[str | Path]:
    """Return the API server's command line, with an audit log that is complete when a request is answered.

    With ``address``, real nodes reach it there; else it listens on loopback only.
    """
    # Nothing runs inside a cluster of fake nodes that would look for the API server by its Service.
    reach = ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
    if address is not None:
        # Loopback is this tool's and the bridge the nodes': there is no way to name just these two.
        reach = ["--bind-address=0.0.0.0", f"--advertise-address={address}", *KUBELET_CLIENT]
    return [
        program,
        "--etcd-servers=unix://etcd.sock",
        *reach,
        f"--secure-port={port}",
        "--tls-cert-file=pki/kube-apiserver.crt",
        "--tls-private-key-file=pki/kube-apiserver.key",
        "--client-ca-file=pki/ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-signing-key-file=pki/service-account.key",
        "--service-account-key-file=pki/service-account.pub",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-priority-and-fairness=false",
        "--profiling=false",
        # Watches end at once on a stop; without this, the server waits a minute for their clients to leave.
        "--shutdown-watch-termination-grace-period=1s",
        f"--audit-policy-file={AUDIT_POLICY}",
        "--audit-log-path=audit.log",
        "--audit-log-mode=blocking",
        "--audit-log-maxsize=0",
    ]


def controller_manager(program: Path) -> list[str | Path]:
    """Return the controller manager's command line."""
    return [
        program,
        "--kubeconfig=kube-controller-manager.kubeconfig",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=pki/service-account.key",
        "--root-ca-file=pki/ca.crt",
        "--cluster-signing-cert-file=pki/ca.crt",
        "--cluster-signing-key-file=pki/ca.key",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={CLIENT_BURST}",
        f"--concurrent-statefulset-syncs={STATEFULSET_WORKERS}",
    ]


def scheduler(program: Path, *, folder: Path) -> list[str | Path]:
    """Return the scheduler's command line; its client's rates go into a file, as their flags are deprecated."""
    settings = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {
            "kubeconfig": "kube-scheduler.kubeconfig",
            "qps": CLIENT_QPS,
            "burst": CLIENT_BURST,
        },
    }
    path = folder / "kube-scheduler.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [program, f"--config={path}", "--secure-port=0"]


def kwok(program: Path) -> list[str | Path]:
    """Return kwok's command line: it plays the kubelet of nodes marked as fake and touches no other."""
    return [
        program,
        "--kubeconfig=kwok.kubeconfig",
        *(f"--config={path}" for path in STAGES),
        f"--manage-nodes-with-annotation-selector={FAKE_NODE}=fake",
        "--node-lease-duration-seconds=40",
        f"--cidr={POD_RANGE}",
        f"--node-ip={NODE_ADDRESS}",
    ]
