"""Checks what a user adds to the engine's command line and environment before any pod is made.

A misspelt flag, an abbreviation that became ambiguous or a value outside its choices would otherwise end every rank
of the group at every start, after the weights were fetched.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.engines.ownership import FLAGS, INTERFACE_REMEDY, VARIABLES
from deepseek_operator.engines.sglang_flags import Flag, ReleaseFlags, release_flags
from deepseek_operator.plan.types import Plan

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NEGATIVE_NUMBER: Final = re.compile(r"-\d+(\.\d*)?|-\.\d+")
"""argparse takes these for values, not for flags."""
_MANY: Final = 6


def check(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
    """Everything wrong with ``spec.engine``'s args, env and features for this plan."""
    flags = release_flags(plan.engine.version)
    # A user's own image may know more choices than the release it is made from, but no fewer flags.
    choices = spec.engine.image is None
    return (
        *_arguments(spec.engine.args, flags, choices=choices),
        *_variables(spec),
    )


def _arguments(words: Sequence[str], flags: ReleaseFlags, *, choices: bool) -> Iterator[Problem]:
    index = 0
    while index < len(words):
        field = f"spec.engine.args[{index}]"
        word = words[index]
        values = _values(words, index + 1)
        index += 1 + len(values)
        # Not shown as it is: the text may be meant to break a terminal or a log.
        broken = next((each for each in [word, *values] if _CONTROL.search(each)), None)
        if broken is not None:
            yield _problem(field, "InvalidArgument", f"{broken!a} contains a control character or a line break")
            continue
        name, equals, attached = word.partition("=")
        flag = flags.find(name)
        if flag is None:
            yield _unknown(field, name, flags)
        elif flag.name in FLAGS:
            yield _owned(field, flag)
        else:
            given = [attached, *values] if equals else values
            yield from _value_problems(field, flag, given, attached=bool(equals), choices=choices)


def _values(words: Sequence[str], start: int) -> list[str]:
    """The words after a flag that argparse would give to it."""
    end = start
    while end < len(words) and (not words[end].startswith("-") or _NEGATIVE_NUMBER.fullmatch(words[end])):
        end += 1
    return list(words[start:end])


def _unknown(field: str, name: str, flags: ReleaseFlags) -> Problem:
    if not name.startswith("--") or name == "--":
        return _problem(field, "InvalidArgument", f"{name!r} is not a flag; flags begin with two dashes")
    matches = flags.starting_with(name)
    found = {flags.by_spelling[match].name for match in matches}
    if len(found) == 1:
        flag = flags.by_spelling[matches[0]]
        if flag.name in FLAGS:
            return _owned(field, flag)
        return _problem(field, "AmbiguousArgument", f"{name} is short for {flag.name}; write it in full")
    if found:
        shown = ", ".join(matches[:_MANY]) + (" …" if len(matches) > _MANY else "")
        return _problem(field, "AmbiguousArgument", f"{name} could mean {shown}; write one of them in full")
    nearest = flags.nearest(name)
    hint = f"; did you mean {nearest}?" if nearest else ""
    return _problem(field, "UnknownArgument", f"SGLang {flags.version} has no flag {name}{hint}")


def _owned(field: str, flag: Flag) -> Problem:
    return _problem(field, "OwnedArgument", f"{flag.name} is the operator's: {FLAGS[flag.name]}")


def _value_problems(
    field: str, flag: Flag, given: Sequence[str], *, attached: bool, choices: bool
) -> Iterator[Problem]:
    most = {"0": 0, "1": 1, "?": 1}.get(flag.values, len(given))
    least = 1 if flag.values in {"1", "+"} else 0
    if attached and most == 0:
        yield _problem(field, "InvalidArgument", f"{flag.name} is a switch and takes no value")
    elif len(given) > most:
        extra = "is a switch and takes no value" if most == 0 else "takes one value"
        yield _problem(field, "InvalidArgument", f"{flag.name} {extra}, but {given[most]!r} follows it")
    elif len(given) < least:
        yield _problem(
            field, "InvalidArgument", f"{flag.name} needs a value: the next item of the list, or {flag.name}=VALUE"
        )
    else:
        yield from (
            _problem(field, "InvalidArgument", complaint)
            for value in given
            if (complaint := _complaint(flag, value, choices=choices))
        )


def _complaint(flag: Flag, value: str, *, choices: bool) -> str | None:
    if flag.type != "str" and not _is_number(value, whole=flag.type == "int"):
        kind = "a whole number" if flag.type == "int" else "a number"
        return f"{flag.name} takes {kind}, not {value!r}"
    if choices and flag.choices and value not in flag.choices:
        nearest = difflib.get_close_matches(value, flag.choices, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"it takes {', '.join(flag.choices)}"
        return f"{flag.name} does not take {value!r}; {hint}"
    return None


def _is_number(text: str, *, whole: bool) -> bool:
    try:
        int(text) if whole else float(text)
    except ValueError:
        return False
    return True


def _variables(spec: Spec) -> Iterator[Problem]:
    vendors = load().vendors.values()
    of_vendors = {name for vendor in vendors for name in (*vendor.interface_env, *vendor.address_env)}
    remedies = {**VARIABLES, **dict.fromkeys(of_vendors, INTERFACE_REMEDY)}
    for index, variable in enumerate(spec.engine.env):
        field = f"spec.engine.env[{index}]"
        if variable.name in remedies:
            remedy = remedies[variable.name]
            yield _problem(field, "OwnedVariable", f"{variable.name} is the operator's: {remedy}")
        elif "\0" in variable.value:
            yield _problem(field, "InvalidVariable", f"the value of {variable.name} contains a NUL character")


def _problem(field: str, reason: str, message: str) -> Problem:
    return Problem(field=field, reason=reason, message=message)
