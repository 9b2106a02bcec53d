from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, create_model

from deepseek_operator.api.base import Model
from deepseek_operator.api.schema import NotStructuralError, at, structural

Short = Annotated[str, StringConstraints(max_length=8)]
Key = Annotated[str, StringConstraints(max_length=9, pattern=r"^a'\d$")]


class Inner(Model):
    """An inner model."""

    two_words: Short
    """A field."""


class Endless(Model):
    child: Endless | None = None


def model_of(annotation: object) -> type[BaseModel]:
    fields: dict[str, Any] = {"field": (annotation, ...)}
    return create_model("Made", **fields)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Short, {"type": "string", "maxLength": 8}),
        (Short | None, {"type": "string", "maxLength": 8}),
        (bool, {"type": "boolean"}),
        (Annotated[int, Field(ge=1, le=3)], {"type": "integer", "minimum": 1, "maximum": 3}),
        (
            Annotated[int, Field(gt=1, lt=3)],
            {
                "type": "integer",
                "minimum": 1,
                "exclusiveMinimum": True,
                "maximum": 3,
                "exclusiveMaximum": True,
            },
        ),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (
            Annotated[list[Short], Field(max_length=2)],
            {
                "type": "array",
                "maxItems": 2,
                "x-kubernetes-list-type": "atomic",
                "items": {"type": "string", "maxLength": 8},
            },
        ),
        (
            Annotated[dict[str, Short], Field(max_length=2)],
            {
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "string", "maxLength": 8},
            },
        ),
        (
            Annotated[dict[Key, Short], Field(max_length=2)],
            {
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "string", "maxLength": 8},
                "x-kubernetes-validations": [
                    {
                        "rule": r"self.all(key, size(key) <= 9 && key.matches('^a\'\\d$'))",
                        "message": r"every key must have at most 9 characters and match ^a'\d$",
                    }
                ],
            },
        ),
        (
            Inner | None,
            {
                "type": "object",
                "description": "An inner model.",
                "required": ["twoWords"],
                "properties": {"twoWords": {"type": "string", "maxLength": 8, "description": "A field."}},
            },
        ),
    ],
)
def test_a_field_becomes_its_structural_form(annotation: object, expected: dict[str, Any]) -> None:
    assert structural(model_of(annotation), path="spec")["properties"]["field"] == expected


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (int | Short, "union"),
        (Annotated[tuple[int, Short], Field()], "no structural counterpart|tuples"),
        (float, "float"),
        (str, "needs maxLength"),
        (list[Short], "needs maxItems"),
        (dict[str, Short], "bound as a map"),
        (Annotated[dict[str, Any], Field(max_length=2)], "type"),
        (Annotated[set[Short], Field(max_length=2)], "uniqueItems"),
        (Annotated[dict[Short, Short], Field(max_length=2)], "pattern of keys"),
        (Annotated[str, Field(max_length=8, json_schema_extra={"format": "uuid"})], "format"),
        (Endless, "contains itself"),
    ],
)
def test_what_is_not_structural_is_refused_with_its_path(annotation: object, reason: str) -> None:
    with pytest.raises(NotStructuralError, match=rf"^spec\.field.*({reason})"):
        structural(model_of(annotation), path="spec")


def test_a_description_beside_a_reference_wins() -> None:
    outer = model_of(Annotated[Inner, Field(description="Mine.")])
    assert structural(outer, path="")["properties"]["field"]["description"] == "Mine."


def test_defaults_are_not_stored() -> None:
    made = create_model("Made", number=(int, 3))
    assert structural(made, path="")["properties"]["number"] == {"type": "integer"}
    assert "required" not in structural(made, path="")


def test_a_path_leads_into_items_of_lists() -> None:
    schema = structural(model_of(Annotated[list[Inner], Field(max_length=2)]), path="")
    assert at(schema, "field[].twoWords") == {"type": "string", "maxLength": 8, "description": "A field."}
    assert at(schema, "") is schema
    with pytest.raises(KeyError):
        at(schema, "field[].other")
