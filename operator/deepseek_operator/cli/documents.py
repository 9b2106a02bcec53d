"""DeepSeekDeployments and the operator's configuration out of files, refused with the field and a remedy."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import ValidationError

from deepseek_operator.api.base import Model
from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.names import API_VERSION, GROUP, KIND
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.api.validation import problems as rule_problems
from deepseek_operator.cli.exits import tell
from deepseek_operator.cli.files import read_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails

AnyModel = TypeVar("AnyModel", bound=Model)

_TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A DeepSeekDeployment as its file tells it."""

    name: str
    namespace: str
    uid: str | None
    """None where the object was not read from a cluster."""
    spec: Spec
    config_json: str | None = None
    """What stands in the ConfigMap of spec.modelConfig, where a file has it."""


def read_deployments(paths: Sequence[str], *, namespace: str) -> list[Deployment]:
    """The DeepSeekDeployments of files, in their order; ``namespace`` is for those that name none.

    A ConfigMap that ``spec.modelConfig`` names may stand beside them. Objects of other APIs (a claim, a Secret) are
    left alone, with a note on stderr.

    Raises:
        InvalidInputError: a file has none, one of them is wrong, or two are the same object; every problem is listed.
    """
    ours: list[dict[str, Any]] = []
    others: list[tuple[str, dict[str, Any]]] = []
    for path in paths:
        documents = read_documents(path)
        found = [document for document in documents if _is_meant_for_us(document)]
        if not found:
            raise InvalidInputError(_nothing_for_us(path, documents))
        others += [(path, document) for document in documents if document not in found]
        ours += found
    deployments: list[Deployment] = []
    problems: list[Problem] = []
    for document in ours:
        try:
            deployments.append(parse_deployment(document, namespace=namespace))
        except InvalidInputError as error:
            problems.extend(_located(error.problems, document) if len(ours) > 1 else error.problems)
    problems += _repeated(deployments)
    if problems:
        raise InvalidInputError(*problems)
    maps = {_identity(document, namespace): document for _, document in others if document.get("kind") == "ConfigMap"}
    wanted = {(each.namespace, each.spec.config_json.name) for each in deployments if each.spec.config_json}
    for path, document in others:
        if document.get("kind") != "ConfigMap" or _identity(document, namespace) not in wanted:
            tell(f"note: {path}: a {document.get('kind')} is no {KIND}; left alone")
    return [_with_config(each, maps) for each in deployments]


def parse_deployment(document: Mapping[str, Any], *, namespace: str) -> Deployment:
    """One DeepSeekDeployment, checked as the API server would check it.

    Raises:
        InvalidInputError: naming each wrong field, why, and the nearest thing that is known.
    """
    problems = list(_frame_problems(document))
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        problems.append(
            Problem(
                field="metadata.name",
                reason="Missing",
                message="is missing; every child's name is made from it",
            )
        )
    if "spec" not in document:
        problems.append(Problem(field="spec", reason="Missing", message="is missing; spec.model is needed at least"))
    if problems:
        raise InvalidInputError(*problems)
    spec = parse_model(Spec, document["spec"], place="spec")
    broken = rule_problems(name=str(name), spec=spec)
    if broken:
        raise InvalidInputError(*broken)
    return Deployment(
        name=str(name),
        namespace=str(metadata.get("namespace") or namespace),
        uid=metadata.get("uid"),
        spec=spec,
    )


def read_config(path: str | None) -> OperatorConfig:
    """The operator's configuration file; the defaults where there is none.

    Raises:
        InvalidInputError: unreadable, or a key or value is wrong.
    """
    if path is None:
        return OperatorConfig()
    documents = read_documents(path)
    if len(documents) > 1:
        raise InvalidInputError(
            Problem(field=path, reason="SeveralDocuments", message="holds several documents; one is read")
        )
    return parse_model(OperatorConfig, documents[0] if documents else {}, place="")


