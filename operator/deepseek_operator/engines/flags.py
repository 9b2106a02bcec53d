"""The flags of each engine's releases: data written by ``make generate`` out of the engines' own sources.

Names differ between releases, and a flag that a release does not know aborts the start of every rank.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal

import yaml

Values = Literal["0", "1", "?", "*", "+"]
Kind = Literal["int", "size", "float", "json", "str"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: ``name`` is the canonical spelling."""

    name: str
    aliases: tuple[str, ...]
    values: Values
    """How many values it takes, as argparse's nargs; 0 for switches."""
    type: Kind
    """size: a whole number that may be written as 32k or 1M. str: any text, or one of ``choices``."""
    choices: tuple[str, ...]
    """Empty: any value."""
    also: tuple[str, ...] = ()
    """Words that it takes besides values of its type: ``auto``, ``None``."""
    folds: bool = False
    """Whether a choice may be written in capitals and with dashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFlags:
    """All flags of one release of an engine."""

    engine: str
    version: str
    exact: bool
    """Whether they are those of the version asked for; else those of the nearest release that is known."""
    by_spelling: Mapping[str, Flag]
    """Canonical names and aliases."""
    underscores: bool
    """Whether the engine reads underscores in a flag as dashes (vLLM)."""
    nested: bool
    """Whether a JSON value's fields may be flags of their own, ``--compilation-config.mode`` (vLLM)."""

    def read(self, spelling: str) -> str:
        """A spelling as the engine's parser reads it."""
        if not (self.underscores and spelling.startswith("--")):
            return spelling
        head, dot, rest = spelling.partition(".")
        return f"{head.replace('_', '-')}{dot}{rest}"

    def find(self, spelling: str) -> Flag | None:
        """The flag of this spelling, as the engine would read it; abbreviations are not considered."""
        spelling = self.read(spelling)
        found = self.by_spelling.get(spelling)
        if found is None and self.nested and "." in spelling:
            whole = self.by_spelling.get(spelling.partition(".")[0])
            return whole if whole is not None and whole.type == "json" else None
        return found

    def starting_with(self, prefix: str) -> tuple[str, ...]:
        """Spellings that argparse would consider for an abbreviation."""
        prefix = self.read(prefix)
        return tuple(sorted(spelling for spelling in self.by_spelling if spelling.startswith(prefix)))

    def nearest(self, spelling: str) -> str | None:
        """The spelling that was probably meant."""
        return next(iter(difflib.get_close_matches(self.read(spelling), self.by_spelling, n=1)), None)


def _numbers(version: str) -> tuple[int, ...]:
    """What orders versions. Post-releases and builds (0.23.0.post1, 0.32.0+cpu) have the flags of their release."""
    release = re.split(r"\.post|\+", version, maxsplit=1)[0]
    return tuple(int(each) for each in re.findall(r"\d+", release))


_RENAMED: Final = "renamed-flags.yaml"


@cache
def _renamed() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    file = resources.files("deepseek_operator.catalog") / _RENAMED
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(file.read_text("utf-8"))
    return found


def successor(flags: ReleaseFlags, spelling: str) -> str | None:
    """What to write instead of a flag that other releases have; None: nothing is known of it."""
    entry = _renamed().get(flags.engine, {}).get(flags.read(spelling))
    return None if entry is None else entry["instead"]


def elsewhere(flags: ReleaseFlags, spelling: str) -> tuple[str, ...]:
    """Other releases of the engine that have a flag, oldest first."""
    others = (each for each in known_versions(flags.engine) if each != flags.version)
    return tuple(each for each in others if release_flags(flags.engine, each).find(spelling))


@cache
def known_versions(engine: str) -> tuple[str, ...]:
    """Versions whose flags the package has, oldest first.

    Raises:
        LookupError: no release of this engine is known.
    """
    folder = resources.files("deepseek_operator.catalog") / "engines" / f"{engine}-flags"
    if not folder.is_dir():
        raise LookupError(f"the package has no list of flags of the engine {engine}")
    return tuple(sorted((each.name.removesuffix(".json") for each in folder.iterdir()), key=_numbers))


@cache
def release_flags(engine: str, version: str) -> ReleaseFlags:
    """The flags of a release; of one that the package has no list of, those of the newest release before it.

    Such a version comes with an image of the user's own, or was added to the catalogue by an administrator.

    Raises:
        LookupError: no release of this engine is known.
    """
    known = known_versions(engine)
    before = [each for each in known if _numbers(each) <= _numbers(version)]
    chosen = (before or known[:1])[-1]
    folder = resources.files("deepseek_operator.catalog") / "engines" / f"{engine}-flags"
    document = json.loads((folder / f"{chosen}.json").read_text("utf-8"))
    by_spelling: dict[str, Flag] = {}
    for name, entry in document["flags"].items():
        flag = Flag(
            name=name,
            aliases=tuple(entry.get("aliases", ())),
            values=entry["values"],
            type=entry.get("type", "str"),
            choices=tuple(entry.get("choices", ())),
            also=tuple(entry.get("also", ())),
            folds=entry.get("folds", False),
        )
        by_spelling |= dict.fromkeys([name, *flag.aliases], flag)
    return ReleaseFlags(
        engine=engine,
        version=chosen,
        exact=_numbers(chosen) == _numbers(version),
        by_spelling=by_spelling,
        underscores="underscores" in document.get("reads", ()),
        nested="nested" in document.get("reads", ()),
    )
