"""``deepseek-operator weights`` for tests that need a process: ``python -m tests.unit.weights.program fetch …``."""

from __future__ import annotations

from deepseek_operator.cli.weights import program

if __name__ == "__main__":
    program(prog_name="deepseek-operator weights")
