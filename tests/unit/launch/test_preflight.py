"""The preflight's script and program, really run as a process a device, over a stand-in for torch.

torch is no dependency of this project. The program ran with the real one, over NCCL and gloo, on two GPUs:
docs/measurements/preflight.md has the output. The stand-in adds up numbers over real sockets.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from deepseek_operator.engines.launch.preflight import bus_bandwidth, slowness, transport_of
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.launch.ranks import Group

if TYPE_CHECKING:
    from pathlib import Path

TORCH = """
float32 = "float32"
class device:
    def __init__(self, type, index=0):
        self.type = type
class Tensor:
    def __init__(self, value, size):
        self.value, self.size = value, size
    def __ne__(self, other):
        return Tensor(float(self.value != other), self.size)
    def sum(self):
        return Tensor(self.value * self.size, 1)
    def item(self):
        return self.value
    def numel(self):
        return self.size
def full(shape, value, *, dtype, device):
    return Tensor(value, shape[0])
def zeros(size, *, dtype, device):
    return Tensor(0.0, size)
def tensor(values, *, dtype, device):
    return Tensor(values[0], 1)
class cuda:
    @staticmethod
    def device_count():
        import os
        return int(os.environ.get("SEEN", "2"))
    set_device = synchronize = staticmethod(lambda *_: None)
"""
DISTRIBUTED = """
import os, socket, sys, time
class ReduceOp:
    SUM, MAX = sum, max
state = {}
def init_process_group(backend, *, init_method, world_size, rank, timeout):
    host, port = init_method[6:].rsplit(":", 1)
    if rank == 0:
        server = socket.create_server((host, int(port)))
        state["peers"] = [server.accept()[0].makefile("rw") for _ in range(world_size - 1)]
    else:
        if os.environ.get("HANG"):
            time.sleep(600)
        while True:
            try:
                state["leader"] = socket.create_connection((host, int(port))).makefile("rw")
                break
            except OSError:
                time.sleep(0.05)
    with open(os.environ["NCCL_DEBUG_FILE"], "w") as log:
        log.write("h:1:1 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/IB/0/GDRDMA\\\\n")
def all_reduce(tensor, op=ReduceOp.SUM):
    if os.environ.get("SPOILT"):
        tensor.value += 1
    if "leader" in state:
        print(tensor.value, file=state["leader"], flush=True)
        tensor.value = float(state["leader"].readline())
        return
    tensor.value = float(op([tensor.value, *(float(peer.readline()) for peer in state["peers"])]))
    for peer in state["peers"]:
        print(tensor.value, file=peer, flush=True)
def destroy_process_group():
    pass
