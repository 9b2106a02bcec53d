"""Hubs over HTTP: one resumable download, and what status codes mean.

The download is huggingface_hub's ``http_get``: it follows redirects without carrying the token to another host,
resumes with Range, survives cut and silent connections, and waits as a 429 says. Xet plays no part: its chunks
have no byte offset to go on from after a kill. ``hf_hub_download`` is not
used: since huggingface_hub 1.x it gives each attempt a new temporary file, so a killed download would start anew.
"""

from __future__ import annotations

from typing import Any, Final, cast

from huggingface_hub import errors
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import disable_progress_bars, logging

from deepseek_operator.weights.errors import (
    InputError,
    WeightsError,
    is_storage_error,
    storage_error,
)
from deepseek_operator.weights.listing import RemoteFile, Sink

disable_progress_bars()
# Its warnings print signed addresses; what happens is told in our own lines.
logging.set_verbosity(logging.CRITICAL)

_PASSING: Final = frozenset({408, 409, 416, 425, 429})


def download(url: str, file: RemoteFile, sink: Sink, headers: dict[str, str]) -> None:
    """Append what the sink lacks of a file."""
    http_get(
        url,
        cast("Any", sink),
        resume_size=sink.size,
        # A compressed answer has neither the length nor the offsets that resuming needs.
        headers={**headers, "Accept-Encoding": "identity"},
        expected_size=file.size,
        displayed_filename=file.path,
    )


def judge(error: Exception, *, repository: str, revision: str, hub: str, token: str) -> WeightsError | None:
    """The final meaning of an error, or None where trying again may help.

    Args:
        error: What the client raised.
        repository: As the user named it.
        revision: As the user named it.
        hub: Name of the hub.
        token: "refused" or "missing", and where it would come from.
    """
    if is_storage_error(error):
        return storage_error(cast("OSError", error), getattr(error, "filename", None) or "the output directory")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None or status in _PASSING or status >= 500:
        return None
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return InputError(
            repository,
            f"{hub} forbids it to this token (403)",
            f"accept the model's conditions on its page, and use a token that may read it ({token})",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(
            f"--revision {revision}", f"{repository} has no such revision", "name a commit, branch or tag"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return InputError(repository, "a listed file is gone (404)", "pin --revision to a commit and run it again")
    if status in {401, 404}:
        return InputError(
            repository,
            f"{hub} has no such repository, or it is private ({status})",
            f"correct the name, or use a token that may read it ({token})",
        )
    return InputError(repository, f"{hub} refuses the request ({status})", "check the name and the endpoint")
