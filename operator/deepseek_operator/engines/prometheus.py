"""Prometheus' text format, as far as an engine's own figures are read out of its ``/metrics``, which needs no key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_SAMPLE: Final = re.compile(
    r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)(?: \d+)?$", re.MULTILINE
)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(page: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Labels and value of each finite sample of a metric."""
    for sample in _SAMPLE.finditer(page):
        if sample["name"] == name:
            try:
                value = float(sample["value"])
            except ValueError:
                continue
            if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - NaN is not itself
                yield dict(_LABEL.findall(sample["labels"] or "")), value
