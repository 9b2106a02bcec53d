"""``deepseek-operator fit``: the memory of one device of a group, for a split that one names oneself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.api.resource import Engine, Hardware
from deepseek_operator.catalog.types import Catalog, Dimensions
from deepseek_operator.cli.catalogs import read_catalog
from deepseek_operator.cli.exits import Exit, failures_as_exit_codes, tell_problems
from deepseek_operator.cli.files import read_documents
from deepseek_operator.cli.options import CatalogFiles, Output
from deepseek_operator.cli.output import console, picture_width, write_json, write_yaml
from deepseek_operator.cli.picture import draw_memory
from deepseek_operator.plan.choices import find_products
from deepseek_operator.plan.explain import fit_document, problem_document
from deepseek_operator.plan.fitting import Target, fit_for
from deepseek_operator.plan.memory import Demand
from deepseek_operator.plan.own_model import dimensions_of
from deepseek_operator.plan.types import Parallelism

_USUAL_DEVICES: Final = 8
"""Devices of a node where no product says it."""
_OPTIONS: Final = {
    "spec.model": "--model",
    "spec.precision": "--precision",
    "spec.hardware.product": "--product",
    "spec.parallelism.tensor": "--tensor",
    "spec.parallelism.pipeline": "--pipeline",
    "spec.parallelism.attentionData": "--attention-data",
    "spec.parallelism.expert": "--expert",
    "spec.parallelism": "--tensor",
    "spec.engine.features.mtp": "--mtp",
    "spec.engine.name": "--engine",
    "spec.engine.version": "--engine-version",
    "spec.context.maxLength": "--context-length",
    "spec.context.kvCachePrecision": "--kv-cache",
    "memFraction": "--mem-fraction",
    "product": "--product",
    "precision": "--precision",
}
"""What the fields of the resource are called here, the longer ones first."""

Size = Annotated[int, typer.Option(min=1, metavar="N")]
OptionalSize = Annotated[int | None, typer.Option(min=1, metavar="N")]


def fit(  # noqa: PLR0913 - each option of the command is an argument
    *,
    model: Annotated[str, typer.Option(help="Catalogue id, repository, or the path of a config.json.")],
    precision: Annotated[
        Literal["fp8", "bf16", "int8", "w4a8", "w4afp8", "awq", "gptq", "nvfp4", "mxfp4"],
        typer.Option(help="Precision of the weights."),
    ],
    product: Annotated[str | None, typer.Option(metavar="NAME", help="Accelerator product.")] = None,
    free_gib: Annotated[
        float | None,
        typer.Option("--free-gib", min=0.1, metavar="X", help="GiB free on a device before weights load."),
    ] = None,
    tensor: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Default: the devices of a node of the product, else 8.")
    ] = None,
    pipeline: Size = 1,
    attention_data: Size = 1,
    expert: Size = 1,
    redundant_experts: Annotated[int, typer.Option(min=0, metavar="N")] = 0,
    moe_dense_tensor: OptionalSize = None,
    mtp: Annotated[bool, typer.Option("--mtp", help="Speculative decoding with the model's own layer.")] = False,
    kv_cache: Annotated[Literal["auto", "bf16", "fp8"], typer.Option(help="Precision of the KV cache.")] = "auto",
    mem_fraction: Annotated[float | None, typer.Option(min=0.01, max=0.99, metavar="F")] = None,
    context_length: OptionalSize = None,
    max_running: OptionalSize = None,
    engine: Annotated[
        Literal["sglang", "vllm", "lmdeploy", "tensorrt-llm", "deepseek-infer"],
        typer.Option(help="Inference engine; sglang and vllm have a memory model."),
    ] = "sglang",
    engine_version: Annotated[str | None, typer.Option(metavar="V", help="Default: the catalogue's.")] = None,
    output: Annotated[Output, typer.Option("--output", "-o")] = Output.TEXT,
    catalog: CatalogFiles = None,
) -> None:
    """Show the memory of the fullest device of a group, and whether the model fits."""
    demand = Demand(
        context_length=context_length,
        max_running=max_running,
        kv_precision=kv_cache,
        mtp=mtp,
        mem_fraction=mem_fraction,
        redundant_experts=redundant_experts,
        moe_dense_tensor=moe_dense_tensor,
    )
    with failures_as_exit_codes():
        known = read_catalog(catalog).catalog
        try:
            answer = fit_for(
                model=_model(model),
                precision=precision,
                target=Target(
                    product=product,
                    free_gib=free_gib,
                    engine=Engine(name="sglang", version=engine_version),
                    memory_of=engine,
                ),
                split=Parallelism(
                    tensor=tensor or _usual_tensor(product, known),
                    pipeline=pipeline,
                    attention_data=attention_data,
                    expert=expert,
                ),
                demand=demand,
                catalog=known,
            )
        except InvalidInputError as error:
            problems = [_in_options(each) for each in error.problems]
            _write(
                {
                    "fits": False,
                    "engine": engine,
                    "kvTokens": None,
                    "problems": [problem_document(each) for each in problems],
                },
                output,
            )
            raise InvalidInputError(*problems) from None
        answer = replace(answer, problems=tuple(map(_in_options, answer.problems)))
        _write(fit_document(answer, engine=engine), output)
        if output is Output.TEXT:
            screen = console()
            screen.print(draw_memory(answer, width=picture_width(screen)))
        tell_problems(answer.problems)
        raise typer.Exit(Exit.GOOD if answer.fits else Exit.NOTHING_FITS)


def _in_options(problem: Problem) -> Problem:
    """A problem in the words of this command: it has options, and no resource."""
    message = problem.message
    for field, option in _OPTIONS.items():
        if field.startswith("spec."):
            message = message.replace(field, option)
    return replace(problem, field=_OPTIONS.get(problem.field, problem.field), message=message)


def _model(name: str) -> str | Dimensions:
    """A name for the catalogue, or the dimensions in a config.json."""
    if not (name.endswith(".json") or Path(name).is_file()):
        return name
    documents = read_documents(name)
    return dimensions_of(documents[0] if documents else {})


def _usual_tensor(product: str | None, catalog: Catalog) -> int:
    """The devices of one node of a product."""
    found = find_products(Hardware(product=product), catalog) if product else ()
    return _USUAL_DEVICES if isinstance(found, Problem) or not found else found[0].devices_per_node


def _write(document: dict[str, Any], output: Output) -> None:
    match output:
        case Output.JSON:
            write_json(document)
        case Output.YAML:
            write_yaml(document)
        case Output.TEXT:
            pass
