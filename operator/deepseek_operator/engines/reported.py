"""What a running engine says about its memory: read out of its Prometheus page, which needs no key.

SGLang 0.5.23 (observability/metrics_collector.py, emit_constants) sets ``sglang:max_total_num_tokens`` and
``sglang:weight_memory_usage_gb`` (GiB, model_runner.py weight_load_mem_usage) once at start, one series a rank that
records; vLLM (v1/metrics/loggers.py) tells blocks and block size as labels of ``vllm:cache_config_info``.
``/server_info`` has the same figures, but it needs the API key and shows all keys in clear, so it is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_SAMPLE: Final = re.compile(
    r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)(?: \d+)?$", re.MULTILINE
)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedMemory:
    """Figures of the leader's page; None: not on it."""

    kv_tokens: int | None
    """Of the rank with the fewest."""
    weights_gib: float | None
    """Of the rank with the most, without a draft model's."""


def read_metrics(engine: str, page: str) -> ReportedMemory | None:
    """The figures of a page; None where it has no number of KV tokens."""
    if engine == "vllm":
        tokens = [
            int(labels["num_gpu_blocks"]) * int(labels["block_size"])
            for labels, _ in _samples(page, "vllm:cache_config_info")
            if labels.get("num_gpu_blocks", "").isdecimal() and labels.get("block_size", "").isdecimal()
        ]
        weights: list[float] = []
    else:
        tokens = [int(value) for _, value in _samples(page, "sglang:max_total_num_tokens") if value > 0]
        weights = [value for _, value in _samples(page, "sglang:weight_memory_usage_gb") if value > 0]
    if not tokens:
        return None
    return ReportedMemory(kv_tokens=min(tokens), weights_gib=max(weights, default=None))


def _samples(page: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for sample in _SAMPLE.finditer(page):
        if sample["name"] == name:
            try:
                value = float(sample["value"])
            except ValueError:
                continue
            if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - NaN is not itself
                yield dict(_LABEL.findall(sample["labels"] or "")), value
