"""The preflight: all devices of a group add up one tensor before any weights are loaded.

``preflight.py PORT BACKEND SECONDS`` runs on every rank after the rank barrier and starts itself once a device. Backend
is torch.distributed's: nccl (also RCCL), hccl, or gloo without devices. The processes meet at PORT of rank 0, check a
sum, measure the bus bandwidth as nccl-tests do (https://github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md), and read out
of NCCL's own log by which transport their channels go. The termination message is one line of JSON:

    {"rank": 0, "devices": 8, "worldSize": 16, "transport": "NET/IB/GDRDMA", "busBandwidthGBps": 318.2, "sizeMiB": 256}

It ends by itself after SECONDS, and says which device was at what; then the message is that sentence.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

SIZE_MIB = int(os.environ.get("PREFLIGHT_SIZE_MIB", "256"))
WARM_UPS = 3
MOST_ROUNDS = 20
MEASURED_SECONDS = 2.0
TERMINATION_LOG = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
CHANNEL = re.compile(r"\bvia (NET/[^/\n]+|P2P|SHM)(/[^\n]*)?")
LIBFABRIC = re.compile(r"NET/(AWS )?Libfabric", re.IGNORECASE)
WARNING = re.compile(r"(\[rank\d+\]:)?\[W\d")  # torch's own, which hide what went wrong
BACKEND_DEVICES = {"nccl": "cuda", "hccl": "npu"}


def say(text: str) -> None:
    """One line for the pod's log."""
    sys.stderr.write(f"preflight: {text}\n")
    sys.stderr.flush()


def transport_of(log: str) -> str | None:
    """The slowest transport among the channels of an NCCL log: a socket spoils a ring as a whole."""
    found = []
    for name, rest in CHANNEL.findall(log):
        if name.startswith("NET/"):
            network = LIBFABRIC.sub("NET/OFI", name)
            found.append(f"{network}/GDRDMA" if "GDRDMA" in rest else network)
        else:
            found.append(name)
    return min(found, key=slowness, default=None)


def slowness(transport: str) -> int:
    """Order of transports, the slowest first."""
    if transport == "NET/Socket":
        return 0
    if transport.startswith("NET/"):
        return 2 if transport.endswith("/GDRDMA") else 1
    return 3 if transport == "SHM" else 4


def bus_bandwidth(size: int, seconds: float, world: int) -> float:
    """GB/s (10^9 bytes) that each link of a ring carries in an all-reduce of ``size`` bytes."""
    return size / seconds * 2 * (world - 1) / world / 1e9


def tell(**fields: Any) -> None:
    """One line from a device's process to its rank's."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def use_device(torch: Any, backend: str, number: int) -> Any:
    """The device of this process; RuntimeError where the container has fewer."""
    kind = BACKEND_DEVICES.get(backend)
    if kind is None:
        return torch.device("cpu")
    if kind == "npu":
        __import__("torch_npu")
    module = getattr(torch, kind)
    count = module.device_count()
    if number >= count:
        raise RuntimeError(f"torch sees {count} devices of {os.environ['ACCELERATORS']}: driver or device plugin")
    module.set_device(number)
    return torch.device(kind, number)


def device_main(port: int, backend: str, seconds: float, number: int) -> None:
    """One device: meet, add up, measure."""
    tell(at="loading torch")
    import torch  # noqa: PLC0415 - only the engine's image has it
    import torch.distributed as dist  # noqa: PLC0415

    device = use_device(torch, backend, number)
    devices, nodes = int(os.environ["ACCELERATORS"]), int(os.environ["GROUP_SIZE"])
    rank, world = int(os.environ["NODE_RANK"]) * devices + number, devices * nodes
    host = os.environ["POD_IP"] if os.environ["NODE_RANK"] == "0" else os.environ["LEADER_ADDRESS"]
    tell(at=f"meeting {world} devices at {host}:{port}")
    dist.init_process_group(
        backend,
        init_method=f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}",
        world_size=world,
        rank=rank,
        timeout=timedelta(seconds=seconds),
    )
    synchronize = getattr(torch, device.type).synchronize if device.type != "cpu" else lambda: None
    tell(at="the first all-reduce")
    check_sum(torch, dist, device, rank, world)
    tensor = torch.zeros(SIZE_MIB * 2**20 // 4, dtype=torch.float32, device=device)

    def timed(rounds: int) -> float:
        """Seconds a round, the slowest device's."""
        synchronize()
        begun = time.perf_counter()
        for _ in range(rounds):
            dist.all_reduce(tensor)
        synchronize()
        slowest = torch.tensor([(time.perf_counter() - begun) / rounds], dtype=torch.float32, device=device)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return float(slowest.item())

    tell(at=f"an all-reduce of {SIZE_MIB} MiB")
    timed(1)
    once = timed(WARM_UPS)
    each = timed(max(1, min(MOST_ROUNDS, int(MEASURED_SECONDS / max(once, 1e-6)))))
    tell(at="the last all-reduce")
    check_sum(torch, dist, device, rank, world)
    log = Path(os.environ.get("NCCL_DEBUG_FILE", os.devnull))
    transport = transport_of(log.read_text(errors="replace") if log.exists() else "")
    tell(
        transport=transport or backend.upper(),
        busBandwidthGBps=round(bus_bandwidth(tensor.numel() * 4, each, world), 2) if world > 1 else None,
    )
    dist.destroy_process_group()