"""


class Preflight(Group):
    """Ranks that run the preflight's script in place of the engine's."""

    def __init__(self, directory: Path, *, seconds: int = 60) -> None:
        made = launched(plan(interface="lo"), spec(fabric={"preflight": True}))
        assert made.preflight is not None
        script = made.preflight.replace("20102 nccl 300", f"20102 nccl {seconds}")
        super().__init__(dataclasses.replace(made, script=script), directory)
        package = directory / "fake" / "torch"
        package.mkdir()
        (package / "__init__.py").write_text(TORCH)
        (package / "distributed.py").write_text(DISTRIBUTED.replace("\\\\n", "\\n"))

    def environment(self, rank: int) -> dict[str, str]:
        message = str(self.directory / f"message-{rank}")
        return {**super().environment(rank), "ACCELERATORS": "2", "TERMINATION_LOG": message}

    def message(self, rank: int) -> str:
        return (self.directory / f"message-{rank}").read_text()


def test_all_devices_meet_add_up_and_tell_transport_and_bandwidth(tmp_path: Path) -> None:
    group = Preflight(tmp_path)
    with group.rank(0) as leader, group.rank(1) as worker:
        assert (leader.exit_code(), worker.exit_code()) == (0, 0), (leader.lines, worker.lines)
    for rank in (0, 1):
        told = json.loads(group.message(rank))
        assert (told["rank"], told["devices"], told["worldSize"]) == (rank, 2, 4)
        assert told["transport"] == "NET/IB/GDRDMA"
        assert told["busBandwidthGBps"] > 0
    # A kubelet that runs the container again must not wait for ranks that have passed.
    with group.rank(1) as again:
        assert again.exit_code() == 0
        assert "passed before" in "".join(again.lines)


def test_a_device_that_does_not_come_is_named_within_the_time(tmp_path: Path) -> None:
    group = Preflight(tmp_path, seconds=4)
    with group.rank(0) as leader, group.rank(1, HANG="1") as worker:
        assert (leader.exit_code(), worker.exit_code()) == (1, 1)
    assert "not done after 4 s" in group.message(0)
    assert "device 0 is at meeting 4 devices" in group.message(0)


def test_a_wrong_sum_and_a_missing_device_are_told(tmp_path: Path) -> None:
    group = Preflight(tmp_path)
    with group.rank(0) as leader, group.rank(1, SPOILT="1") as worker:
        assert leader.exit_code() == 1
        assert worker.exit_code() == 1
    assert "is wrong in" in group.message(1) or "is wrong in" in group.message(0)


def test_fewer_devices_than_promised_are_told_by_number(tmp_path: Path) -> None:
    group = Preflight(tmp_path, seconds=8)
    with group.rank(0, SEEN="1") as leader, group.rank(1) as worker:
        assert leader.exit_code() == 1
        assert worker.exit_code() == 1
    assert "torch sees 1 devices of 2" in group.message(0)


def test_it_has_the_interface_of_the_launch_script_and_no_keys() -> None:
    made = launched(plan(interface="eth7"), spec(fabric={"preflight": True}))
    assert made.preflight is not None
    for line in ("interface=eth7", 'export NCCL_SOCKET_IFNAME=="$interface"', 'export GLOO_SOCKET_IFNAME="$interface"'):
        assert made.script.count(line) == made.preflight.count(line)
    assert launched(plan()).preflight is None
    ascend = launched(plan(vendor="ascend", carrier="ascend"), spec(fabric={"preflight": True})).preflight
    assert ascend is not None
    assert "20102 hccl 300" in ascend
    assert "set_env.sh" in ascend


@pytest.mark.parametrize(
    ("lines", "transport"),
    [
        (["0[0] -> 1[1] via P2P/CUMEM/read", "1[0] -> 0[0] [receive] via NET/IB/0"], "NET/IB"),
        (["0[0] -> 8[0] [send] via NET/IB/3/GDRDMA", "0[0] -> 1[1] via P2P/IPC"], "NET/IB/GDRDMA"),
        (["0[0] -> 8[0] [send] via NET/IB/3/GDRDMA", "0[0] -> 9[0] [send] via NET/Socket/0"], "NET/Socket"),
        (["0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA"], "NET/OFI/GDRDMA"),
        (["0[0] -> 8[0] [send] via NET/gIB/0/GDRDMA"], "NET/gIB/GDRDMA"),
        (["0[0] -> 1[1] via SHM/direct/direct", "0[0] -> 1[1] via P2P/IPC"], "SHM"),
        (["Bootstrap: Using eth0:10.0.0.1<0>"], None),
    ],
)
def test_the_slowest_channel_tells_the_transport(lines: list[str], transport: str | None) -> None:
    assert transport_of("\n".join(f"h:1:2 [0] NCCL INFO Channel 00/0 : {line}" for line in lines)) == transport


def test_bandwidth_is_counted_as_nccl_tests_do() -> None:
    # https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md: busbw = algbw * 2 (n - 1) / n
    assert bus_bandwidth(10**9, 1.0, 2) == pytest.approx(1.0)
    assert bus_bandwidth(10**9, 1.0, 16) == pytest.approx(1.875)
    assert slowness("NET/Socket") < slowness("NET/IB") < slowness("NET/OFI/GDRDMA") < slowness("SHM")
