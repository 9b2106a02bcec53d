"""What planning reads of a cluster: out of a file that ``kubectl get`` printed, or from the current context.

Nodes are needed; everything else makes the plan closer to the operator's own: pods and ResourceClaims tell which
devices are taken, ResourceSlices and DeviceClasses which devices a DRA driver publishes, StorageClasses whether a
claim for each rank gets a volume. What a user may not list is left out, and said.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api import names
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.cli.exits import ClusterUnreachableError
from deepseek_operator.cli.files import read_documents
from deepseek_operator.plan.inventory import read_node
from deepseek_operator.plan.occupancy import allocated, holders, requested
from deepseek_operator.plan.slices import devices_of, read_slices
from deepseek_operator.plan.storage import read_storage_classes
from deepseek_operator.plan.types import Node, NodeDevices, StorageClass

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from kubernetes.client import ApiClient

    from deepseek_operator.catalog.types import Catalog

Manifest = Mapping[str, Any]

KINDS: Final = ("Node", "Pod", "ResourceClaim", "ResourceSlice", "DeviceClass", "StorageClass")
"""What a file of ``--nodes`` may hold."""
PRINTED: Final = "kubectl get nodes,pods,storageclasses -A -o yaml"
_PAGE: Final = 500
_TIMEOUT_SECONDS: Final = 15
_BOUND: Final = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
_NOT_FOUND: Final = 404
Owner = tuple[str, str]
"""Namespace and name of a DeepSeekDeployment; empty for everybody else."""
_FOREIGN: Final[Owner] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What planning reads of a cluster."""

    nodes: tuple[Node, ...]
    published: Mapping[str, tuple[NodeDevices, ...]]
    """Devices in ResourceSlices, by node."""
    held: Mapping[Owner, Mapping[str, int]]
    """Devices that pods and claims hold on each node, by the deployment that they belong to."""
    storage_classes: Mapping[str, StorageClass] | None
    """By name; None: not known."""
    unseen: tuple[str, ...] = ()
    """What could not be listed, and what that means, in sentences."""

    @property
    def default_storage_class(self) -> bool | None:
        """Whether one of the classes is the default; None: not known."""
        return None if self.storage_classes is None else any(each.default for each in self.storage_classes.values())

    def used_by_others(self, owner: Owner) -> dict[str, int]:
        """Devices in use on each node, a deployment's own pods apart."""
        used: defaultdict[str, int] = defaultdict(int)
        for each, devices in self.held.items():
            if each != owner:
                for node, amount in devices.items():
                    used[node] += amount
        return dict(used)

    def pods_of(self, owner: Owner, *, devices: int) -> int:
        """How many pods of so many devices a deployment has on nodes already."""
        return sum(self.held.get(owner, {}).values()) // devices


def read_file(path: str, catalog: Catalog) -> ClusterView:
    """The cluster in a file: a List, several documents, or one object, YAML or JSON.

    Raises:
        InvalidInputError: unreadable, or it holds something that is none of ``KINDS``.
    """
    found: defaultdict[str, list[Manifest]] = defaultdict(list)
    for document in read_documents(path):
        kind = document.get("kind", "thing without kind")
        if kind not in KINDS:
            raise InvalidInputError(
                Problem(
                    field=path,
                    reason="NotANode",
                    message=f"holds a {kind}; write what `kubectl get nodes -o yaml` prints, or `{PRINTED}`",
                )
            )
        found[kind].append(document)
    classes = found["StorageClass"]
    return _view(found, catalog, storage_classes=read_storage_classes(classes) if classes else None)


def read_context(catalog: Catalog) -> ClusterView:
    """The cluster of the current kubeconfig context, or the one this process runs in.

    Raises:
        ClusterUnreachableError: no context, no answer, or no permission to list nodes.
    """
    with _context("list nodes", "--nodes") as api:
        return _read(api, catalog)


