"""What a failed rank left behind, made fit for status: bounded, without secrets, with what it is known to mean."""

from __future__ import annotations

import re
from dataclasses import replace

from deepseek_operator.catalog.operations.load import Operations
from deepseek_operator.lifecycle.entries import GroupEntry, Incident

_SECRETS = (
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"),
    # As an option of a command line, and as engines print their arguments.
    re.compile(r"(?<=api-key[= ])[^\s'\",)]+"),
    re.compile(r"(?<=api_key=['\"])[^'\"]+"),
    re.compile(r"(?<=api_key['\"]: ['\"])[^'\"]+"),
    # User information in a URL.
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
_MASK = "***"
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
"""Linux, signal(7): those that end an engine."""
_SIGNALLED = 128
"""A shell's exit code for a signal is 128 and the signal's number."""


def masked(words: str) -> str:
    """The words without tokens and keys."""
    for secret in _SECRETS:
        words = secret.sub(_MASK, words)
    return words


def told_exit(code: int | None) -> str:
    """`` with exit code 137 (SIGKILL)``, or nothing when there is no code."""
    if code is None:
        return ""
    signal = _SIGNALS.get(code - _SIGNALLED)
    return f" with exit code {code}" + (f" ({signal})" if signal else "")


def diagnosed(incident: Incident, operations: Operations) -> Incident:
    """The incident with what its last words are known to mean."""
    found = operations.diagnose(incident.message)
    return replace(incident, diagnosis=found.name, remedy=found.remedy) if found else incident


def hopeless(entry: GroupEntry, incident: Incident, operations: Operations) -> bool:
    """The same permanent fault twice in a row, and the group never served in between."""
    permanent = {diagnosis.name for diagnosis in operations.diagnoses if diagnosis.permanent}
    before = entry.incidents[0].diagnosis if entry.incidents else ""
    return not entry.formed and entry.restarts > 0 and incident.diagnosis in permanent and before == incident.diagnosis
