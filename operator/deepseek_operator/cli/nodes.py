"""Nodes for planning: out of a file that ``kubectl get nodes`` printed, or from the current context."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.cli.exits import ClusterUnreachableError
from deepseek_operator.cli.files import read_documents
from deepseek_operator.plan.storage import read_storage_classes
from deepseek_operator.plan.types import StorageClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from kubernetes.client import ApiClient

_PAGE: Final = 500
_TIMEOUT_SECONDS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What planning reads of a cluster."""

    nodes: tuple[dict[str, Any], ...]
    """Node manifests."""
    default_storage_class: bool | None
    """None: not known."""
    storage_classes: Mapping[str, StorageClass] = field(default_factory=dict)
    """By name; empty where they are not known."""


def nodes_of_file(path: str) -> ClusterView:
    """The nodes of a file: a List, several documents, or one Node, YAML or JSON.

    Raises:
        InvalidInputError: unreadable, or it holds something other than Nodes.
    """
    documents = read_documents(path)
    for document in documents:
        if document.get("kind") != "Node":
            raise InvalidInputError(
                Problem(
                    field=path,
                    reason="NotANode",
                    message=f"holds a {document.get('kind', 'thing without kind')}; "
                    "write what `kubectl get nodes -o yaml` prints",
                )
            )
    return ClusterView(nodes=tuple(documents), default_storage_class=None)


def nodes_of_cluster() -> ClusterView:
    """The nodes of the current kubeconfig context, or of the cluster this process runs in.

    Raises:
        ClusterUnreachableError: no context, no answer, or no permission to list nodes.
    """
    # Imported here: the client takes longer to load than everything else, and a file needs none of it.
    from kubernetes import client, config  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        # Not load_config(): it prints advice on stdout, where the document belongs.
        _load_context(config)
    except (config.ConfigException, OSError, TypeError) as error:
        raise ClusterUnreachableError(
            f"no cluster: {error}; set KUBECONFIG or give the nodes as a file with --nodes"
        ) from None
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    try:
        with client.ApiClient(settings) as api:
            nodes = tuple(_pages(client.CoreV1Api(api).list_node))
            classes = _storage_classes(api)
            default = None if classes is None else any(each.default for each in classes.values())
            return ClusterView(nodes=nodes, default_storage_class=default, storage_classes=classes or {})
    except ApiException as error:
        raise ClusterUnreachableError(
            f"{settings.host} refused to list nodes: {error.status} {error.reason}; "
            "the user of this context needs the verb list on nodes, or give a file with --nodes"
        ) from None
    except HTTPError as error:
        raise ClusterUnreachableError(
            f"{settings.host} does not answer: {error}; check the context, or give a file with --nodes"
        ) from None


def _load_context(config: ModuleType) -> None:
    """The context of KUBECONFIG or ~/.kube/config, else the cluster this process runs in."""
    default = Path.home() / ".kube" / "config"
    named = os.environ.get("KUBECONFIG")
    if named or default.exists():
        # Named in full: the client looks KUBECONFIG up only once, when it is first imported.
        config.load_kube_config(config_file=named or str(default))
    else:
        config.load_incluster_config()


def _pages(method: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The items of a list call as plain dictionaries, page by page."""
    position = ""
    while True:
        more = {"_continue": position} if position else {}
        answer = method(limit=_PAGE, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS, **more)
        page = json.loads(answer.data)
        yield from page["items"]
        position = page["metadata"].get("continue", "")
        if not position:
            return


def _storage_classes(api: ApiClient) -> Mapping[str, StorageClass] | None:
    """The StorageClasses by name; None where the user may not see them."""
    from kubernetes.client import StorageV1Api  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

    try:
        return read_storage_classes(_pages(StorageV1Api(api).list_storage_class))
    except ApiException:
        return None
