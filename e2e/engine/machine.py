"""What the engine asks of the machine before its ranks start: devices, shared memory, an address others can reach.

Each check is what torch, gloo or NCCL would fail at, with the words that users report.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SIOCGIFADDR: Final = 0x8915  # netdevice(7)
DEVICE_VARIABLES: Final = ("NVIDIA_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the engine's own place
SHARED_MEMORY_BYTES: Final = 1 << 30
"""More than a container's default of 64 MiB, at which NCCL fails to create its segments (SGLang issue 5286)."""


class RefusedError(Exception):
    """The engine would not start so; says why, and how it ends."""

    def __init__(self, reason: str, *, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one node of a group asks of its machine."""

    nodes: int
    node: int
    local: int
    """Ranks of this node."""
    store: tuple[str, int] | None
    binds_name: bool = False
    """Whether the leader binds sockets to the store's very name."""


def check(needs: Needs, environment: Mapping[str, str]) -> str:
    """Return the address that this node's ranks publish; raises ``RefusedError``."""
    _devices(needs, environment)
    _shared_memory(needs)
    if needs.nodes == 1:
        return "127.0.0.1"
    address = _address(environment)
    _nccl(environment)
    if needs.node == 0 and needs.store is not None:
        _own(*needs.store, bind=needs.binds_name)
    return address


def devices(environment: Mapping[str, str]) -> list[str]:
    """The names of the devices that the vendor's plugin gave to this container."""
    text = next((environment[name] for name in DEVICE_VARIABLES if environment.get(name)), "")
    return [name for name in text.split(",") if name and name not in {"void", "none"}]


def _devices(needs: Needs, environment: Mapping[str, str]) -> None:
    found = devices(environment)
    if not found:
        raise RefusedError("No accelerator (CUDA, XPU, HPU, NPU, MUSA) is available.")
    if needs.local > len(found):
        raise RefusedError(
            f"CUDA error: invalid device ordinal: {needs.local} ranks on this node, {len(found)} devices"
        )


def _shared_memory(needs: Needs) -> None:
    found = os.statvfs(SHARED_MEMORY)
    size = found.f_blocks * found.f_frsize
    if needs.local > 1 and size < SHARED_MEMORY_BYTES:
        raise RefusedError(f"Error while creating shared memory segment /dev/shm/nccl-*: {size} bytes in all")


def _address(environment: Mapping[str, str]) -> str:
    """Gloo's choice: the interface it was given, else whatever the host's name resolves to."""
    name = environment.get("GLOO_SOCKET_IFNAME")
    if name:
        found = _address_of(name)
        if found is None:
            raise RefusedError(f"[enforce fail at device.cc] Unable to find address for: {name}")
        return found
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise RefusedError(f"Gloo: the host's own name cannot be resolved: {error}") from error
    if found.startswith("127."):
        raise RefusedError(f"Gloo connectFullMesh failed: other nodes would be told {found}; set GLOO_SOCKET_IFNAME")
    return found


def _nccl(environment: Mapping[str, str]) -> None:
    """NCCL's rule (docs, NCCL_SOCKET_IFNAME): prefixes, ``=`` for exact names, ``^`` for all but these."""
    wanted = environment.get("NCCL_SOCKET_IFNAME")
    if not wanted:
        return
    exclude = wanted.startswith("^")
    exact = wanted.lstrip("^").startswith("=")
    names = wanted.lstrip("^=").split(",")

    def matches(interface: str) -> bool:
        hit = any(interface == name if exact else interface.startswith(name) for name in names)
        return hit != exclude

    usable = [name for _, name in socket.if_nameindex() if matches(name) and _address_of(name)]
    if not usable:
        raise RefusedError(f"NCCL WARN Bootstrap : no socket interface found (NCCL_SOCKET_IFNAME={wanted})")


def _own(host: str, port: int, *, bind: bool) -> None:
    """With attention data parallelism SGLang binds ZMQ sockets to this very name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RefusedError(f"{host}: {error}") from error
    if not bind:
        return
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((address[0], 0))
        except OSError as error:
            raise RefusedError(
                f"zmq.error.ZMQError: Cannot assign requested address (tcp://{host}): {error}"
            ) from error


def _address_of(interface: str) -> str | None:
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            return socket.inet_ntoa(fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24])
        except OSError:
            return None
