"""The one error of this tool: something a person has to act on, said in one message."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster could not be started, reached or changed; the message says why and what would help."""