def parse_model(model: type[AnyModel], data: Any, *, place: str) -> AnyModel:
    """A model out of JSON data with the keys of the wire; ``place`` is where it stands, for messages.

    Raises:
        InvalidInputError: with one problem for each wrong field.
    """
    try:
        # strict: the API server does not turn "1" into 1 either.
        return model.model_validate(data, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidInputError(
            *(_problem(model, detail, place=place) for detail in error.errors(include_url=False))
        ) from None


def _identity(document: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    metadata = document.get("metadata") or {}
    return str(metadata.get("namespace") or namespace), str(metadata.get("name"))


def _with_config(deployment: Deployment, maps: Mapping[tuple[str, str], Mapping[str, Any]]) -> Deployment:
    """The deployment with the config.json that its ConfigMap holds, where a file has that."""
    named = deployment.spec.config_json
    found = maps.get((deployment.namespace, named.name)) if named else None
    if named is None or found is None:
        return deployment
    return replace(deployment, config_json=(found.get("data") or {}).get(named.key))


def _repeated(deployments: Iterable[Deployment]) -> Iterable[Problem]:
    """Objects that stand there twice: only one of them would be left in a cluster."""
    counts = Counter((each.namespace, each.name) for each in deployments)
    for (namespace, name), count in counts.items():
        if count > 1:
            message = f"{name} stands there {count} times in the namespace {namespace}; give each a name of its own"
            yield Problem(field="metadata.name", reason="Repeated", message=message)


def _located(problems: Iterable[Problem], document: Mapping[str, Any]) -> Iterable[Problem]:
    """The problems of one of several objects of a file, with its name in front of the field."""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return (replace(problem, field=f"{name or 'unnamed'}: {problem.field}") for problem in problems)


def _is_meant_for_us(document: Mapping[str, Any]) -> bool:
    """True also for a misspelt kind or group: those must be named, not passed over."""
    kind, group = str(document.get("kind", "")), str(document.get("apiVersion", "")).partition("/")[0]
    return group == GROUP or bool(difflib.get_close_matches(kind.lower(), [KIND.lower()], cutoff=0.9))


def _nothing_for_us(path: str, documents: Sequence[Mapping[str, Any]]) -> Problem:
    kinds = ", ".join(sorted({str(document.get("kind", "an object without kind")) for document in documents}))
    found = f"has only: {kinds}" if kinds else "is empty"
    return Problem(
        field="kind" if documents else path,
        reason="NoDeployment",
        message=f"{path} {found}; it needs an object with apiVersion: {API_VERSION} and kind: {KIND}",
    )


def _frame_problems(document: Mapping[str, Any]) -> Iterable[Problem]:
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != wanted:
            yield Problem(
                field=field,
                reason="WrongType",
                message=f"is {document.get(field)!r}; this operator serves {wanted!r}",
            )
    for field in document:
        if field not in _TOP_LEVEL:
            yield _unknown(str(field), known=_TOP_LEVEL, place="")


def _problem(model: type[Model], detail: ErrorDetails, *, place: str) -> Problem:
    steps = tuple(step for step in detail["loc"] if step != "[key]")
    field = _dotted(place, steps)
    given = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(str(steps[-1]), known=_known_fields(model, steps[:-1]), place=_dotted(place, steps[:-1]))
        case "missing":
            return Problem(field=field, reason="Missing", message="is missing and has no default")
        case "literal_error":
            message = f"{given!r} is not known; use {detail['ctx']['expected']}"
            return Problem(field=field, reason="NotSupported", message=message)
        case _:
            wanted = detail["msg"][0].lower() + detail["msg"][1:]
            shown = repr(given)
            shown = shown if len(shown) <= 80 else shown[:77] + "…"
            return Problem(field=field, reason="Invalid", message=f"{shown}: {wanted}")


def _dotted(place: str, steps: Sequence[str | int]) -> str:
    text = place
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _unknown(name: str, *, known: Sequence[str], place: str) -> Problem:
    lowered = {field.lower(): field for field in known}
    near = difflib.get_close_matches(name.replace("_", "").lower(), lowered, n=1)
    advice = f"did you mean {lowered[near[0]]}?" if near else f"known here: {', '.join(known)}"
    return Problem(
        field=f"{place}.{name}" if place else name,
        reason="UnknownField",
        message=f"is no field of this API; {advice}",
    )


def _known_fields(model: type[Model], steps: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the model that stands under ``steps``."""
    for step in steps:
        if isinstance(step, int):
            continue
        field = next(field for name, field in model.model_fields.items() if step in {field.alias, name})
        model = next(part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, Model))
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _parts(annotation: Any) -> Iterable[Any]:
    """An annotation and everything inside it: list[X], X | None, Annotated[X, …]."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
