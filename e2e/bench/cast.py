"""``make bench-cast``: how fast ``weights cast`` computes, and how close it comes to the disk.

Two measurements, each beside its own floor in the same run:

* *compute*: tmpfs to tmpfs, beside the plain numpy loop of cast_plain.py with the same threads;
* *end to end*: disk to disk with every fsync, the input dropped from the page cache before, beside a loop that
  only reads the same bytes and writes twice as many with fsync, with the same threads.

Rates are gigabytes (10**9) of FP8 input a second. End to end the whole process is timed, its start and the compiler
included; compute is judged by processor time, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepseek_operator.weights.cast import cast as cast_checkpoint
from deepseek_operator.weights.dequantize import CpuDequantizer
from deepseek_operator.weights.progress import Progress, peak_memory
from e2e.bench.cast_plain import cast_plain

SHAPE = (2048, 7168)
"""A routed expert's matrix of DeepSeek-V3 (moe_intermediate_size by hidden_size)."""
BLOCK = (128, 128)
TENSOR_BYTES = SHAPE[0] * SHAPE[1]
CHUNK = 16 * 2**20
FASTER = 3.0
OF_DISK = 0.8


def make_input(directory: Path, *, files: int, tensors: int) -> int:
    """Files of expert matrices with F32 scales; returns their bytes."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(0)
    blocks = (SHAPE[0] // BLOCK[0], SHAPE[1] // BLOCK[1])
    scale_bytes = blocks[0] * blocks[1] * 4
    codes = random.integers(0, 256, TENSOR_BYTES, dtype=np.uint8)
    scales = (random.random(blocks[0] * blocks[1]) * 1e-3).astype(np.float32)
    header: dict[str, Any] = {}
    position = 0
    for number in range(tensors):
        name = f"model.layers.3.mlp.experts.{number}.up_proj.weight"
        header[name] = {"dtype": "F8_E4M3", "shape": SHAPE, "data_offsets": [position, position + TENSOR_BYTES]}
        position += TENSOR_BYTES
        end = position + scale_bytes
        header[f"{name}_scale_inv"] = {"dtype": "F32", "shape": blocks, "data_offsets": [position, end]}
        position = end
    for file in range(files):
        # Names differ between files as they do in a checkpoint.
        text = json.dumps(header).replace("layers.3.", f"layers.{file}.").encode()
        text += b" " * (-len(text) % 8)
        with (directory / f"model-{file:05d}.safetensors").open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for number in range(tensors):
                stream.write(np.roll(codes, number + 97 * file).tobytes() + scales.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
    return files * tensors * TENSOR_BYTES


def drop(directory: Path) -> None:
    """Throw a directory's pages out of the cache; they are clean, so the kernel obeys (posix_fadvise(2))."""
    for path in directory.iterdir():
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def only_disk(source: Path, target: Path, workers: int) -> None:
    """Read every file and write twice its bytes, with fsync: what the disk can do at best."""
    target.mkdir(parents=True)

    def one(path: Path) -> None:
        buffer = memoryview(bytearray(CHUNK))
        with path.open("rb", buffering=0) as reader, (target / path.name).open("wb", buffering=0) as writer:
            while count := reader.readinto(buffer):
                writer.write(buffer[:count])
                writer.write(buffer[:count])
            os.fsync(writer.fileno())

    with ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(one, sorted(source.iterdir())))


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What an action took: seconds on the clock, and of processors."""

    wall: float
    cpu: float
    peak_gib: float = 0.0


def cast(source: Path, target: Path, workers: int) -> Spent:
    """``weights cast`` in a process of its own, which says what the cast took without its start."""
    command = [sys.executable, "-m", "e2e.bench.cast", "--child", str(source), str(target), str(workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return Spent(**json.loads(done.stdout))


def child(source: Path, target: Path, workers: int) -> None:
    """The other side of ``cast``: what the command does after reading its arguments."""
    dequantize = CpuDequantizer()
    spent = spend(lambda: cast_checkpoint(source, target, dequantize=dequantize, workers=workers, progress=Progress()))
    print(json.dumps({"wall": spent.wall, "cpu": spent.cpu, "peak_gib": peak_memory() / 2**30}))


def spend(action: Callable[[], object]) -> Spent:
    """Time an action of this process and its threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def kernel_rate() -> float:
    """The dequantiser alone on one core, in memory."""
    codes = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    scales = np.full((SHAPE[0] // BLOCK[0], SHAPE[1] // BLOCK[1]), 1e-3, dtype=np.float32)
    out = np.empty(SHAPE, dtype=np.uint16)
    dequantize = CpuDequantizer()
    seconds = []
    for _ in range(15):
        begun = time.perf_counter()
        dequantize(codes, "F8_E4M3", scales, out, BLOCK)
        seconds.append(time.perf_counter() - begun)
    return TENSOR_BYTES / min(seconds) / 1e9


def compute(memory: Path, cores: int, rounds: int) -> bool:
    """Tmpfs to tmpfs; whether the goal is met for every number of threads."""
    source, target = memory / "in", memory / "out"
    size = make_input(source, files=4, tensors=8)
    print(f"compute, tmpfs to tmpfs, {size / 1e9:.2f} GB in 4 files, median of {rounds}:")
    print(f"  dequantiser alone, one core, in memory: {kernel_rate():.2f} GB/s", flush=True)
    good = True
    for workers in sorted({1, cores}):
        ours, plain = [], []
        for _ in range(rounds):
            plain.append(spend(partial(cast_plain, source, target, workers)))
            shutil.rmtree(target)
            ours.append(cast(source, target, workers))
            shutil.rmtree(target)
        wall = statistics.median(each.wall for each in plain) / statistics.median(each.wall for each in ours)
        core, floor = (size / statistics.median(each.cpu for each in those) / 1e9 for those in (ours, plain))
        rate = size / statistics.median(each.wall for each in ours) / 1e9
        good = good and core >= FASTER * floor
        print(
            f"  {workers} threads: {rate:.2f} GB/s; of processor time {core:.2f} GB/s a core with hashing, plain loop "
            f"{floor:.2f}: {core / floor:.1f} times (goal {FASTER:.0f}); by the clock {wall:.1f} times",
            flush=True,
        )
    shutil.rmtree(source)
    return good


def end_to_end(disk: Path, cores: int, rounds: int, gib: float) -> bool:
    """Disk to disk; whether the goal is met."""
    files = 4
    source, target = disk / "in", disk / "out"
    size = make_input(source, files=files, tensors=max(int(gib * 2**30 / files / TENSOR_BYTES), 1))
    workers = cores + 2
    print(
        f"end to end, disk, {size / 1e9:.2f} GB in, {workers} files at once, input not cached, fsync, {rounds} rounds:"
    )
    ours, floor, peak = [], [], 0.0
    for _ in range(rounds):
        drop(source)
        floor.append(spend(partial(only_disk, source, target, workers)).wall)
        shutil.rmtree(target)
        drop(source)
        begun = time.perf_counter()
        spent = cast(source, target, workers)
        ours.append(time.perf_counter() - begun)
        shutil.rmtree(target)
        peak = max(peak, spent.peak_gib)
        print(
            f"  disk alone {size / floor[-1] / 1e9:.2f} GB/s, cast {size / ours[-1] / 1e9:.2f} GB/s "
            f"({spent.cpu / spent.wall:.1f} cores busy)",
            flush=True,
        )
    share = statistics.median(floor) / statistics.median(ours)
    print(f"  median: {share:.0%} of the disk (goal {OF_DISK:.0%}); peak memory {peak:.2f} GiB")
    shutil.rmtree(source)
    return share >= OF_DISK


def main() -> int:
    """Both; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.cast", description=__doc__)
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs with 5 GB free")  # noqa: S108
    parser.add_argument("--disk", type=Path, default=Path.cwd(), help="a directory on the disk to measure")
    parser.add_argument(
        "--gib", type=float, default=4.0, help="input of the end-to-end run; three times that is needed"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), Path(options.child[1]), int(options.child[2]))
        return 0
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f} before the run")
    with tempfile.TemporaryDirectory(dir=options.memory) as memory:
        fast = compute(Path(memory), cores, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.disk, prefix=".bench-cast-") as disk:
        close = end_to_end(Path(disk), cores, options.rounds, options.gib)
    print(f"goals: compute {'met' if fast else 'MISSED'}, end to end {'met' if close else 'MISSED'}")
    return 0 if fast and close else 1


if __name__ == "__main__":
    sys.exit(main())
