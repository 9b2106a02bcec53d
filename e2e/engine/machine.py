"""What the engine asks of the machine before its ranks start: devices, shared memory, an address others can reach.

Each check is what torch, gloo or NCCL would fail at, with the words that users of SGLang report.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.engine.arguments import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.engine.arguments import Arguments

SIOCGIFADDR: Final = 0x8915  # netdevice(7)
DEVICE_VARIABLES: Final = ("NVIDIA_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the engine's own place
SHARED_MEMORY_BYTES: Final = 1 << 30
"""More than a container's default of 64 MiB, at which NCCL fails to create its segments (SGLang issue 5286)."""


def check(arguments: Arguments, environment: Mapping[str, str]) -> str:
    """Return the address that this node's ranks publish; raises ``RefusedError``."""
    _devices(arguments, environment)
    _shared_memory(arguments)
    if arguments.nodes == 1:
        return "127.0.0.1"
    address = _address(environment)
    _nccl(environment)
    if arguments.node == 0 and arguments.store is not None:
        _own(arguments, *arguments.store)
    return address


def _devices(arguments: Arguments, environment: Mapping[str, str]) -> None:
    text = next((environment[name] for name in DEVICE_VARIABLES if environment.get(name)), "")
    found = [name for name in text.split(",") if name and name not in {"void", "none"}]
    if not found:
        raise RefusedError("No accelerator (CUDA, XPU, HPU, NPU, MUSA) is available.")
    if arguments.local > len(found):
        raise RefusedError(
            f"CUDA error: invalid device ordinal: {arguments.local} ranks on this node, {len(found)} devices"
        )


def _shared_memory(arguments: Arguments) -> None:
    found = os.statvfs(SHARED_MEMORY)
    size = found.f_blocks * found.f_frsize
    if arguments.local > 1 and size < SHARED_MEMORY_BYTES:
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


def _own(arguments: Arguments, host: str, port: int) -> None:
    """With attention data parallelism SGLang binds ZMQ sockets to this very name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RefusedError(f"--dist-init-addr {host}: {error}") from error
    if arguments.attention_data == 1:
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
