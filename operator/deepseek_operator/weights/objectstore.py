"""``s3://bucket/prefix``: any S3-compatible store, with the AWS_… variables of the usual clients.

obstore (Rust's object_store) signs, pages, resumes and retries; credentials come from the environment, a web
identity, or the instance. A marker in the prefix, as a copy of a fetched directory has one, gives the SHA-256 of
every file; without it, ETags of objects uploaded in one part are MD5 sums, and others can be checked by size only.
"""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore import exceptions
from obstore.store import S3Store

from deepseek_operator.weights.digest import Algorithm, Digest
from deepseek_operator.weights.errors import InputError, TransferError, WeightsError, is_storage_error, storage_error
from deepseek_operator.weights.listing import Listing, RemoteFile, Sink, pinned
from deepseek_operator.weights.patience import describe
from deepseek_operator.weights.workspace import MARKER

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_REFUSED: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
_CHUNK: Final = 4 * 2**20
_SILENCE: Final = timedelta(seconds=30)
_CREDENTIALS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the pod's identity"


class ObjectStore:
    """The objects under a prefix."""

    def __init__(self, location: str, revision: str | None) -> None:
        bucket, _, prefix = location.partition("/")
        self._uri, self._revision = f"s3://{location}", revision
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,  # type: ignore[arg-type] # a TypedDict of three hundred spellings
            client_options={
                "allow_http": endpoint.startswith("http://"),
                # A file takes minutes; what must not take long is silence.
                "timeout": timedelta(days=7),
                "read_timeout": _SILENCE,
            },
            # Patience is ours, so that waits show in the log and a stop ends them.
            retry_config={"max_retries": 1, "retry_timeout": _SILENCE},
        )

    def listing(self) -> Listing:
        """Pages through the prefix; reads the marker's hashes where it has one."""
        objects = [each for page in obstore.list(self._store) for each in page]
        if not objects:
            raise InputError(self._uri, "no object has this prefix", "name the prefix that holds config.json")
        hashes = self._hashes() if any(each["path"] == MARKER for each in objects) else {}
        files = tuple(
            RemoteFile(
                path=each["path"],
                size=each["size"],
                digest=_digest(hashes.get(each["path"]), each["e_tag"]),
                version=each["e_tag"] or str(each["last_modified"]),
            )
            for each in objects
        )
        return pinned(files, source=self._uri, revision=self._revision)

    def receive(self, file: RemoteFile, sink: Sink) -> None:
        """Append what the sink lacks."""
        if sink.size >= file.size:
            return
        result = obstore.get(self._store, file.path, options={"range": {"offset": sink.size}})
        if result.meta["size"] != file.size:
            raise TransferError(f"{self._uri}/{file.path}", "it changed while it was fetched", "run it again")
        for chunk in result.stream(min_chunk_size=_CHUNK):
            sink.write(bytes(chunk))

    def judge(self, error: Exception) -> WeightsError | None:
        """See Repository."""
        if is_storage_error(error):
            return storage_error(error, "the output directory")  # type: ignore[arg-type] # an OSError
        # Errors of listings are of no special kind; their text has the status.
        found = _STATUS.search(str(error))
        status = int(found[1]) if found else 0
        if status in {401, 403} or isinstance(error, _REFUSED):
            return InputError(self._uri, "the store refuses these credentials (401 or 403)", f"set {_CREDENTIALS}")
        if status == 404 or isinstance(error, FileNotFoundError):
            return InputError(self._uri, "no such bucket or object (404)", "correct the bucket and the prefix")
        if "redentials" in str(error):
            return InputError(self._uri, f"no credentials ({describe(error)})", f"set {_CREDENTIALS}")
        return None

    def _hashes(self) -> dict[str, str]:
        document = json.loads(bytes(obstore.get(self._store, MARKER).bytes()))
        return {path: entry["sha256"] for path, entry in document["files"].items()}


def _digest(sha256: str | None, e_tag: str | None) -> Digest | None:
    if sha256:
        return Digest(algorithm=Algorithm.SHA256, value=sha256)
    value = (e_tag or "").strip('"').lower()
    return Digest(algorithm=Algorithm.MD5, value=value) if _MD5.fullmatch(value) else None
