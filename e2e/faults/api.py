"""The harness's own way to the API server, beside the proxy: plain dicts, as administrator."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self

import aiohttp

from deepseek_operator.control.kinds import Kind
from e2e.cluster import Cluster, ClusterError

NAMESPACE: Final = Kind(kind="Namespace", group="", version="v1", plural="namespaces", namespaced=False)
MERGE: Final = "application/merge-patch+json"
ATTEMPTS: Final = 3
TLS_CLOSE_SECONDS: Final = 0.25
"""TLS connections end a moment after their session (aiohttp, "graceful shutdown")."""


class RefusedError(ClusterError):
    """The API server refused a request of the harness."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class Api:
    """Requests as dicts; use as ``async with``."""

    def __init__(self, cluster: Cluster) -> None:
        keys = cluster.state / "pki"
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        self._session = aiohttp.ClientSession(
            f"https://127.0.0.1:{cluster.port}",
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, connect=30, sock_read=None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await asyncio.sleep(TLS_CLOSE_SECONDS)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Read an object; None where it does not exist."""
        try:
            return await self._ask("GET", kind.path(namespace, name))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None = None) -> list[dict[str, Any]]:
        """All objects of a kind, with apiVersion and kind filled in."""
        page = await self._ask("GET", kind.path(namespace))
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in page.get("items") or []]

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """POST an object."""
        return await self._ask("POST", kind.path(manifest["metadata"].get("namespace")), body=manifest)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Any, *, subresource: str = ""
    ) -> dict[str, Any]:
        """A JSON merge patch."""
        path = kind.path(namespace, name, subresource=subresource)
        return await self._ask("PATCH", path, body=patch, content_type=MERGE)

    async def replace(self, kind: Kind, manifest: Mapping[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """PUT an object or a subresource."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource=subresource)
        return await self._ask("PUT", path, body=manifest)

    async def delete(self, kind: Kind, namespace: str | None, name: str) -> None:
        """Delete an object in the background; gone already is fine."""
        try:
            await self._ask("DELETE", kind.path(namespace, name), body={"propagationPolicy": "Background"})
        except RefusedError as error:
            if error.status != 404:
                raise

    async def watch(self, kind: Kind, *, selector: str = "") -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events of a kind in all namespaces, from what exists now, for ever."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "labelSelector": selector}
        while True:
            async with self._session.get(kind.path(None), params=query) as response:
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        yield event["type"], event["object"]

    async def _ask(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._session.request(
                    method, path, data=data, headers={"Content-Type": content_type}
                ) as response:
                    text = await response.text()
                    if response.status >= 400:
                        raise RefusedError(response.status, f"{method} {path}: {text[:500]}")
                    answer: dict[str, Any] = json.loads(text)
                    return answer
            except aiohttp.ClientConnectionError as error:
                if attempt == ATTEMPTS:
                    raise ClusterError(f"{method} {path}: {error!r}") from error
                await asyncio.sleep(0.2)
        raise AssertionError("unreachable: the last attempt returns or raises")
