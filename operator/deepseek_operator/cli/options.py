"""Options that several commands share, so that they are spelt and described once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


ResourceFiles = Annotated[
    list[str],
    typer.Option(
        "--filename", "-f", metavar="FILE", help="DeepSeekDeployments, YAML or JSON; - reads stdin. Repeatable."
    ),
]
NodesFile = Annotated[
    str | None,
    typer.Option(
        "--nodes",
        metavar="FILE",
        help="What `kubectl get nodes -o yaml` printed; `kubectl get nodes,pods,storageclasses -A -o yaml` tells of "
        "devices in use, too, and resourceslices,deviceclasses,resourceclaims of those that DRA drivers publish. "
        "Without it the current context is asked.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option("--namespace", "-n", metavar="NS", help="Namespace of objects that name none."),
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="The operator's configuration, as for `run`."),
]
CatalogFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="Products, models and engine releases beside the catalogue's own: a catalogue document, or the ConfigMap "
        "with it. Repeatable.",
    ),
]
DefaultStorageClass = Annotated[
    bool | None,
    typer.Option(
        "--default-storage-class/--no-default-storage-class",
        help="Whether the cluster has a default StorageClass. With --nodes this is not known unless said.",
    ),
]
ModelConfigFile = Annotated[
    str | None,
    typer.Option(
        "--model-config",
        metavar="FILE",
        help="A config.json of DeepSeek-V2's, V3's or V3.2's architecture: the dimensions of a model of one's own.",
    ),
]
