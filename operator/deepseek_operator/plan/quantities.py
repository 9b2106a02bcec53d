"""Kubernetes quantities as whole numbers.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

from typing import Final

_MULTIPLIERS: Final = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
}


def whole(quantity: object) -> int:
    """A quantity rounded down, in the unit it counts (bytes, devices); 0 where it is none."""
    return _scaled(quantity, scale=1)


def thousandths(quantity: object) -> int:
    """A quantity in thousandths of its unit, rounded down (cpu in millicores); 0 where it is none."""
    return _scaled(quantity, scale=1000)


def _scaled(quantity: object, *, scale: int) -> int:
    text = str(quantity).strip()
    # Most amounts of devices are plain numbers.
    if text.isdecimal():
        return int(text) * scale
    suffix = next((each for each in _MULTIPLIERS if text.endswith(each)), "")
    try:
        if text.endswith("m"):
            return int(float(text[:-1]) * scale / 1000)
        return int(float(text.removesuffix(suffix)) * _MULTIPLIERS.get(suffix, 1) * scale)
    except ValueError:
        return 0
