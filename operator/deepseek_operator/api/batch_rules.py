"""Rules of ``spec.batch``: one volume for the prompts, paths that stay in it, one group, an engine that has batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from deepseek_operator.api.rule import Rule

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Answers, Prompts, Spec

ENGINE: Final = "deepseek-infer"
"""The only engine that answers a file of prompts and ends; the others serve an API."""


def batch_rules() -> Iterator[Rule]:
    """Every rule of a batch."""
    yield Rule(
        path="spec",
        field="batch",
        cel=f"!has(self.batch) || (has(self.engine) && has(self.engine.name) && self.engine.name == '{ENGINE}')",
        holds=lambda spec: spec.batch is None or spec.engine.name == ENGINE,
        reason="BatchNotInEngine",
        message=f"batch is for engine {ENGINE}: the other engines serve an API and do not end; set engine.name to "
        f"{ENGINE}, or remove batch and send the prompts to the API",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path="spec",
        field="replicas",
        cel="!has(self.batch) || !has(self.replicas) || self.replicas <= 1",
        holds=_one_group,
        reason="BatchInManyGroups",
        message="replicas must be 1 with batch: every group would answer the same prompts into the same file; set "
        "replicas to 1, and make a deployment for each further file",
    )
    yield Rule(
        path="spec.batch.prompts",
        field="",
        cel="has(self.configMap) != has(self.persistentVolumeClaim)",
        holds=lambda prompts: (prompts.config_map is None) != (prompts.persistent_volume_claim is None),
        reason="PromptsVolume",
        message="prompts must name exactly one volume; set either configMap or persistentVolumeClaim",
    )
    yield from (
        Rule(
            path=path,
            field="path",
            cel="!has(self.path) || !('..' in self.path.split('/'))",
            holds=_inside,
            reason="PathLeavesVolume",
            message="path must not contain '..': it would leave the volume; write the path in full",
        )
        for path in ("spec.batch.prompts", "spec.batch.answers")
    )


def _one_group(spec: Spec) -> bool:
    return spec.batch is None or spec.replicas <= 1


def _inside(file: Prompts | Answers) -> bool:
    return ".." not in file.path.split("/")
