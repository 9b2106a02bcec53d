"""Reads the files of this folder, once. A wrong file is a CatalogError with its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from deepseek_operator.catalog.load import CatalogError


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What last words mean."""

    name: str
    pattern: re.Pattern[str]
    remedy: str
    permanent: bool
    """The same start must fail in the same way."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Everything in this folder."""

    diagnoses: tuple[Diagnosis, ...]
    drain_taints: frozenset[str]

    def diagnose(self, words: str) -> Diagnosis | None:
        """The first diagnosis whose pattern the words contain."""
        return self.find(words)[0]

    def find(self, words: str) -> tuple[Diagnosis | None, re.Match[str] | None]:
        """The same, and where the pattern is; the last place of it, since the end tells most."""
        for each in self.diagnoses:
            if each.pattern.search(words):
                *_, last = each.pattern.finditer(words)
                return each, last
        return None, None


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return pattern


class Entry(BaseModel):
    """One item of a file of this folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _DiagnosisEntry(Entry):
    name: str
    pattern: Annotated[str, AfterValidator(_compiles)]
    remedy: str
    permanent: bool = False
    source: str


class _DrainEntry(Entry):
    taint: str
    source: str


@cache
def load_operations() -> Operations:
    """What comes with the package. Raises CatalogError when a file of it is wrong."""
    return Operations(
        diagnoses=tuple(
            Diagnosis(
                name=entry.name,
                pattern=re.compile(entry.pattern, re.IGNORECASE),
                remedy=entry.remedy,
                permanent=entry.permanent,
                source=entry.source,
            )
            for entry in read_entries("diagnoses.yaml", TypeAdapter(list[_DiagnosisEntry]))
        ),
        drain_taints=frozenset(entry.taint for entry in read_entries("drains.yaml", TypeAdapter(list[_DrainEntry]))),
    )


def read_entries(file: str, adapter: TypeAdapter[Any]) -> Any:
    """The items of a file of this folder. Raises CatalogError."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    try:
        return adapter.validate_python(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise CatalogError(file, ".".join(map(str, first["loc"])), first["msg"]) from error
