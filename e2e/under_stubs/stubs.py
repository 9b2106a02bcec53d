"""Runs inside a child interpreter: an engine's sources with everything that is not installed answered by stubs.

`install` puts two finders in place. Modules of the engine's packages run from its sources when their name is listed;
every other module of these packages, and every package that is not installed (torch, transformers …), becomes an
object that answers anything.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Anything:
    """Answers every attribute, call and subscript with more of the same, and is false."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name in {"__name__", "__qualname__"}:
            return "stub"
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As a bare decorator it leaves a class or function as it is."""
        bare_decorator = len(args) == 1 and not kwargs and isinstance(args[0], (type, types.FunctionType))
        return args[0] if bare_decorator else Anything()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """Lets a class of the source derive from a stubbed name."""
        return ()

    def __getitem__(self, key: object) -> Anything:
        return Anything()

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __add__(self, other: Any) -> Any:
        return other

    def __neg__(self) -> Anything:
        return self

    def __or__(self, other: object) -> Anything:
        return self

    __ror__ = __or__

    def __instancecheck__(self, instance: object) -> bool:
        """Nothing is an instance of a stubbed class."""
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return False

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Any:
        """A field whose type is stubbed takes any value."""
        from pydantic_core import core_schema  # noqa: PLC0415 - only engines with pydantic have such fields

        return core_schema.any_schema()


class StubModule(types.ModuleType):
    """A module whose every name is `Anything`; it claims to be a recent version."""

    __version__ = "2.11.0"
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class StubLoader(importlib.abc.Loader):
    """Makes stub modules."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty stub."""
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """A stub has nothing to run."""


class MissingPackages(importlib.abc.MetaPathFinder):
    """Comes last: what nothing else found is stubbed."""

    def __init__(self, absent: Sequence[str]) -> None:
        self.absent = absent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A stub for any name but the standard library's, which asks for modules of other systems."""
        del path, target
        top = fullname.partition(".")[0]
        if top in sys.stdlib_module_names or top in self.absent:
            return None
        return importlib.machinery.ModuleSpec(fullname, StubLoader(), is_package=True)


class Sources(importlib.abc.MetaPathFinder):
    """Comes first: modules of the engine that run for real from its sources, the engine's others as stubs."""

    def __init__(self, root: Path, packages: Sequence[str], executed: Callable[[str], bool]) -> None:
        self.root = root
        self.packages = packages
        self.executed = executed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The source or a stub for names of the engine; other names are not ours."""
        del path, target
        if fullname.partition(".")[0] not in self.packages:
            return None
        place = self.root.joinpath(*fullname.split("."))
        if self.executed(fullname):
            if (module := place.with_name(f"{place.name}.py")).is_file():
                return importlib.util.spec_from_file_location(fullname, module)
            if (package := place / "__init__.py").is_file():
                return importlib.util.spec_from_file_location(
                    fullname, package, submodule_search_locations=[str(place)]
                )
        return importlib.machinery.ModuleSpec(fullname, StubLoader(), is_package=True)


def install(root: Path, packages: Sequence[str], names: Sequence[str], *, absent: Sequence[str] = ()) -> None:
    """Lets ``import`` find the engine's sources under ``root``: ``names`` and all below them run, the rest is stubbed.

    ``absent``: packages that the engine can do without, and does better without than with a stub.
    """

    def executed(fullname: str) -> bool:
        return any(fullname == name or fullname.startswith(f"{name}.") for name in names)

    sys.meta_path.insert(0, Sources(root, packages, executed))
    sys.meta_path.append(MissingPackages(absent))
