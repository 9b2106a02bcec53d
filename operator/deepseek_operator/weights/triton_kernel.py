"""Block-scaled bytes to bfloat16 on a CUDA device, bit for bit as dequantize.py.

Imported only for ``--device cuda``, in an engine's image, which brings torch and triton. Codes are decoded by
integer operations, not by the hardware's FP8 type: Triton has that one only from compute capability 8.9 on, and
A100 (8.0) is who needs BF16 (DeepSeek-V3 issue 4).
"""

from __future__ import annotations

from typing import Any, Final

import torch
import triton
import triton.language as tl

from deepseek_operator.weights.dequantize import Bits, Codes, Scales

KINDS: Final = {"F8_E4M3": 0, "F8_E5M2": 1, "I8": 2}


@triton.jit
def _decode(codes, kind: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - device code
    """Codes as float32, exactly. An E4M3 number is a half of the same bits, 2**8 times as large."""
    if kind == 2:
        values = codes.to(tl.int8, bitcast=True).to(tl.float32)
    elif kind == 1:
        values = (codes.to(tl.uint16) << 8).to(tl.float16, bitcast=True).to(tl.float32)
    else:
        wide = codes.to(tl.uint16)
        half = (((wide & 0x80) << 8) | ((wide & 0x7F) << 7)).to(tl.float16, bitcast=True)
        values = half.to(tl.float32) * 256.0
    return values


@triton.jit
def _is_code_nan(codes, kind: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - device code
    magnitude = codes & 0x7F
    if kind == 2:
        found = magnitude != magnitude  # noqa: PLR0124 - false everywhere, in the shape of the codes
    elif kind == 1:
        found = magnitude > 0x7C
    else:
        found = magnitude == 0x7F
    return found


@triton.jit
def dequantize_kernel(  # type: ignore[no-untyped-def] # noqa: ANN201, PLR0913, PLR0917 - device code
    codes_ptr,  # noqa: ANN001 - uint8, rows by columns
    scales_ptr,  # noqa: ANN001 - float32, blocks
    out_ptr,  # noqa: ANN001 - int16, the bits of bfloat16
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    scale_columns,  # noqa: ANN001
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
    tile_rows: tl.constexpr,
    kind: tl.constexpr,
):
    """One program: ``tile_rows`` rows of one block, under one scale."""
    program = tl.program_id(0)
    column_block = program % scale_columns
    row_tile = program // scale_columns
    row = row_tile * tile_rows + tl.arange(0, tile_rows)
    column = column_block * block_columns + tl.arange(0, block_columns)
    offset = row[:, None].to(tl.int64) * columns + column[None, :]
    mask = (row[:, None] < rows) & (column[None, :] < columns)
    scale = tl.load(scales_ptr + (row_tile * tile_rows // block_rows) * scale_columns + column_block)
    codes = tl.load(codes_ptr + offset, mask=mask, other=0)
    product = _decode(codes, kind) * scale
    bits = product.to(tl.bfloat16).to(tl.int16, bitcast=True)
    # The device has one NaN; the CPU's keeps the sign of the operand that is one (dequantize.product_tables). Both
    # candidates are whole before the choice: chosen first and completed after, the same bits cost a tenth of the rate.
    code_nan = _is_code_nan(codes, kind)
    of_code = ((codes & 0x80).to(tl.int16) << 8) | 0x7FC0
    scale_bits = (scale.to(tl.int32, bitcast=True) >> 16).to(tl.int16)
    # Zero times infinity is negative.
    of_scale = tl.where(scale != scale, scale_bits & -0x8000, -0x8000) | 0x7FC0  # noqa: PLR0124 - NaN
    undefined = code_nan | (product != product)  # noqa: PLR0124 - NaN
    bits = tl.where(undefined, tl.where(code_nan, of_code, of_scale), bits)
    tl.store(out_ptr + offset, bits, mask=mask)


def launch(
    codes: Any, scales: Any, out: Any, dtype: str, block: tuple[int, int], *, tile_rows: int = 64, warps: int = 8
) -> None:
    """Run the kernel on tensors of the device: uint8, float32 and int16 (or bfloat16 viewed as int16)."""
    rows, columns = codes.shape
    if block[0] % tile_rows:
        tile_rows = block[0]
    grid = (-(-rows // tile_rows) * scales.shape[1],)
    dequantize_kernel[grid](
        codes, scales, out, rows, columns, scales.shape[1], block[0], block[1], tile_rows, KINDS[dtype],
        num_warps=warps,
    )  # fmt: skip


class CudaDequantizer:
    """As CpuDequantizer, through a device. Threads take turns by the device's own queue."""

    def __init__(self) -> None:
        self._device = torch.device("cuda")

    def __call__(self, codes: Codes, dtype: str, scales: Scales, out: Bits, block: tuple[int, int]) -> None:
        """Fill ``out`` from ``codes`` and ``scales``."""
        on_device = torch.from_numpy(codes).to(self._device)
        factors = torch.from_numpy(scales.copy()).to(self._device)
        bits = torch.empty(codes.shape, dtype=torch.int16, device=self._device)
        launch(on_device, factors, bits, dtype, block)
        torch.from_numpy(out.view("int16")).copy_(bits)
