"""``hf://org/name``: the Hugging Face hub, or a mirror named by HF_ENDPOINT."""

from __future__ import annotations

from typing import Final

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import build_hf_headers

from deepseek_operator.weights import hub_http
from deepseek_operator.weights.digest import Algorithm, Digest
from deepseek_operator.weights.errors import InputError, WeightsError
from deepseek_operator.weights.listing import Listing, RemoteFile, Sink

_BRANCH: Final = "main"
_TOKEN: Final = "HF_TOKEN or --token-file; spec.weights.tokenSecret in a DeepSeekDeployment"  # noqa: S105 - names


class HuggingFace:
    """A model repository at a revision."""

    def __init__(self, repository: str, revision: str | None, token: str | None) -> None:
        self._repository, self._revision = repository, revision or _BRANCH
        self._token = token or get_token()
        # False, not None: the library would look for a token of its own and send it.
        self._headers = build_hf_headers(token=self._token or False)
        self._commit = ""

    def listing(self) -> Listing:
        """One request: names, sizes, SHA-256 of LFS files and git's SHA-1 of the others."""
        info = HfApi(token=self._token or False).model_info(
            self._repository, revision=self._revision, files_metadata=True
        )
        self._commit = info.sha or self._revision
        files = []
        for sibling in info.siblings or ():
            if sibling.lfs is not None:
                digest = Digest(algorithm=Algorithm.SHA256, value=sibling.lfs.sha256)
            elif sibling.blob_id:
                digest = Digest(algorithm=Algorithm.GIT_SHA1, value=sibling.blob_id)
            else:
                raise InputError(
                    f"hf://{self._repository}", f"no hash for {sibling.rfilename}", "use an endpoint that lists hashes"
                )
            files.append(RemoteFile(path=sibling.rfilename, size=int(sibling.size or 0), digest=digest))
        return Listing(commit=self._commit, files=tuple(files))

    def receive(self, file: RemoteFile, sink: Sink) -> None:
        """Append what the sink lacks, at the listing's commit."""
        url = hf_hub_url(self._repository, file.path, revision=self._commit)
        hub_http.download(url, file, sink, self._headers)

    def judge(self, error: Exception) -> WeightsError | None:
        """See Repository."""
        if isinstance(error, HFValidationError):
            return InputError(f"hf://{self._repository}", "not a name of a repository", "use hf://org/name")
        token = f"the one given was refused; {_TOKEN}" if self._token else f"none was given; {_TOKEN}"
        return hub_http.judge(
            error, repository=f"hf://{self._repository}", revision=self._revision, hub="the hub", token=token
        )