def read_config_map(namespace: str, name: str, key: str) -> str | None:
    """What a ConfigMap of the current context holds under a key; None: there is no such ConfigMap or key.

    Raises:
        ClusterUnreachableError: no context, no answer, or no permission.
    """
    from kubernetes.client import CoreV1Api  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

    with _context(f"get ConfigMap {name} in {namespace}", "--model-config") as api:
        try:
            found = CoreV1Api(api).read_namespaced_config_map(
                name, namespace, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        # Without preload it is the HTTP answer, whatever the stubs say.
        answer: Any = found
        text = (json.loads(answer.data).get("data") or {}).get(key)
        return None if text is None else str(text)


@contextmanager
def _context(what: str, instead: str) -> Iterator[ApiClient]:
    """A client of the current context; ``what`` is asked of it, ``instead`` the option that does without."""
    # Imported here: the client takes longer to load than everything else, and a file needs none of it.
    from kubernetes import client, config  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        # Not load_config(): it prints advice on stdout, where the document belongs.
        _load_context(config)
    except (config.ConfigException, OSError, TypeError) as error:
        raise ClusterUnreachableError(f"no cluster: {error}; set KUBECONFIG or give a file with {instead}") from None
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    try:
        with client.ApiClient(settings) as api:
            yield api
    except ApiException as error:
        raise ClusterUnreachableError(
            f"{settings.host} refused to {what}: {error.status} {error.reason}; the user of this context needs the "
            f"right to, or give a file with {instead}"
        ) from None
    except HTTPError as error:
        raise ClusterUnreachableError(
            f"{settings.host} does not answer: {error}; check the context, or give a file with {instead}"
        ) from None


def _read(api: ApiClient, catalog: Catalog) -> ClusterView:
    from kubernetes.client import CoreV1Api, ResourceV1Api, StorageV1Api  # noqa: PLC0415
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

    core, resource, storage = CoreV1Api(api), ResourceV1Api(api), StorageV1Api(api)
    unseen: list[str] = []

    def optional(what: str, without: str, method: Callable[..., Any], **options: str) -> list[Manifest] | None:
        """The items of a list, or None; a cluster that does not serve the kind has none of it."""
        try:
            return list(_pages(method, **options))
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return []
            unseen.append(f"{what} cannot be listed ({error.status} {error.reason}): {without}")
            return None

    found: dict[str, list[Manifest]] = {"Node": list(_pages(core.list_node))}
    taken = "devices in use are not known"
    found["Pod"] = optional("pods", taken, core.list_pod_for_all_namespaces, field_selector=_BOUND) or []
    published = "devices of DRA drivers are not known"
    found["ResourceSlice"] = optional("ResourceSlices", published, resource.list_resource_slice) or []
    if found["ResourceSlice"]:
        found["DeviceClass"] = optional("DeviceClasses", published, resource.list_device_class) or []
        claims = resource.list_resource_claim_for_all_namespaces
        found["ResourceClaim"] = optional("ResourceClaims", taken, claims) or []
    classes = optional("StorageClasses", "a default one is assumed", storage.list_storage_class)
    known = None if classes is None else read_storage_classes(classes)
    return _view(found, catalog, storage_classes=known, unseen=tuple(unseen))


def _view(
    found: Mapping[str, Iterable[Manifest]],
    catalog: Catalog,
    *,
    storage_classes: Mapping[str, StorageClass] | None,
    unseen: tuple[str, ...] = (),
) -> ClusterView:
    """The view of the objects of each kind."""
    by = holders(catalog)
    held: defaultdict[Owner, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for pod in found.get("Pod", ()):
        if devices := requested(pod, by.resources):
            held[_owner(pod)][pod["spec"]["nodeName"]] += devices
    for claim in found.get("ResourceClaim", ()):
        for node in allocated(claim, by.drivers):
            held[_FOREIGN][node] += 1
    slices = read_slices(found.get("ResourceSlice", ()), catalog)
    return ClusterView(
        nodes=tuple(map(read_node, found.get("Node", ()))),
        published=devices_of(slices, found.get("DeviceClass", ()), catalog),
        held={owner: dict(nodes) for owner, nodes in held.items()},
        storage_classes=storage_classes,
        unseen=unseen,
    )


def _owner(pod: Manifest) -> Owner:
    metadata = pod.get("metadata") or {}
    name = (metadata.get("labels") or {}).get(names.DEPLOYMENT_LABEL)
    return (str(metadata.get("namespace", "default")), str(name)) if name else _FOREIGN


def _load_context(config: ModuleType) -> None:
    """The context of KUBECONFIG or ~/.kube/config, else the cluster this process runs in."""
    default = Path.home() / ".kube" / "config"
    named = os.environ.get("KUBECONFIG")
    if named or default.exists():
        # Named in full: the client looks KUBECONFIG up only once, when it is first imported.
        config.load_kube_config(config_file=named or str(default))
    else:
        config.load_incluster_config()


def _pages(method: Callable[..., Any], **options: str) -> Iterator[dict[str, Any]]:
    """The items of a list call as plain dictionaries, page by page."""
    position = ""
    while True:
        more = {**options, "_continue": position} if position else options
        answer = method(limit=_PAGE, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS, **more)
        page = json.loads(answer.data)
        yield from page["items"]
        position = page["metadata"].get("continue", "")
        if not position:
            return