def check_sum(torch: Any, dist: Any, device: Any, rank: int, world: int) -> None:
    """Every device adds its number; RuntimeError where the sum is another."""
    tensor = torch.full((2**20,), float(rank + 1), dtype=torch.float32, device=device)
    dist.all_reduce(tensor)
    expected = world * (world + 1) / 2
    wrong = int((tensor != expected).sum().item())
    if wrong:
        raise RuntimeError(f"the sum over {world} devices is wrong in {wrong} of {2**20} places: it must be {expected}")


class Device:
    """The process of one device, as its rank sees it."""

    def __init__(self, arguments: list[str], number: int, folder: Path) -> None:
        self.number = number
        self.at = "starting"
        self.result: dict[str, Any] = {}
        self.log = folder / f"nccl-{number}"
        self.errors = (folder / f"stderr-{number}").open("w+")
        environment = {
            **os.environ,
            "NCCL_DEBUG": "INFO",
            "NCCL_DEBUG_SUBSYS": "INIT,NET,P2P,SHM",
            "NCCL_DEBUG_FILE": str(self.log),
        }
        self.process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, __file__, *arguments, str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
        for line in self.process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if "at" in told:
                self.at = told["at"]
            elif "transport" in told:
                self.result = told

    def last_words(self) -> str:
        """The last line of its errors, and what NCCL warned of."""
        self.errors.flush()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip() and not WARNING.match(line)]
        warned = []
        if self.log.exists():
            text = self.log.read_text(errors="replace")
            warned = [line.partition("NCCL WARN ")[2] for line in text.splitlines() if "NCCL WARN" in line]
        return "; ".join([*lines[-1:], *(f"NCCL: {each}" for each in warned[-1:])])


def rank_main(arguments: list[str], seconds: float) -> int:
    """One rank: a process a device; the exit code."""
    count, rank = int(os.environ["ACCELERATORS"]), int(os.environ["NODE_RANK"])
    with tempfile.TemporaryDirectory() as folder:
        devices = [Device(arguments, number, Path(folder)) for number in range(count)]
        failure = watch(devices, seconds)
        for device in devices:
            device.process.kill()
            device.process.wait()
            device.reader.join()
    if failure:
        failure = f"rank {rank}: {failure}"
        say(failure)
        write(failure)
        return 1
    results = [device.result for device in devices]
    figures = [each["busBandwidthGBps"] for each in results if each["busBandwidthGBps"] is not None]
    report = {
        "rank": rank,
        "devices": count,
        "worldSize": count * int(os.environ["GROUP_SIZE"]),
        "transport": min((each["transport"] for each in results), key=slowness),
        "busBandwidthGBps": min(figures, default=None),
        "sizeMiB": SIZE_MIB,
    }
    line = json.dumps({key: value for key, value in report.items() if value is not None})
    say(line)
    write(line)
    return 0


def watch(devices: list[Device], seconds: float) -> str:
    """Waits for all; why it failed, or nothing."""
    end = time.monotonic() + seconds
    running = list(devices)
    while running:
        for device in list(running):
            code = device.process.poll()
            if code is None:
                continue
            device.reader.join()
            if code or not device.result:
                told = device.last_words()
                return f"device {device.number} failed at {device.at} with exit code {code}: {told}"
            running.remove(device)
        if time.monotonic() > end:
            told = ", ".join(f"device {each.number} is at {each.at}" for each in running)
            words = next(filter(None, (each.last_words() for each in running)), "")
            return f"not done after {seconds:.0f} s: {told}" + (f": {words}" if words else "")
        time.sleep(0.1)
    return ""


def write(text: str) -> None:
    """The termination message; a container without its file has the log."""
    try:
        TERMINATION_LOG.write_text(text[-4000:])
    except OSError as error:
        say(f"{TERMINATION_LOG} cannot be written: {error}")


def main() -> int:
    """A rank's process, or with a device's number a device's."""
    port, backend, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    if len(sys.argv) > 4:
        device_main(port, backend, seconds, int(sys.argv[4]))
        return 0
    return rank_main(sys.argv[1:4], seconds)


if __name__ == "__main__":
    raise SystemExit(main())
