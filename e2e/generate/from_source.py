"""Flags read out of one source file, for engines whose sources the package registry does not have.

The file is not executed and nothing of it is copied but names, types and choices of flags.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an engine defines its flags."""

    repository: str
    file: str
    command: str | None
    """The function whose click options count; None: the calls of ``add_argument``."""

    def named(self, commit: str) -> str:
        """The source for the catalogue."""
        return f"github.com/{self.repository} {self.file} at {commit}, read by e2e/generate/from_source.py"


SOURCES: Final[Mapping[str, Source]] = {
    "tensorrt-llm": Source(
        repository="NVIDIA/TensorRT-LLM",
        file="tensorrt_llm/commands/serve.py",
        command="serve",
    ),
    "deepseek-infer": Source(repository="deepseek-ai/DeepSeek-V3", file="inference/generate.py", command=None),
}
TYPES: Final = {"int": "int", "float": "float"}


def read(engine: str, file: Path) -> dict[str, dict[str, Any]]:
    """The flags that a copy of the engine's source file defines, by canonical spelling.

    Raises:
        ValueError: the file defines none.
    """
    tree = ast.parse(file.read_text("utf-8"))
    flags = dict(sorted(entry for call in _calls(tree, SOURCES[engine].command) if (entry := _flag(call))))
    if not flags:
        raise ValueError(f"{file} defines no flags of {engine}")
    return flags


def _calls(tree: ast.Module, command: str | None) -> Iterator[ast.Call]:
    if command is None:
        yield from (
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
        )
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == command:
            for each in node.decorator_list:
                if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == "option":
                    yield each


def _flag(call: ast.Call) -> tuple[str, dict[str, Any]] | None:
    """A flag's spelling and the catalogue's entry for it; None for what is no flag."""
    words = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    spellings = [each for word in words if word.startswith("-") for each in word.split("/")]
    if not spellings:
        return None
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    # click names the parameter by the first long spelling, and so does the catalogue.
    name = next((each for each in spellings if each.startswith("--")), spellings[0])
    entry = {
        "aliases": [each for each in spellings if each != name],
        "values": "0" if _is_switch(given) else "1",
        "type": _type(given.get("type")),
        "choices": _choices(given.get("type")),
    }
    return name, {key: value for key, value in entry.items() if value}


def _is_switch(given: Mapping[str | None, ast.expr]) -> bool:
    is_flag, action = given.get("is_flag"), given.get("action")
    return (isinstance(is_flag, ast.Constant) and is_flag.value is True) or (
        isinstance(action, ast.Constant) and action.value in {"store_true", "store_false"}
    )


def _type(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Name):
        return TYPES.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return {"IntRange": "int", "FloatRange": "float"}.get(node.func.attr)
    return None


def _choices(node: ast.expr | None) -> list[str]:
    """Choices that stand in the file itself; those that other modules compute are not known."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"click.Choice", "ChoiceWithAlias"}):
        return []
    try:
        found = [str(choice) for choice in ast.literal_eval(node.args[0])]
        aliases = ast.literal_eval(node.args[1]) if node.args[1:] else {}
    except ValueError:
        return []
    return sorted([*found, *map(str, aliases)])
