"""``kubectl deepseek rollout``: history, status, undo and restart, as ``kubectl rollout`` has them for others."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.cli.connection import with_client
from deepseek_operator.cli.exits import Exit, tell
from deepseek_operator.cli.options import Output
from deepseek_operator.cli.output import console, write_json, write_yaml
from deepseek_operator.cli.revisions import Stored, find_revision, history_rows, undo_patch

if TYPE_CHECKING:
    from deepseek_operator.control.client import KubeClient

POLL_SECONDS: Final = 1.0

rollout = typer.Typer(help="History, status, undo and restart of a deployment.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The DeepSeekDeployment.")]
InNamespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="Its namespace. Default: the context's.")
]


@rollout.command()
def history(
    name: Name,
    *,
    namespace: InNamespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml")] = Output.TEXT,
) -> None:
    """Print the stored revisions, the oldest first, and which groups run them."""

    async def act(client: KubeClient, where: str) -> None:
        deployment = await _deployment(client, where, name)
        rows = history_rows(await _stored(client, deployment), deployment)
        if output is Output.TEXT:
            _print_history(rows)
        else:
            (write_json if output is Output.JSON else write_yaml)(rows)

    with_client(namespace, act)


@rollout.command()
def status(
    name: Name,
    *,
    namespace: InNamespace = None,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Wait for the end.")] = True,
    timeout: Annotated[int, typer.Option("--timeout", metavar="SECONDS", help="0: wait for ever.", min=0)] = 0,
) -> None:
    """Tell how far a rollout is; exit code 0 when all groups serve the current revision, 1 when they do not."""

    async def act(client: KubeClient, where: str) -> None:
        deadline = time.monotonic() + timeout if timeout else float("inf")
        said = ""
        while True:
            deployment = await _deployment(client, where, name)
            done, failed, text = _progress(deployment)
            if text != said:
                said = text
                tell(text)
            if done:
                return
            if failed or not watch or time.monotonic() > deadline:
                raise typer.Exit(Exit.UNEXPECTED)
            await asyncio.sleep(POLL_SECONDS)

    with_client(namespace, act)


@rollout.command()
def undo(
    name: Name,
    *,
    namespace: InNamespace = None,
    to_revision: Annotated[
        int, typer.Option("--to-revision", metavar="N", help="A number of `history`. Default: the one before.", min=0)
    ] = 0,
) -> None:
    """Put the spec back to an earlier revision: everything that affects pods; replicas and the like stay."""

    async def act(client: KubeClient, where: str) -> None:
        deployment = await _deployment(client, where, name)
        wanted = find_revision(await _stored(client, deployment), deployment, number=to_revision)
        await _patch(client, deployment, undo_patch(deployment["spec"], wanted))
        tell(f"{name} goes back to revision {wanted.number} ({wanted.hash})")

    with_client(namespace, act)


@rollout.command()
def restart(name: Name, *, namespace: InNamespace = None) -> None:
    """Restart all groups as spec.rollout says, one at a time unless it says otherwise."""

    async def act(client: KubeClient, where: str) -> None:
        deployment = await _deployment(client, where, name)
        await _patch(client, deployment, {"restartedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
        tell(f"{name} restarts")

    with_client(namespace, act)


async def _deployment(client: KubeClient, namespace: str, name: str) -> dict[str, Any]:
    from deepseek_operator.control import kinds  # noqa: PLC0415
    from deepseek_operator.control.client import NotFoundError  # noqa: PLC0415

    try:
        return await client.get(kinds.DEPLOYMENT, namespace, name)
    except NotFoundError:
        raise InvalidInputError(
            Problem(
                field=f"{namespace}/{name}",
                reason="NotFound",
                message="there is no such DeepSeekDeployment; `kubectl get dsd -A` lists them",
            )
        ) from None


async def _stored(client: KubeClient, deployment: dict[str, Any]) -> list[Stored]:
    from deepseek_operator.api import names  # noqa: PLC0415
    from deepseek_operator.control import kinds  # noqa: PLC0415

    metadata = deployment["metadata"]
    selector = f"{names.REVISION_OF_LABEL}={metadata['uid']}"
    return [
        Stored(number=item["revision"], data=item["data"], created=item["metadata"]["creationTimestamp"])
        async for page in client.pages(kinds.REVISION, namespace=metadata["namespace"], selector=selector)
        for item in page["items"]
    ]


async def _patch(client: KubeClient, deployment: dict[str, Any], spec: dict[str, Any]) -> None:
    from deepseek_operator.control import kinds  # noqa: PLC0415
    from deepseek_operator.control.client import MERGE_PATCH  # noqa: PLC0415

    metadata = deployment["metadata"]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": spec}
    await client.patch(kinds.DEPLOYMENT, metadata["namespace"], metadata["name"], patch, content_type=MERGE_PATCH)


def _progress(deployment: dict[str, Any]) -> tuple[bool, bool, str]:
    """Done, failed, and a line for people."""
    found = deployment.get("status", {})
    conditions = {each["type"]: each for each in found.get("conditions", ())}
    if found.get("observedGeneration") != deployment["metadata"]["generation"]:
        return False, False, "waiting for the operator to see the change"
    ready, stalled = conditions.get("Ready", {}), conditions.get("Stalled", {})
    if stalled.get("status") == "True":
        return False, True, f"stalled: {stalled['reason']}: {stalled['message']}"
    if ready.get("status") == "True":
        return True, False, f"rolled out: {ready['message']}"
    updated, wanted = found.get("updatedReplicas", 0), found.get("replicas", 0)
    return False, False, f"{updated} of {wanted} groups are on the current revision: {ready.get('message', '')}"


def _print_history(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("REVISION", "HASH", "MODEL", "PRECISION", "ENGINE", "HARDWARE", "GROUPS", "CREATED"):
        table.add_column(title)
    for row in rows:
        groups = ", ".join(str(index) for index in row["groups"]) or "-"
        current = "*" if row["current"] else ""
        table.add_row(
            f"{row['revision']}{current}",
            row["hash"],
            row["model"],
            row["precision"],
            row["engine"],
            row["hardware"],
            groups,
            row["created"],
        )
    console().print(table)
