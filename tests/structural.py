"""What the API server's structural validation accepts, in Python: enough of it for the schemas made here."""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]

TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def errors(schema: Schema, value: object, path: str = "") -> list[str]:
    """Every place where a value breaks the schema; CEL rules are the real API server's (tests/api)."""
    kind = TYPES[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return [f"{path}: not of type {schema['type']}"]
    found = [f"{path}: breaks {name} {schema[name]}" for name in _broken(schema, value)]
    match value:
        case dict():
            found += [f"{path}.{name}: missing" for name in schema.get("required", ()) if name not in value]
            for name, child in value.items():
                child_schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
                if child_schema is None:
                    found.append(f"{path}.{name}: unknown")
                else:
                    found += errors(child_schema, child, f"{path}.{name}")
        case list():
            for index, item in enumerate(value):
                found += errors(schema["items"], item, f"{path}[{index}]")
            keys = [repr(_identity(schema, item)) for item in value]
            if "None" not in keys and len(set(keys)) < len(keys):
                found.append(f"{path}: duplicate")
    return found


def _broken(schema: Schema, value: object) -> list[str]:
    checks: dict[str, bool] = {}
    match value:
        case str():
            checks = {
                "minLength": len(value) >= schema.get("minLength", 0),
                "maxLength": len(value) <= schema.get("maxLength", len(value)),
                "pattern": _matches(schema.get("pattern", ""), value),
            }
        case int():
            checks = {
                "minimum": value >= schema.get("minimum", value),
                "maximum": value <= schema.get("maximum", value),
            }
        case list():
            checks = {"maxItems": len(value) <= schema.get("maxItems", len(value))}
        case dict():
            checks = {"maxProperties": len(value) <= schema.get("maxProperties", len(value))}
    return [*(name for name, good in checks.items() if not good), *_not_listed(schema, value)]


def _not_listed(schema: Schema, value: object) -> list[str]:
    return [] if "enum" not in schema or value in schema["enum"] else ["enum"]


def _matches(pattern: str, text: str) -> bool:
    # The API server uses RE2: $ is the very end of the text, classes such as \s are ASCII.
    exact = re.sub(r"\$$", r"\\Z", pattern)
    return re.search(exact, text, re.ASCII) is not None


def _identity(schema: Schema, item: object) -> object:
    match schema.get("x-kubernetes-list-type"), item:
        case "map", dict():
            return tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"])
        case "set", str():
            return item
    return None
