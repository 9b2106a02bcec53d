"""``weights cast --device cuda``: bits against the CPU, and the kernel's bandwidth against a copy's.

Run on a machine with an NVIDIA GPU, torch and triton::

    PYTHONPATH=operator python -m e2e.bench.cast_cuda
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import torch
import triton

from deepseek_operator.weights.dequantize import CpuDequantizer
from deepseek_operator.weights.triton_kernel import KINDS, launch

BLOCK = (128, 128)
SHAPES = [(2048, 7168), (7168, 2048), (576, 7168), (300, 200), (129, 1), (1, 127), (128, 128), (257, 385)]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, 1e-38, 3e38, -1.5, 1.0, 2.0**-127]
GOAL = 0.85
# The routed experts of one matrix kind and layer: 3.8 GB in, 7.5 GB out, far beyond any cache.
LARGE = (256 * 2048, 7168)


def scales_for(shape: tuple[int, int], seed: int, *, special: bool) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random scales of the size that real ones have; among them, where asked, every awkward one."""
    random = np.random.default_rng(seed)
    blocks = (-(-shape[0] // BLOCK[0]), -(-shape[1] // BLOCK[1]))
    scales = (random.random(blocks) * 1e-3 + 1e-5).astype(np.float32)
    if special:
        flat = scales.reshape(-1)
        where = random.permutation(flat.size)[: len(SPECIAL)]
        flat[where] = np.array(SPECIAL[: where.size], dtype=np.float32)
    return scales


def compare() -> tuple[int, int]:
    """Differing weights between device and CPU over all kinds and shapes, and how many were compared."""
    on_cpu = CpuDequantizer()
    wrong = compared = 0
    for (kind, shape), seed in zip(itertools.product(KINDS, SHAPES), itertools.count()):
        codes = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        scales = scales_for(shape, seed, special=seed % 2 == 0)
        expected = np.empty(shape, np.uint16)
        on_cpu(codes, kind, scales, expected, BLOCK)
        out = torch.full(shape, 0x5A5A, dtype=torch.int16, device="cuda")
        launch(torch.from_numpy(codes).cuda(), torch.from_numpy(scales).cuda(), out, kind, BLOCK)
        different = out.cpu().numpy().view(np.uint16) != expected
        wrong += int(different.sum())
        compared += codes.size
        if different.any():
            print(f"  {kind} {shape}: {int(different.sum())} differ, first at {np.argwhere(different)[0]}")
    return wrong, compared


def against_torch() -> int:
    """Weights, NaN left out, that differ from ``(weight.to(float32) * scale).to(bfloat16)`` by torch itself."""
    shape = (2048, 7168)
    codes = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    scales = torch.from_numpy(scales_for(shape, 7, special=False)).cuda()
    weight = torch.from_numpy(codes).cuda().view(torch.float8_e4m3fn)
    wide = scales.repeat_interleave(BLOCK[0], 0)[: shape[0]].repeat_interleave(BLOCK[1], 1)[:, : shape[1]]
    reference = (weight.to(torch.float32) * wide).to(torch.bfloat16)
    out = torch.empty(shape, dtype=torch.int16, device="cuda")
    launch(weight.view(torch.uint8), scales, out, "F8_E4M3", BLOCK)
    defined = ~reference.isnan()
    return int((out[defined] != reference.view(torch.int16)[defined]).sum())


def bandwidth() -> float:
    """Print the copy's and the kernel's rates; the kernel's share of the copy, at its default settings."""
    rows, columns = LARGE
    codes = torch.randint(0, 256, LARGE, dtype=torch.uint8, device="cuda")
    scales = torch.rand(rows // BLOCK[0], columns // BLOCK[1], device="cuda") * 1e-3
    out = torch.empty(LARGE, dtype=torch.int16, device="cuda")
    target = torch.empty_like(codes)
    moved = codes.numel() * 3 + scales.numel() * 4
    copied = 2 * codes.numel()

    def rate(action: Any, size: int) -> float:
        milliseconds = triton.testing.do_bench(action, warmup=100, rep=400, return_mode="median")
        return float(size / milliseconds / 1e6)

    copies = [rate(lambda: target.copy_(codes), copied) for _ in range(3)]
    print(
        f"copy, device to device, {codes.numel() / 1e9:.2f} GB: "
        + ", ".join(f"{each:.0f}" for each in copies)
        + " GB/s"
    )
    copy = max(copies)
    for tile_rows, warps in itertools.product((16, 32, 64, 128), (2, 4, 8)):

        def kernel(tile_rows: int = tile_rows, warps: int = warps) -> None:
            launch(codes, scales, out, "F8_E4M3", BLOCK, tile_rows=tile_rows, warps=warps)

        speed = rate(kernel, moved)
        print(f"  {tile_rows:4d} rows a program, {warps} warps: {speed:6.0f} GB/s, {speed / copy:.1%} of the copy")
    chosen = rate(lambda: launch(codes, scales, out, "F8_E4M3", BLOCK), moved)
    print(f"as set in the module: {chosen:.0f} GB/s, {chosen / copy:.1%} of the copy")
    for kind in ("F8_E5M2", "I8"):
        speed = rate(lambda kind=kind: launch(codes, scales, out, kind, BLOCK), moved)
        print(f"  {kind}: {speed:.0f} GB/s, {speed / copy:.1%}")
    return chosen / copy


def main() -> int:
    """Everything; exit code 1 where a bit differs or the goal is missed."""
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    wrong, compared = compare()
    print(f"bits that differ from the CPU: {wrong} of {compared} weights ({len(KINDS)} kinds, {len(SHAPES)} shapes)")
    torch_wrong = against_torch()
    print(f"weights that differ from torch's own dequantisation: {torch_wrong} (NaN left out)")
    share = bandwidth()
    good = not wrong and not torch_wrong and share >= GOAL
    print(f"goal of {GOAL:.0%} and equality: {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
