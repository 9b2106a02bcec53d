"""Flags are read out of a source file that is not executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.generate.from_source import read

CLICK = """
raise SystemExit("never executed")

@click.command("other")
@click.option("--not-of-serve", type=str)
def other(): ...

@click.command("serve")
@click.argument("model", type=str)
@click.option("--host", type=str, default="localhost", help="--port is another")
@click.option("--wide_name", "--wn", type=int)
@click.option("--share", "portion", type=click.FloatRange(0, 1))
@click.option("--backend", type=Choice2(["a", "b"]))
@click.option("--mode", type=ChoiceWithAlias(["fast", "slow"], {"f": "fast"}))
@click.option("--kind", type=click.Choice(elsewhere.keys()))
@click.option("--quiet", is_flag=True, default=False)
@click.option("--loud", is_flag=False)
def serve(): ...
"""
ARGPARSE = """
parser.add_argument("--path", type=str, required=True)
parser.add_argument("-n", "--number", type=int, default=3)
parser.add_argument("--talk", action="store_true")
parser.add_argument("positional")
"""


def test_click_options_of_the_command_are_read(tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text(CLICK)
    assert read("tensorrt-llm", tmp_path / "serve.py") == {
        "--backend": {"values": "1"},
        "--host": {"values": "1"},
        "--kind": {"values": "1"},
        "--loud": {"values": "1"},
        "--mode": {"values": "1", "choices": ["f", "fast", "slow"]},
        "--quiet": {"values": "0"},
        "--share": {"values": "1", "type": "float"},
        "--wide_name": {"aliases": ["--wn"], "values": "1", "type": "int"},
    }


def test_argparse_flags_are_read(tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_text(ARGPARSE)
    assert read("deepseek-infer", tmp_path / "generate.py") == {
        "--number": {"aliases": ["-n"], "values": "1", "type": "int"},
        "--path": {"values": "1"},
        "--talk": {"values": "0"},
    }


def test_a_file_without_flags_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text("def serve(): ...\n")
    with pytest.raises(ValueError, match="defines no flags of tensorrt-llm"):
        read("tensorrt-llm", tmp_path / "serve.py")
