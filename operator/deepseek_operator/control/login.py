"""kopf's way to the API server: its own login, in a session whose answers never end the process for nothing.

kopf lists and watches for ever, but takes some answers for the end: a watch answered with 410 (it understands that only
as an event within a stream), 403 and 5xx that outlast its retries. client-go's reflector goes on after each of them,
and so does this: what was too old is told as the event, and what an API server says while it starts or has lost its
etcd is told as a lost connection. 401 stays what it is, kopf logs in again; and 404, the CRD was deleted.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import kopf
from aiohttp.base_protocol import BaseProtocol

_PASSING: Final = (HTTPStatus.FORBIDDEN, HTTPStatus.GONE)
"""403 while an API server that starts does not know the roles yet; 410 for the next page of a list."""
_STREAM_LIMIT: Final = 2**16


async def login(**told: Any) -> kopf.AiohttpSession | None:
    """The session of a kubeconfig or a service account, as ``kopf.login_via_client`` finds it."""
    found = kopf.login_via_client(**told)
    if found is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
        headers=found.as_http_headers(),
        proxy=found.proxy_url,
        trust_env=bool(found.trust_env),
        middlewares=(going_on,),
    )
    return kopf.AiohttpSession(
        server=found.server,
        default_namespace=found.default_namespace,
        expiration=found.expiration,
        aiohttp_session=session,
    )


async def going_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn an answer that kopf takes for the end into one after which it goes on."""
    answer = await handler(request)
    if answer.status == HTTPStatus.GONE and request.url.query.get("watch") == "true":
        return await _in_stream(answer)
    if answer.status in _PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        words = (await answer.text())[:500]
        raise aiohttp.ClientConnectionError(f"{answer.status} for {request.url.path}: {words}")
    return answer


async def _in_stream(answer: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """The same answer as a stream of one ERROR event, after which kopf lists again."""
    await answer.read()
    loop = asyncio.get_running_loop()
    stream = aiohttp.StreamReader(BaseProtocol(loop), _STREAM_LIMIT, loop=loop)
    stream.feed_data(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
    stream.feed_eof()
    answer.status, answer.content = HTTPStatus.OK, stream
    return answer
