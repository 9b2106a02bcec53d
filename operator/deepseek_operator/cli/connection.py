"""A command that talks to the cluster of the current context."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from deepseek_operator.cli.exits import ClusterUnreachableError, Exit, failures_as_exit_codes, tell

if TYPE_CHECKING:
    from deepseek_operator.control.client import KubeClient


def with_client(namespace: str | None, act: Callable[[KubeClient, str], Awaitable[None]]) -> None:
    """Run an action with a client and the namespace, and end with the exit code of what went wrong."""
    # Imported here: the API client would triple the start of every offline command.
    from deepseek_operator.control.client import ApiError, KubeClient, UnreachableError  # noqa: PLC0415

    async def go() -> None:
        try:
            client = await KubeClient.connect()
        except UnreachableError as error:
            raise ClusterUnreachableError(str(error)) from None
        try:
            await act(client, namespace or client.namespace)
        except UnreachableError as error:
            raise ClusterUnreachableError(str(error)) from None
        except ApiError as error:
            tell(f"error: {error}")
            raise typer.Exit(Exit.UNEXPECTED) from None
        finally:
            await client.close()

    with failures_as_exit_codes():
        asyncio.run(go())
