"""``modelscope://org/name``: ModelScope's HTTP API, or a mirror named by MODELSCOPE_ENDPOINT.

Two requests are all that is needed (modelscope_hub/_legacy_api.py: ``repo/files`` lists with SHA-256,
``repo?FilePath=`` serves ranges); the modelscope package would bring its own download loop, setuptools and
30 MB for them.
"""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import quote, urlencode

from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from deepseek_operator.weights import hub_http
from deepseek_operator.weights.digest import Algorithm, Digest
from deepseek_operator.weights.errors import InputError, WeightsError
from deepseek_operator.weights.listing import Listing, RemoteFile, Sink, listing_digest

_ENDPOINT: Final = "https://www.modelscope.cn"
_BRANCH: Final = "master"
_TIMEOUT_SECONDS: Final = 60.0
_TRUNCATED_AT: Final = 5000
"""A listing of more files is cut by the server (modelscope_hub, REPO_FILES_TRUNCATION_LIMIT)."""
_TOKEN: Final = "MODELSCOPE_API_TOKEN or --token-file"  # noqa: S105 - names


class ModelScope:
    """A model repository at a revision."""

    def __init__(self, repository: str, revision: str | None, token: str | None) -> None:
        self._repository, self._revision = repository, revision or _BRANCH
        self._token = token or os.environ.get("MODELSCOPE_API_TOKEN") or None
        endpoint = os.environ.get("MODELSCOPE_ENDPOINT") or _ENDPOINT
        self._base = f"{endpoint.rstrip('/')}/api/v1/models/{quote(repository)}/repo"
        self._headers = build_hf_headers(token=False)
        if self._token:
            # Newer routes read the header, older ones the cookie; the client sends both.
            self._headers |= {"Authorization": f"Bearer {self._token}", "Cookie": f"m_session_id={self._token}"}

    def listing(self) -> Listing:
        """One request: names, sizes and SHA-256 of all files."""
        response = get_session().get(
            f"{self._base}/files",
            params={"Revision": self._revision, "Recursive": "True"},
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
        )
        hf_raise_for_status(response)
        document = response.json()
        entries: list[dict[str, Any]] = (document.get("Data") or {}).get("Files") or []
        if not document.get("Success", True) or not entries:
            raise InputError(
                f"--revision {self._revision}",
                f"modelscope://{self._repository} lists no files there ({document.get('Message') or 'empty answer'})",
                "name a branch, tag or commit of the repository",
            )
        if len(entries) >= _TRUNCATED_AT:
            raise InputError(
                f"modelscope://{self._repository}", "it has more files than the hub lists", "use another source"
            )
        files = tuple(
            RemoteFile(path=entry["Path"], size=int(entry["Size"]), digest=_digest(entry, self._repository))
            for entry in entries
            if entry.get("Type") != "tree"
        )
        return Listing(commit=listing_digest(files), files=files)

    def receive(self, file: RemoteFile, sink: Sink) -> None:
        """Append what the sink lacks. A branch that moves meanwhile shows as a wrong hash."""
        query = urlencode({"Revision": self._revision, "FilePath": file.path})
        hub_http.download(f"{self._base}?{query}", file, sink, self._headers)

    def judge(self, error: Exception) -> WeightsError | None:
        """See Repository."""
        token = f"the one given was refused; {_TOKEN}" if self._token else f"none was given; {_TOKEN}"
        return hub_http.judge(
            error,
            repository=f"modelscope://{self._repository}",
            revision=self._revision,
            hub="ModelScope",
            token=token,
        )


def _digest(entry: dict[str, Any], repository: str) -> Digest:
    value = entry.get("Sha256")
    if not value:
        raise InputError(
            f"modelscope://{repository}", f"no SHA-256 for {entry.get('Path')}", "use an endpoint that lists hashes"
        )
    return Digest(algorithm=Algorithm.SHA256, value=str(value).lower())
