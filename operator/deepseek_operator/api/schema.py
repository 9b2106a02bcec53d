"""From pydantic models to the structural OpenAPI v3 schema that a CustomResourceDefinition accepts.

pydantic prints JSON schema; Kubernetes takes a narrower language: no references, one type a node, no unions,
no closed objects (pruning does that), https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
custom-resource-definitions/#specifying-a-structural-schema. What cannot be said there is an error with the
path of the field, never a silent loss. Floats and unbounded strings, lists and maps are errors too: the API
server estimates the cost of CEL rules from the bounds.

Defaults are dropped: a default in the schema is written into every stored object and could never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel

Schema: TypeAlias = dict[str, Any]

_KEPT: Final = (
    "type",
    "description",
    "enum",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_DROPPED: Final = frozenset({"title", "examples", "deprecated", "discriminator", "default", "$defs"})
_CONVERTED: Final = frozenset(
    {
        "$ref",
        "anyOf",
        "const",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
)
_BOUNDS: Final = {"string": "maxLength", "array": "maxItems"}
_FORMATS: Final = frozenset({"date-time"})


class NotStructuralError(Exception):
    """A model says something that a structural schema cannot; the message begins with the field's path."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")


def structural(model: type[BaseModel], *, path: str) -> Schema:
    """The structural schema of a model; ``path`` is where it stands in the object, for messages.

    Raises:
        NotStructuralError: a field is a union, a tuple, a float, unbounded, recursive, or uses a keyword
            that has no counterpart.
    """
    document = model.model_json_schema(by_alias=True)
    return _Converter(document.get("$defs", {})).convert(document, path, ())


def at(schema: Schema, path: str) -> Schema:
    """The node of a schema under a dotted path; ``[]`` steps into the items of a list, "" is the root.

    Raises:
        KeyError: no such node.
    """
    node = schema
    for name in path.split(".") if path else ():
        node = node["properties"][name.removesuffix("[]")]
        if name.endswith("[]"):
            node = node["items"]
    return node


class _Converter:
    """Walks one JSON schema document; ``seen`` carries the references being expanded."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def convert(self, node: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        node, seen = self._expand(node, path, seen)
        unknown = node.keys() - set(_KEPT) - _DROPPED - _CONVERTED
        if unknown:
            raise NotStructuralError(path, f"no structural counterpart for {', '.join(sorted(unknown))}")
        result: Schema = {key: node[key] for key in _KEPT if key in node}
        if "const" in node:
            result["enum"] = [node["const"]]
        _exclusive_bounds(node, result)
        match node.get("type"):
            case "object":
                result |= self._object(node, path, seen)
            case "array":
                if "items" not in node:
                    raise NotStructuralError(path, "a list needs one type for its items (no tuples)")
                result |= {
                    "x-kubernetes-list-type": "atomic",
                    "items": self.convert(node["items"], f"{path}[]", seen),
                }
            case "string" | "integer" | "boolean":
                pass
            case other:
                raise NotStructuralError(path, f"type {other!r} is not used here; name one other than float")
        _check_bounds(result, path)
        return result

    def _expand(self, node: Schema, path: str, seen: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Replaces a reference or ``X | None`` by what it stands for; what is said beside it wins."""
        while True:
            beside = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
            if "$ref" in node:
                name = node["$ref"].rpartition("/")[2]
                if name in seen:
                    raise NotStructuralError(path, f"{name} contains itself")
                node, seen = self._definitions[name] | beside, (*seen, name)
            elif "anyOf" in node:
                branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
                if len(branches) != 1:
                    raise NotStructuralError(path, "a union of types; only `X | None` is structural")
                node = branches[0] | beside
            else:
                return node, seen

    def _object(self, node: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        if "properties" in node:
            properties = {
                name: self.convert(child, f"{path}.{name}", seen) for name, child in node["properties"].items()
            }
            required = {"required": node["required"]} if node.get("required") else {}
            return required | {"properties": properties}
        if "maxProperties" not in node:
            raise NotStructuralError(path, "an object needs fields, or a bound as a map")
        match node:
            case {"patternProperties": dict(patterns)} if len(patterns) == 1:
                ((pattern, values),) = patterns.items()
                rules = [_key_rule(pattern, node.get("propertyNames", {}), path)]
            case {"additionalProperties": dict(values)} if "propertyNames" not in node:
                rules = []
            case _:
                raise NotStructuralError(path, "a map needs one type of values and one pattern of keys")
        return ({"x-kubernetes-validations": rules} if rules else {}) | {
            "additionalProperties": self.convert(values, f"{path}.*", seen)
        }


def _exclusive_bounds(node: Schema, result: Schema) -> None:
    """OpenAPI 3.0 says with a boolean what JSON schema says with a second number."""
    for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            result |= {plain: node[exclusive], exclusive: True}


def _check_bounds(node: Schema, path: str) -> None:
    bound = _BOUNDS.get(node["type"])
    if bound and bound not in node and "enum" not in node:
        raise NotStructuralError(path, f"a {node['type']} needs {bound}")
    if node.get("format", "date-time") not in _FORMATS:
        raise NotStructuralError(path, f"format {node['format']!r} is not checked by the API server")


def _key_rule(pattern: str, names: Schema, path: str) -> Schema:
    """Limits of a map's keys as CEL: a structural schema has neither key patterns nor ``propertyNames``."""
    if "maxLength" not in names or names.keys() - {"type", "minLength", "maxLength"}:
        raise NotStructuralError(path, "keys of a map are limited by a pattern and maxLength, nothing else")
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    longest = names["maxLength"]
    return {
        "rule": f"self.all(key, size(key) <= {longest} && key.matches('{quoted}'))",
        "message": f"every key must have at most {longest} characters and match {pattern}",
    }
