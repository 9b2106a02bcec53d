"""Checks what a user adds to the engine's command line and environment before any pod is made.

A misspelt flag, an abbreviation that became ambiguous or a value outside its choices would otherwise end every rank
of the group at every start, after the weights were fetched.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.load import load
from deepseek_operator.engines.flags import Flag, ReleaseFlags, elsewhere, release_flags, successor
from deepseek_operator.engines.ownership import INTERFACE_REMEDY, owned_flags, owned_variables
from deepseek_operator.plan.types import Plan

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NEGATIVE_NUMBER: Final = re.compile(r"-\d+(\.\d*)?|-\.\d+")
"""argparse takes these for values, not for flags."""
_SIZE: Final = re.compile(r"\d+(\.\d+)?[kKmMgGtT]")
_MANY: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Something wrong with an argument."""

    problem: Problem
    by_release: bool
    """Follows from the release's list of flags: an image of the user's own, or a version without a list, may differ."""


def check(spec: Spec, plan: Plan) -> tuple[Problem, ...]:
    """Everything wrong with ``spec.engine``'s args, env and features for this plan.

    What only follows from the list of flags is left out where the list is not that of the image: see `doubts`.
    """
    flags = release_flags(plan.engine.name, plan.engine.version)
    certain = _certain(spec, flags)
    findings = _arguments(spec.engine.args, flags)
    return (
        *(each.problem for each in findings if certain or not each.by_release),
        *_variables(spec, plan.engine.name),
    )


def doubts(spec: Spec, plan: Plan) -> tuple[str, ...]:
    """What may be wrong with ``spec.engine.args``: warnings where the image may know other flags than the list."""
    flags = release_flags(plan.engine.name, plan.engine.version)
    if _certain(spec, flags):
        return ()
    image = (
        "the image must know it"
        if flags.exact
        else f"version {plan.engine.version} is not known, so this was judged by {flags.version}"
    )
    return tuple(
        f"ArgumentUnchecked: {each.problem.field}: {each.problem.message}; {image}"
        for each in _arguments(spec.engine.args, flags)
        if each.by_release
    )


def _certain(spec: Spec, flags: ReleaseFlags) -> bool:
    return flags.exact and spec.engine.image is None


def _arguments(words: Sequence[str], flags: ReleaseFlags) -> Iterator[_Finding]:
    owned = owned_flags(flags.engine)
    index = 0
    while index < len(words):
        field = f"spec.engine.args[{index}]"
        word = words[index]
        values = _values(words, index + 1)
        index += 1 + len(values)
        # Not shown as it is: the text may be meant to break a terminal or a log.
        broken = next((each for each in [word, *values] if _CONTROL.search(each)), None)
        if broken is not None:
            yield _certainly(field, "InvalidArgument", f"{broken!a} contains a control character or a line break")
            continue
        name, equals, attached = word.partition("=")
        flag = flags.find(name)
        if flag is None:
            yield _unknown(field, name, flags)
        elif flag.name in owned:
            yield _owned(field, flag, owned[flag.name])
        elif "." not in name:
            # A field of a JSON value is the engine's to check: the list does not have them.
            given = [attached, *values] if equals else values
            yield from _value_problems(field, flag, given, attached=bool(equals))


def _values(words: Sequence[str], start: int) -> list[str]:
    """The words after a flag that argparse would give to it."""
    end = start
    while end < len(words) and (not words[end].startswith("-") or _NEGATIVE_NUMBER.fullmatch(words[end])):
        end += 1
    return list(words[start:end])


