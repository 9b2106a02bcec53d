"""What every program of this package does with its input: commands in, one outcome for each out.

Input: ``{"commands": [["--flag", …], …], …}``. Output: ``{"flags": {…}, "outcomes": [{"error": null | "…", "values":
{…}}]}``: the parser's refusal or that of the checks after it, and what the parser made of the words, by destination.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Outcome = dict[str, Any]
PLAIN = (str, int, float, list, dict, type(None))


def quiet() -> None:
    """Engines log and warn while they are imported; only the answer is wanted."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def asked() -> Mapping[str, Any]:
    """The request on standard input."""
    request: Mapping[str, Any] = json.load(sys.stdin)
    return request


def respond(
    request: Mapping[str, Any], judge: Callable[[list[str]], Outcome], flags: Callable[[], Mapping[str, Any]]
) -> None:
    """Answers the request on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        answer = {
            "flags": flags() if request.get("flags") else {},
            "outcomes": [judge(command) for command in request["commands"]],
        }
    json.dump(answer, sys.stdout, default=str)


def parsed(
    parse: Callable[[], Mapping[str, Any]], check: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> Outcome:
    """The outcome of a command: ``parse`` ends as argparse does when it refuses, or raises, as ``check`` does."""
    found: Mapping[str, Any] = {}
    complaint = io.StringIO()
    error = None
    try:
        with contextlib.redirect_stderr(complaint):
            found = parse()
            check(found)
    except SystemExit:
        # After the usage, which may be long.
        error = " ".join(complaint.getvalue().rpartition(": error: ")[2].split())
    except Exception as raised:  # noqa: BLE001 - engines refuse with asserts and with every kind of exception
        where = traceback.extract_tb(raised.__traceback__)[-1]
        said = " ".join(str(raised).split())
        error = f"{type(raised).__name__}: {said} ({Path(where.filename).name}: {where.line})"
    return {"error": error, "values": {key: value for key, value in found.items() if isinstance(value, PLAIN)}}


def flags_of(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Every flag of an argparse parser by its canonical spelling: aliases, number of values, type and choices."""
    spellings: dict[int, list[str]] = {}
    # Spellings that are taken but left out of the help are here only.
    for spelling, action in parser._option_string_actions.items():  # noqa: SLF001 - argparse has no public list
        spellings.setdefault(id(action), []).append(spelling)
    found: dict[str, dict[str, Any]] = {}
    for action in parser._actions:  # noqa: SLF001
        if action.dest == "help" or not action.option_strings:
            continue
        name = action.option_strings[0]
        aliases = dict.fromkeys([*action.option_strings[1:], *sorted(set(spellings[id(action)]) - {name})])
        choices = sorted(str(choice) for choice in action.choices or ())
        entry = {
            "aliases": list(aliases),
            "values": "1" if action.nargs is None else str(action.nargs),
            **dict(_kind(action.type, takes=action.nargs != 0)),
            "choices": choices,
            "folds": callable(action.type) and bool(choices) and _folds(action.type, choices),
        }
        found[name] = {key: value for key, value in entry.items() if value}
    return dict(sorted(found.items()))


def _folds(convert: Any, choices: list[str]) -> bool:
    """Whether a choice may be written in capitals and with dashes."""
    return all(_takes(convert, each) and convert(each.upper().replace("_", "-")) == each for each in choices)


def _kind(convert: Any, *, takes: bool) -> Iterator[tuple[str, Any]]:
    """A converter's kind, found by what it takes: engines wrap int, float and json.loads in functions of their own."""
    if not takes or convert in {None, str}:
        return
    if _takes(convert, "no such word"):
        return
    for kind, sound, broken in (
        ("int", ("1",), ("1.5", "1k", "{}")),
        ("size", ("1", "1k"), ("{}",)),
        ("float", ("1", "1.5"), ("{}",)),
        ("json", ("{}",), ("1k",)),
    ):
        if all(_takes(convert, text) for text in sound) and not any(_takes(convert, text) for text in broken):
            yield "type", kind
            words = [word for word in ("None", "auto") if _takes(convert, word)]
            if words:
                yield "also", words
            return


def _takes(convert: Any, text: str) -> bool:
    try:
        convert(text)
    except Exception:  # noqa: BLE001 - a converter may refuse with any
        return False
    return True
