"""Block-scaled bytes to bfloat16, bit for bit as ``(weight.to(float32) * scale).to(bfloat16)``.

Within a block of 128 by 128 one scale holds, so the 16,384 products of a block take at most 256 values. They are
computed once, by numpy and ml_dtypes with the reference's own two roundings, and each weight is then a look-up in a
table of 512 bytes: equality holds by construction, for subnormals, overflow and NaN as well. The look-up is
the one loop that is compiled (numba, without the interpreter's lock); docs/measurements/cast.md has its rate.
"""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numba
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]
Scales = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint16]
"""bfloat16 as its bits."""

_CODES: Final = np.arange(256, dtype=np.uint8)
_QUIET_NAN: Final = np.uint16(0x7FC0)
_SIGN: Final = np.uint16(0x8000)

CODE_DTYPES: Final[dict[str, Any]] = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I8": np.int8,
}
"""Quantised weights, by the safetensors name of their dtype."""

SCALE_DTYPES: Final[dict[str, Any]] = {
    "F32": np.float32,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
}
"""Scales; each converts to float32 exactly."""


def scales_of(raw: bytes, dtype: str, shape: tuple[int, ...]) -> Scales:
    """A tensor of scales as float32."""
    return np.frombuffer(raw, dtype=SCALE_DTYPES[dtype]).reshape(shape).astype(np.float32)


def product_tables(dtype: str, scales: Scales) -> Bits:
    """The 256 possible weights of each block: shape of ``scales``, then 256.

    A NaN keeps the sign of the operand that is one, the weight first, as x86 multiplies; zero times infinity is
    negative there. Said explicitly, so that other processors and accelerators give the same bits.
    """
    values = _CODES.view(CODE_DTYPES[dtype]).astype(np.float32)
    factors = scales[..., np.newaxis]
    with np.errstate(all="ignore"):
        products = values * factors
        bits = products.astype(ml_dtypes.bfloat16).view(np.uint16)
    undefined = np.isnan(products)
    if undefined.any():
        origin = np.where(np.isnan(values), values, np.where(np.isnan(factors), factors, np.float32(-0.0)))
        bits = np.where(undefined, np.where(np.signbit(origin), _QUIET_NAN | _SIGN, _QUIET_NAN), bits)
    return np.ascontiguousarray(bits, dtype=np.uint16)


def _look_up(codes: Codes, tables: Bits, out: Bits, block_rows: int, block_columns: int) -> None:
    """Each byte through the table of its block. Slices instead of index arithmetic: LLVM sees plain loops."""
    rows, columns = codes.shape
    for row in range(rows):
        block_row = row // block_rows
        for first in range(0, columns, block_columns):
            last = min(columns, first + block_columns)
            table = tables[block_row, first // block_columns]
            source = codes[row, first:last]
            target = out[row, first:last]
            for column in range(source.shape[0]):
                target[column] = table[source[column]]


class CpuDequantizer:
    """Dequantises strips of a matrix; safe to call from several threads at once."""

    def __init__(self) -> None:
        # Compiled now, for one signature and in memory: a cache on disk needs a writable home, which pods lack.
        self._look_up = numba.njit("void(uint8[:, ::1], uint16[:, :, ::1], uint16[:, ::1], int64, int64)", nogil=True)(
            _look_up
        )

    def __call__(self, codes: Codes, dtype: str, scales: Scales, out: Bits, block: tuple[int, int]) -> None:
        """Fill ``out`` (rows by columns) from ``codes`` (rows by columns) and ``scales`` (blocks of ``block``)."""
        self._look_up(codes, product_tables(dtype, scales), out, *block)
