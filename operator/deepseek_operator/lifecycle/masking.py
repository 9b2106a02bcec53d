"""Secrets taken out of what programs print, before it is kept or shown anywhere.

The operator knows no secret itself, so it goes by form: the tokens of hubs and clouds that can be told by their looks,
and whatever follows a name that stands for a secret. Engines print their arguments, keys included, when they start.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
_KNOWN: Final = (
    # Hugging Face, OpenAI's form, GitHub, GitLab, Slack, AWS access keys, JSON web tokens.
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{10,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)?"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/]{12,}={0,2}"),
    # User information in a URL.
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"(?s)(?<=PRIVATE KEY-----).+?(?=-----END|\Z)"),
)
_NAMES: Final = r"api[_-]?key|access[_-]?key|secret|passw(?:or)?d|credential|signature|security[_-]token"
_PLAIN: Final = r"(?!(?:None|null|true|false)\b|\d+(?:\.\d+)?\b)"
"""Words and numbers that are no secret. Without it, token counts would vanish."""
# Each name is bounded: a megabyte of letters without a space must not take a minute.
_NAMED: Final = (
    # name=value, name: value, "name": "value", in arguments, environments, JSON and Python's own printing.
    re.compile(rf"(?i)([\w.-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}}['\"]?\s?[:=]\s?[bu]?['\"]?){_PLAIN}[^\s'\",;&)}}\]]+"),
    # --name value, and the same in a printed list.
    re.compile(rf"(?i)(--[\w-]{{0,40}}(?:{_NAMES}|token)[\w-]{{0,40}}['\"]?,?[ =]['\"]?){_PLAIN}[^\s'\",;)\]]+"),
    re.compile(rf"(\b[A-Z_]{{0,40}}TOKEN=['\"]?){_PLAIN}[^\s'\",;]+"),
    # A count of tokens is short or a number; a token is neither.
    re.compile(rf"(?i)((?<![#\w])[\w-]{{0,40}}token['\"]?\s?[:=]\s?['\"]?){_PLAIN}[\w.~+/=-]{{16,}}"),
)


def masked(words: str) -> str:
    """The words without tokens and keys."""
    for secret in _KNOWN:
        words = secret.sub(MASK, words)
    for named in _NAMED:
        words = named.sub(rf"\g<1>{MASK}", words)
    return words
