"""``kubectl deepseek cache``: what weights and kernels are kept, and their removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.cli.connection import with_client
from deepseek_operator.cli.exits import Exit, tell
from deepseek_operator.cli.options import Output
from deepseek_operator.cli.output import console, write_json, write_yaml
from deepseek_operator.cli.stocktaking import Stock, emptying_job, nothing_there, take_stock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepseek_operator.control.client import KubeClient

POLL_SECONDS: Final = 1.0

cache = typer.Typer(help="Weights and kernels that are kept: list and prune.", no_args_is_help=True)
InNamespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="Default: the context's namespace.")
]


@cache.command("list")
def list_(
    *,
    namespace: InNamespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml")] = Output.TEXT,
) -> None:
    """Print what is kept where, from which source, and which deployments use it."""

    async def act(client: KubeClient, where: str) -> None:
        found = await _stock(client, None if all_namespaces else where)
        if output is Output.TEXT:
            _print(found)
        else:
            (write_json if output is Output.JSON else write_yaml)([each.document() for each in found])

    with_client(namespace, act)


@cache.command()
def prune(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Names that `cache list` prints.")] = None,
    *,
    namespace: InNamespace = None,
    unused: Annotated[bool, typer.Option("--unused", help="Everything that no deployment uses.")] = False,
    nodes: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NODE", help="Only on these nodes. Default: all that are ready."),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="The operator's image. Default: the one that filled the cache.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove what is kept, with a Job on each node where it lies on nodes; what is in use is refused."""

    async def act(client: KubeClient, where: str) -> None:
        chosen = _chosen(await _stock(client, where), names or [], unused=unused, namespace=where)
        if not chosen:
            tell("nothing to prune")
            return
        for each in chosen:
            tell(f"{each.kind} {each.name}: {each.source} {each.revision}".rstrip())
        if not yes:
            typer.confirm("Remove them?", abort=True, err=True)
        failed = [each.name for each in chosen if not await _remove(client, each, nodes=nodes, image=image)]
        if failed:
            raise typer.Exit(Exit.UNEXPECTED)

    with_client(namespace, act)


def _chosen(found: Sequence[Stock], wanted: Sequence[str], *, unused: bool, namespace: str) -> list[Stock]:
    if not wanted and not unused:
        raise InvalidInputError(
            Problem(field="NAME", reason="Missing", message="name what to prune, or give --unused for all of it")
        )
    known = {each.name: each for each in found}
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidInputError(
            Problem(
                field=unknown[0],
                reason="NotFound",
                message=f"nothing of that name is kept in {namespace}; `kubectl deepseek cache list` prints what is",
            )
        )
    chosen = [known[name] for name in dict.fromkeys(wanted)] if wanted else [each for each in found if not each.used_by]
    for each in chosen:
        if each.used_by:
            raise InvalidInputError(
                Problem(
                    field=each.name,
                    reason="InUse",
                    message=f"{', '.join(each.used_by)} would miss it; delete the deployment, or move it to other "
                    "weights",
                )
            )
    return chosen


async def _stock(client: KubeClient, namespace: str | None) -> list[Stock]:
    from deepseek_operator.control import kinds  # noqa: PLC0415 - as in connection.py

    async def everything(kind: kinds.Kind) -> list[dict[str, Any]]:
        return [item async for page in client.pages(kind, namespace=namespace) for item in page["items"]]

    return take_stock(await everything(kinds.CLAIM), await everything(kinds.JOB), await everything(kinds.DEPLOYMENT))


async def _remove(client: KubeClient, stock: Stock, *, nodes: list[str] | None, image: str | None) -> bool:
    """Whether nothing is left of it."""
    from deepseek_operator.control import kinds  # noqa: PLC0415

    if stock.kind != "perRank":
        places: list[str | None] = [None]
        if stock.kind in {"node", "kernels"}:
            places = list(nodes or await _ready_nodes(client))
        tool = image or stock.tool
        if not tool:
            raise InvalidInputError(
                Problem(field="--image", reason="Missing", message="the cache does not tell its tool; name the image")
            )
        done = await asyncio.gather(*(_emptied(client, stock, image=tool, node=node) for node in places))
        if not all(done):
            return False
        if nodes:
            # Other nodes may keep it still.
            return True
    if stock.uid:
        await client.delete(kinds.CLAIM, stock.namespace, stock.claim, uid=stock.uid)
    if stock.volume and stock.kind in {"node", "kernels"}:
        volume = await client.get(kinds.VOLUME, None, stock.volume)
        await client.delete(kinds.VOLUME, "", stock.volume, uid=volume["metadata"]["uid"])
    tell(f"{stock.name}: removed")
    return True


async def _ready_nodes(client: KubeClient) -> list[str]:
    from deepseek_operator.control import kinds  # noqa: PLC0415

    found = []
    async for page in client.pages(kinds.NODE):
        for node in page["items"]:
            conditions = {each["type"]: each["status"] for each in node.get("status", {}).get("conditions", ())}
            if conditions.get("Ready") == "True":
                found.append(node["metadata"]["name"])
            else:
                tell(f"note: node {node['metadata']['name']} is not ready; what it keeps stays there")
    return found


async def _emptied(client: KubeClient, stock: Stock, *, image: str, node: str | None) -> bool:
    """Run the Job of one place to its end."""
    from deepseek_operator.control import kinds  # noqa: PLC0415

    job = await client.create(kinds.JOB, emptying_job(stock, image=image, node=node))
    name = job["metadata"]["name"]
    place = f" on {node}" if node else ""
    while True:
        live = await client.get(kinds.JOB, stock.namespace, name)
        ended = {each["type"] for each in live.get("status", {}).get("conditions", ()) if each["status"] == "True"}
        if ended & {"Complete", "Failed"}:
            break
        await asyncio.sleep(POLL_SECONDS)
    words = "" if "Complete" in ended else await _last_words(client, stock.namespace, name)
    good = "Complete" in ended or nothing_there(words)
    tell(f"{stock.name}{place}: {'removed' if good else f'failed: {words}'}")
    await client.delete(kinds.JOB, stock.namespace, name, uid=live["metadata"]["uid"])
    return good


async def _last_words(client: KubeClient, namespace: str, job: str) -> str:
    from deepseek_operator.control import kinds  # noqa: PLC0415

    async for page in client.pages(kinds.POD, namespace=namespace, selector=f"batch.kubernetes.io/job-name={job}"):
        for pod in page["items"]:
            for status in pod.get("status", {}).get("containerStatuses", ()):
                message: str = status.get("state", {}).get("terminated", {}).get("message", "")
                if message:
                    return message.strip().splitlines()[-1]
    return "no pod of it ran"


def _print(found: Sequence[Stock]) -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("NAME", "KIND", "NAMESPACE", "SOURCE", "REVISION", "USED BY"):
        table.add_column(title, overflow="fold")
    for each in found:
        used = ", ".join(each.used_by) or "-"
        table.add_row(each.name, each.kind, each.namespace, each.source, each.revision[:12], used)
    console().print(table)
