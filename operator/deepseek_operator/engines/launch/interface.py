"""Prints the network interface that holds an address: ``interface.py ADDRESS``, for images without ``ip``.

Every pod has another address and, on the host's network, maybe another interface name; collective libraries
guess wrong where several interfaces exist, so that each rank names its own.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
import sys
from pathlib import Path

SIOCGIFCONF = 0x8912  # netdevice(7)
RECORD = struct.calcsize("16sH2xI16x")  # struct ifreq on 64-bit Linux: 40 bytes
ROOM = 1024 * RECORD


def ipv4_interfaces() -> list[tuple[str, str]]:
    """(interface, address) of every IPv4 address, secondary ones included."""
    room = array.array("B", bytes(ROOM))
    request = bytearray(struct.pack("iL", ROOM, room.buffer_info()[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCGIFCONF, request)
    length = struct.unpack_from("i", request)[0]
    raw = room.tobytes()[:length]
    return [
        # A label of a secondary address (eth0:1) is no interface.
        (raw[at : at + 16].split(b"\0")[0].decode().partition(":")[0], socket.inet_ntoa(raw[at + 20 : at + 24]))
        for at in range(0, length, RECORD)
    ]


def ipv6_interfaces() -> list[tuple[str, str]]:
    """(interface, address) of every IPv6 address, by /proc/net/if_inet6 (proc(5))."""
    table = Path("/proc/net/if_inet6")
    lines = table.read_text().splitlines() if table.exists() else []
    return [(fields[5], str(ipaddress.IPv6Address(bytes.fromhex(fields[0])))) for fields in map(str.split, lines)]


def find(address: str) -> str | None:
    """The interface that holds the address, or None."""
    wanted = ipaddress.ip_address(address)
    held = ipv4_interfaces() if wanted.version == 4 else ipv6_interfaces()
    return next((name for name, own in held if ipaddress.ip_address(own) == wanted), None)


def main() -> int:
    """Prints the name, or says on standard error that there is none."""
    name = find(sys.argv[1])
    if name is None:
        held = ", ".join(f"{own} on {interface}" for interface, own in ipv4_interfaces() + ipv6_interfaces())
        sys.stderr.write(f"no network interface holds the pod's address {sys.argv[1]}; there are {held}\n")
        return 1
    sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
