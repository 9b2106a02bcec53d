"""The flags of each SGLang release: data written by ``make generate`` out of SGLang's own parser.

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
from typing import Literal

Values = Literal["0", "1", "?", "*", "+"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: ``name`` is the canonical spelling."""

    name: str
    aliases: tuple[str, ...]
    values: Values
    """How many values it takes, as argparse's nargs; 0 for switches."""
    type: Literal["int", "float", "str"]
    choices: tuple[str, ...]
    """Empty: any value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFlags:
    """All flags of one release."""

    version: str
    by_spelling: Mapping[str, Flag]
    """Canonical names and aliases."""

    def find(self, spelling: str) -> Flag | None:
        """The flag of exactly this spelling."""
        return self.by_spelling.get(spelling)

    def starting_with(self, prefix: str) -> tuple[str, ...]:
        """Spellings that argparse would consider for an abbreviation."""
        return tuple(sorted(spelling for spelling in self.by_spelling if spelling.startswith(prefix)))

    def nearest(self, spelling: str) -> str | None:
        """The spelling that was probably meant."""
        return next(iter(difflib.get_close_matches(spelling, self.by_spelling, n=1)), None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version))


@cache
def release_flags(version: str) -> ReleaseFlags:
    """The flags of a release; of one that the package has no list of, those of the newest release before it.

    Such a version comes with an image of the user's own, or was added to the catalogue by an administrator.
    """
    folder = resources.files("deepseek_operator.catalog") / "engines" / "sglang-flags"
    known = sorted((each.name.removesuffix(".json") for each in folder.iterdir()), key=_numbers)
    before = [each for each in known if _numbers(each) <= _numbers(version)]
    file = folder / f"{(before or known[:1])[-1]}.json"
    by_spelling: dict[str, Flag] = {}
    for name, entry in json.loads(file.read_text("utf-8"))["flags"].items():
        flag = Flag(
            name=name,
            aliases=tuple(entry.get("aliases", ())),
            values=entry["values"],
            type=entry.get("type", "str"),
            choices=tuple(entry.get("choices", ())),
        )
        by_spelling |= dict.fromkeys([name, *flag.aliases], flag)
    return ReleaseFlags(version=file.name.removesuffix(".json"), by_spelling=by_spelling)
