"""The API client: plain dicts over ``kubernetes.aio``'s transport, with the errors that callers tell apart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from deepseek_operator import __version__
from deepseek_operator.api.names import FIELD_MANAGER
from deepseek_operator.control.kinds import POD, Kind

APPLY_PATCH = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

REQUEST_SECONDS = 30
PAGE_SIZE = 500
LOG_LIMIT = 2**17
"""Bytes of a log's end that are kept."""
LOG_READ_LIMIT = 2**22
"""Bytes of one log that are read at all."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        """Seconds the server asks to wait, where it does (429, 503)."""
        super().__init__(f"{status} {reason}: {message}")


class NotFoundError(ApiError):
    """404: the object, or its kind, does not exist."""


class ConflictError(ApiError):
    """It exists already, or it is not the one we saw (resourceVersion, UID, field manager).

    409, and 422 where a patch names another UID: a patch has no preconditions, only immutable fields.
    """


class UnreachableError(Exception):
    """No answer at all."""


class KubeClient:
    """Requests as dicts. One instance for the process; safe for concurrent use."""

    def __init__(self, api: kubernetes_client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> KubeClient:
        """A client from KUBECONFIG or ~/.kube/config, else from the pod's service account.

        Raises UnreachableError when there is neither.
        """
        configuration = kubernetes_client.Configuration()
        try:
            await kubernetes_config.load_kube_config(client_configuration=configuration)
        except kubernetes_config.ConfigException as error:
            try:
                kubernetes_config.load_incluster_config(client_configuration=configuration)
            except kubernetes_config.ConfigException:
                raise UnreachableError(
                    f"no cluster is configured: {error}; set KUBECONFIG, or run in a pod with a service account"
                ) from None
        api = kubernetes_client.ApiClient(configuration)
        api.user_agent = f"deepseek-operator/{__version__}"
        return cls(api)

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's current context, else ``default``."""
        try:
            _, current = kubernetes_config.list_kube_config_contexts()
        except kubernetes_config.ConfigException:
            return "default"
        found: str = current["context"].get("namespace") or "default"
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any]:
        """Read one object."""
        return await self._request("GET", kind.path(namespace, name))

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        selector: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """List a kind in pages; each is the list object with its ``items``. ``fields`` is a field selector."""
        query: dict[str, str] = {"limit": str(PAGE_SIZE)}
        if fields:
            query["fieldSelector"] = fields
        if selector or kind.selector:
            query["labelSelector"] = selector or kind.selector
        if fields:
            query["fieldSelector"] = fields
        accept = METADATA_ONLY if metadata_only else "application/json"
        while True:
            page = await self._request("GET", kind.path(namespace), query=query, accept=accept)
            # An empty metadata-only list has items: null.
            page["items"] = page.get("items") or []
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def log(self, namespace: str, pod: str, container: str, *, lines: int, previous: bool) -> str:
        """The last lines of a container's log, of its last run but one with ``previous``.

        Raises ApiError where there is no such run, and what the kubelet says when it cannot be asked. At most
        ``LOG_LIMIT`` bytes are kept, the last ones; the server's own limit would cut the end.
        """
        query = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        path = POD.path(namespace, pod, subresource="log")
        response = await self._send("GET", path, query=query, accept="*/*")
        tail, seen = bytearray(), 0
        try:
            if response.status >= 400:
                raise _error(response.status, await response.read(), None)
            async for part in response.response.content.iter_chunked(2**16):
                seen += len(part)
                tail = (tail + part)[-LOG_LIMIT:]
                if seen > LOG_READ_LIMIT:
                    break
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"GET {path}: {error!r}") from error
        finally:
            response.response.close()
        # A line that begins in the middle may begin in the middle of a key.
        whole = tail if seen <= LOG_LIMIT else tail.partition(b"\n")[2]
        return whole.decode(errors="replace")

    async def watch(
        self, kind: Kind, *, namespace: str | None, resource_version: str, seconds: int
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a kind from a list's resourceVersion on, until the server ends the stream.

        An event of type ERROR (410: the version is too old) raises ApiError; the caller lists again.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        if kind.selector:
            query["labelSelector"] = kind.selector
        path = kind.path(namespace)
        response = await self._send("GET", path, query=query, limit=seconds + REQUEST_SECONDS)
        try:
            if response.status >= 400:
                raise _error(response.status, await response.read(), None)
            async for line in response.response.content:
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
                yield event
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a line that is no JSON, or longer than the transport reads at once.
            raise UnreachableError(f"GET {path}: {error!r}") from error
        finally:
            response.response.close()

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """POST an object. Raises ConflictError when the name is taken."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = kind.path(manifest["metadata"].get("namespace"))
        return await self._request("POST", path, query=query, body=manifest)

    async def apply(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply, taking over fields that others changed. Give ``metadata.uid`` to hit only that object."""
        metadata = manifest["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        path = kind.path(metadata.get("namespace"), metadata["name"])
        return await self._request("PATCH", path, query=query, body=manifest, content_type=APPLY_PATCH)

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Any, *, content_type: str
    ) -> dict[str, Any]:
        """A JSON or merge patch."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._request(
            "PATCH", kind.path(namespace, name), query=query, body=patch, content_type=content_type
        )

    async def replace(self, kind: Kind, manifest: Mapping[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """PUT an object or a subresource; ``metadata.resourceVersion`` is the precondition."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource=subresource)
        return await self._request("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """Delete an object if it still has this UID; gone already is fine."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            await self._request("DELETE", kind.path(namespace, name), body=body)
        except NotFoundError:
            return

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        response = await self._send(method, path, query=query, body=body, content_type=content_type, accept=accept)
        try:
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {error!r}") from error
        if response.status >= 400:
            raise _error(response.status, data, response.getheader("Retry-After"))
        return json.loads(data) if data else {}

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        limit: float = REQUEST_SECONDS,
    ) -> Any:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": self._api.user_agent}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            return await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {error!r}") from error


def _error(status: int, data: bytes, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    kind = {404: NotFoundError, 409: ConflictError}.get(status, ApiError)
    causes = (answer.get("details") or {}).get("causes") or ()
    if status == 422 and any(cause.get("field") == "metadata.uid" for cause in causes):
        kind = ConflictError
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    text = answer.get("message") or data[:500].decode(errors="replace")
    return kind(status, answer.get("reason", ""), text, retry_after=wait)
