"""The base of every pydantic model of the custom resource and of configuration files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A closed, frozen model whose keys are camelCase on the wire.

    Attribute docstrings become field descriptions, so that ``kubectl explain``
    and the documentation have one source.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )
