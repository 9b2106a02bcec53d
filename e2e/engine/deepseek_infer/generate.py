"""One rank of the demo: loads its own file of the sharded checkpoint, then answers prompts in step with the others.

As deepseek-ai/DeepSeek-V3 9b4e978, ``inference/generate.py``: the file's name is made of rank and world size; rank 0
alone prints; at most ``max_batch_size`` prompts; a closed terminal is an EOFError.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from e2e.engine.rank import Rank

DEFAULT_BATCH: Final = 8
NCCL_SECONDS: Final = 600.0


class Generator(Rank):
    """A rank whose steps are tokens of prompts instead of requests."""

    def __init__(self, settings: dict[str, Any], options: argparse.Namespace, configuration: dict[str, Any]) -> None:
        super().__init__(settings)
        self.options = options
        self.batch = int(configuration.get("max_batch_size", DEFAULT_BATCH))

    def ready(self) -> None:
        """The demo says nothing."""

    def lead(self) -> None:
        """Rank 0: the prompts of the file, or of the terminal until it is closed."""
        if self.options.interactive:
            while (prompt := input(">>> ")) != "/exit":
                print(self._answer(prompt), flush=True)
        else:
            prompts = Path(self.options.input_file).read_text(encoding="utf-8").splitlines()
            if len(prompts) > self.batch:
                raise AssertionError(f"Number of prompts exceeds maximum batch size ({self.batch})")
            for prompt in prompts:
                print(f"Prompt: {prompt}\nCompletion: {self._answer(prompt)}\n", flush=True)
        self.ring.send({"kind": "stop"})

    def _answer(self, prompt: str) -> str:
        words = f"{self.world} ranks heard: {prompt}".split()[: self.options.max_new_tokens]
        for number, _ in enumerate(words):
            if self.ring.round({"kind": "step", "step": number}, seconds=NCCL_SECONDS, own=self.step) is None:
                raise TimeoutError("Watchdog caught collective operation timeout: WorkNCCL ran for 600000 milliseconds")
        return " ".join(words)


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="generate.py")
    parser.add_argument("--ckpt-path", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--input-file", default="")
    parser.add_argument("--interactive", action="store_true")
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.2)
    options = parser.parse_args(argv)
    if not options.input_file and not options.interactive:
        raise AssertionError("Either input-file or interactive mode must be specified")
    return options


def main(argv: list[str]) -> int:
    """Run the rank that torchrun's environment names."""
    options = _options(argv)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    configuration = json.loads(Path(options.config).read_text(encoding="utf-8"))
    shard = Path(options.ckpt_path) / f"model{rank}-mp{world}.safetensors"
    if not shard.is_file():
        raise FileNotFoundError(f"No such file or directory: {str(shard)!r}")
    settings = {
        "engine": "deepseek_infer",
        "title": "generate.py",
        "rank": rank,
        "world": world,
        "nodes": int(os.environ["STAND_IN_NODES"]),
        "store": (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])),
        "address": os.environ["STAND_IN_ADDRESS"],
        "dist_seconds": NCCL_SECONDS,
        "step_seconds": NCCL_SECONDS,
    }
    begun = time.monotonic()
    Generator(settings, options, configuration).run()
    print(f"rank {rank} ended after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return 0