def _unknown(field: str, name: str, flags: ReleaseFlags) -> _Finding:
    if not name.startswith("--") or name == "--":
        return _certainly(field, "InvalidArgument", f"{name!r} is not a flag; flags begin with two dashes")
    owned = owned_flags(flags.engine)
    release = f"{load().engines[flags.engine].title} {flags.version}"
    if new := successor(flags, name):
        return _by_release(field, "RemovedArgument", f"{release} no longer has {name}; {new}")
    matches = flags.starting_with(name)
    found = {flags.by_spelling[match].name for match in matches}
    if len(found) == 1:
        flag = flags.by_spelling[matches[0]]
        if flag.name in owned:
            return _owned(field, flag, owned[flag.name])
        return _by_release(field, "AmbiguousArgument", f"{name} is short for {flag.name}; write it in full")
    if found:
        shown = ", ".join(matches[:_MANY]) + (" …" if len(matches) > _MANY else "")
        return _by_release(field, "AmbiguousArgument", f"{name} could mean {shown}; write one of them in full")
    if others := elsewhere(flags, name):
        hint = f"; {', '.join(others)} {'has' if len(others) == 1 else 'have'} it"
    else:
        nearest = flags.nearest(name)
        meant = flags.find(nearest) if nearest else None
        remedy = owned.get(meant.name) if meant else None
        hint = f"; did you mean {nearest}?" if nearest else ""
        hint += f" It is the operator's: {remedy}" if remedy else ""
    return _by_release(field, "UnknownArgument", f"{release} has no flag {name}{hint}")


def _owned(field: str, flag: Flag, remedy: str) -> _Finding:
    return _certainly(field, "OwnedArgument", f"{flag.name} is the operator's: {remedy}")


def _value_problems(field: str, flag: Flag, given: Sequence[str], *, attached: bool) -> Iterator[_Finding]:
    most = {"0": 0, "1": 1, "?": 1}.get(flag.values, len(given))
    least = 1 if flag.values in {"1", "+"} else 0
    if attached and most == 0:
        yield _by_release(field, "InvalidArgument", f"{flag.name} is a switch and takes no value")
    elif len(given) > most:
        extra = "is a switch and takes no value" if most == 0 else "takes one value"
        yield _by_release(field, "InvalidArgument", f"{flag.name} {extra}, but {given[most]!r} follows it")
    elif len(given) < least:
        yield _by_release(
            field, "InvalidArgument", f"{flag.name} needs a value: the next item of the list, or {flag.name}=VALUE"
        )
    else:
        yield from (
            _by_release(field, "InvalidArgument", complaint)
            for value in given
            if (complaint := _complaint(flag, value))
        )


_KINDS: Final = {"int": "a whole number", "size": "a whole number, 32k or 1M", "float": "a number", "json": "JSON"}


def _complaint(flag: Flag, value: str) -> str | None:
    if value in flag.also:
        return None
    if flag.type != "str" and not _is_of(flag, value):
        return f"{flag.name} takes {_KINDS[flag.type]}, not {value!r}"
    written = value.lower().replace("-", "_") if flag.folds else value
    if flag.choices and written not in flag.choices:
        nearest = difflib.get_close_matches(value, flag.choices, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"it takes {', '.join(flag.choices)}"
        return f"{flag.name} does not take {value!r}; {hint}"
    return None


def _is_of(flag: Flag, value: str) -> bool:
    if flag.type == "json":
        return _is_json(value)
    return (flag.type == "size" and _SIZE.fullmatch(value) is not None) or _is_number(
        value, whole=flag.type in {"int", "size"}
    )


def _is_json(text: str) -> bool:
    # vLLM also reads numbers such as 80m inside of objects.
    if text.lstrip().startswith("{"):
        return text.rstrip().endswith("}")
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_number(text: str, *, whole: bool) -> bool:
    try:
        int(text) if whole else float(text)
    except ValueError:
        return False
    return True


def _variables(spec: Spec, engine: str) -> Iterator[Problem]:
    vendors = load().vendors.values()
    of_vendors = {name for vendor in vendors for name in (*vendor.interface_env, *vendor.address_env)}
    remedies = {**owned_variables(engine), **dict.fromkeys(of_vendors, INTERFACE_REMEDY)}
    for index, variable in enumerate(spec.engine.env):
        field = f"spec.engine.env[{index}]"
        if variable.name in remedies:
            remedy = remedies[variable.name]
            yield _problem(field, "OwnedVariable", f"{variable.name} is the operator's: {remedy}")
        elif "\0" in variable.value:
            yield _problem(field, "InvalidVariable", f"the value of {variable.name} contains a NUL character")


def _problem(field: str, reason: str, message: str) -> Problem:
    return Problem(field=field, reason=reason, message=message)


def _certainly(field: str, reason: str, message: str) -> _Finding:
    return _Finding(problem=_problem(field, reason, message), by_release=False)


def _by_release(field: str, reason: str, message: str) -> _Finding:
    return _Finding(problem=_problem(field, reason, message), by_release=True)
