"""Carry actions out. Every write passes the Lease's gate and the limiter, and its answer enters the cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import (
    JSON_PATCH,
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from deepseek_operator.control.leader import Elector, LeadershipLostError
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.metrics import WRITES
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Delete,
    Event,
    ForceDeletePod,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.objects import difference
from deepseek_operator.lifecycle.records import ChildKey, DeploymentRecord

logger = logging.getLogger(__name__)

COMPONENT: Final = "deepseek-operator"
CONFLICT: Final = 409
INVALID: Final = 422
ALREADY_EXISTS: Final = "AlreadyExists"
"""The one 409 of a POST that says something about the object; others (a quota that changed meanwhile) pass."""
INCARNATION_PATH: Final = f"/spec/template/metadata/labels/{names.INCARNATION_LABEL.replace('/', '~1')}"


class NameTakenError(Exception):
    """A foreign object holds a name that we need."""

    def __init__(self, key: ChildKey) -> None:
        self.key = key
        super().__init__(f"{key[0]} {key[1]} exists and is not ours")


class TooEarlyError(Exception):
    """Pods of an older incarnation are still there, though the cache did not show them."""


class Executor:
    """Writes for one process."""

    def __init__(self, client: KubeClient, cache: Cache, elector: Elector, limiter: WriteLimiter) -> None:
        self._client = client
        self._cache = cache
        self._elector = elector
        self._limiter = limiter

    async def write_status(self, deployment: DeploymentRecord, status: Mapping[str, Any]) -> DeploymentRecord:
        """PUT the status of exactly the version that was decided upon. Raises ConflictError when it moved on."""
        await self._gate("status", names.KIND)
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": deployment.name,
                "namespace": deployment.namespace,
                "uid": deployment.uid,
                "resourceVersion": str(deployment.resource_version),
            },
            "spec": deployment.spec,
            "status": status,
        }
        answer = await self._client.replace(kinds.DEPLOYMENT, manifest, subresource="status")
        self._cache.put(kinds.DEPLOYMENT, answer)
        fresh = self._cache.deployment((deployment.namespace, deployment.name))
        return fresh or deployment

    async def run(self, deployment: DeploymentRecord, action: Action) -> None:
        """Carry one action out. What is already so is fine; what moved on raises ConflictError."""
        namespace = deployment.namespace
        if isinstance(action, CreateOnce):
            await self._create_once(action)
        elif isinstance(action, Apply):
            logger.info(
                "%s/%s: %s %s: %s",
                namespace,
                deployment.name,
                action.manifest["kind"],
                action.manifest["metadata"]["name"],
                action.why,
            )
            await self._apply(deployment, action.manifest, action.uid)
        elif isinstance(action, StartGroup):
            await self._start(deployment, action)
        elif isinstance(action, StopGroup):
            await self._stop(namespace, action)
        elif isinstance(action, Delete):
            await self._gate("delete", action.kind)
            await self._client.delete(kinds.BY_KIND[action.kind], namespace, action.name, uid=action.uid)
        elif isinstance(action, ForceDeletePod):
            await self._gate("delete", "Pod")
            await self._client.delete(kinds.POD, namespace, action.name, uid=action.uid, grace_seconds=0)

    async def record(self, deployment: DeploymentRecord, event: Event) -> None:
        """Post an Event about the deployment; a lost one is logged, never retried."""
        await self._gate("create", "Event")
        now = datetime.now(UTC)
        manifest = {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.kind,
            "metadata": {
                "name": f"{deployment.name}.{now.timestamp():.6f}".replace(".", "-"),
                "namespace": deployment.namespace,
            },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.type,
            "reason": event.reason,
            "note": event.message,
            "action": "Reconcile",
            "reportingController": f"{names.GROUP}/{COMPONENT}",
            "reportingInstance": COMPONENT,
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": deployment.name,
                "namespace": deployment.namespace,
                "uid": deployment.uid,
            },
        }
        try:
            await self._client.create(kinds.EVENT, manifest)
        except (ApiError, UnreachableError) as error:
            logger.warning("event %s of %s/%s was lost: %s", event.reason, deployment.namespace, deployment.name, error)

    async def _create_once(self, action: CreateOnce) -> None:
        kind = kinds.BY_KIND[action.manifest["kind"]]
        await self._gate("create", kind.kind)
        try:
            await self._client.create(kind, action.manifest)
        except ConflictError as error:
            if error.reason != ALREADY_EXISTS:
                raise

    async def _apply(self, deployment: DeploymentRecord, manifest: Mapping[str, Any], uid: str | None) -> None:
        kind = kinds.BY_KIND[manifest["kind"]]
        if uid is None:
            await self._create(deployment, kind, manifest)
            return
        live = await self._client.get(kind, deployment.namespace, manifest["metadata"]["name"])
        if kind is kinds.STATEFUL_SET and _incarnation(live) > _incarnation(manifest):
            raise ConflictError(CONFLICT, "Conflict", f"{live['metadata']['name']} runs a later incarnation")
        version = await self._adopt_fields(kind, live)
        # With the version of a moment ago, a write that arrives late (a paused leader's) is refused.
        identity = {"uid": uid, "resourceVersion": version}
        await self._gate("apply", kind.kind)
        try:
            answer = await self._client.apply(kind, {**manifest, "metadata": {**manifest["metadata"], **identity}})
        except ConflictError:
            raise
        except ApiError as error:
            if error.status != INVALID or kind is kinds.STATEFUL_SET:
                raise
            # Somebody changed it into what no apply can mend (a nameless port beside ours): make it anew.
            logger.warning(
                "%s %s cannot be mended and is made anew: %s", kind.kind, manifest["metadata"]["name"], error
            )
            await self._gate("delete", kind.kind)
            await self._client.delete(kind, deployment.namespace, manifest["metadata"]["name"], uid=uid)
            return
        self._cache.put(kind, answer)

    async def _create(self, deployment: DeploymentRecord, kind: kinds.Kind, manifest: Mapping[str, Any]) -> None:
        await self._gate("create", kind.kind)
        try:
            answer = await self._client.create(kind, manifest)
        except ConflictError as error:
            if error.reason != ALREADY_EXISTS:
                raise
            await self._find_again(deployment, kind, manifest)
        else:
            self._cache.put(kind, answer)

    async def _find_again(self, deployment: DeploymentRecord, kind: kinds.Kind, manifest: Mapping[str, Any]) -> None:
        """Take in an object that exists though we did not see it: an answer was lost, or its labels were taken."""
        name = manifest["metadata"]["name"]
        found = await self._client.get(kind, deployment.namespace, name)
        owners = found["metadata"].get("ownerReferences", ())
        if not any(owner["uid"] == deployment.uid for owner in owners):
            raise NameTakenError((kind.kind, name))
        self._cache.put(kind, found)
        child = self._cache.child(deployment.uid, (kind.kind, name))
        if child is not None and difference(manifest, child):
            await self._apply(deployment, manifest, child.uid)

    async def _adopt_fields(self, kind: kinds.Kind, live: Mapping[str, Any]) -> str:
        """Make what we POSTed look applied, so that fields we drop later really go; returns the resourceVersion.

        A POST is recorded as operation Update; server-side apply would add a second entry of ours and never remove a
        field that the first still holds. Renaming the operation, guarded by resourceVersion, is what client-go's
        csaupgrade does for the same reason.
        """
        metadata = live["metadata"]
        entries = metadata.get("managedFields", [])
        ours = [
            index
            for index, entry in enumerate(entries)
            if entry.get("manager") == names.FIELD_MANAGER and not entry.get("subresource")
        ]
        version: str = metadata["resourceVersion"]
        if len(ours) != 1 or entries[ours[0]].get("operation") != "Update":
            return version
        await self._gate("adopt", kind.kind)
        adopted = await self._client.patch(
            kind,
            metadata["namespace"],
            metadata["name"],
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": f"/metadata/managedFields/{ours[0]}/operation", "value": "Apply"},
            ],
            content_type=JSON_PATCH,
        )
        return str(adopted["metadata"]["resourceVersion"])

    async def _start(self, deployment: DeploymentRecord, action: StartGroup) -> None:
        async for page in self._client.pages(kinds.POD, namespace=deployment.namespace, selector=action.pod_selector):
            for pod in page["items"]:
                incarnation = pod["metadata"].get("labels", {}).get(names.INCARNATION_LABEL)
                if incarnation != str(action.incarnation):
                    raise TooEarlyError(pod["metadata"]["name"])
        await self._apply(deployment, action.manifest, action.uid)

    async def _stop(self, namespace: str, action: StopGroup) -> None:
        await self._gate("stop", "StatefulSet")
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": action.uid},
            {"op": "replace", "path": "/spec/replicas", "value": 0},
        ]
        if action.incarnation:
            # The object lives on through incarnations: without this, a late stop would end the next one.
            patch.insert(1, {"op": "test", "path": INCARNATION_PATH, "value": str(action.incarnation)})
        try:
            answer = await self._client.patch(
                kinds.STATEFUL_SET, namespace, action.name, patch, content_type=JSON_PATCH
            )
        except NotFoundError:
            return
        except ApiError as error:
            if error.status != INVALID:
                raise
            raise ConflictError(CONFLICT, "Conflict", f"StatefulSet {action.name} moved on: {error}") from error
        self._cache.put(kinds.STATEFUL_SET, answer)

    async def _gate(self, action: str, kind: str) -> None:
        await self._limiter.take()
        if not self._elector.leads:
            raise LeadershipLostError("not leading: nothing is written")
        WRITES.labels(action=action, kind=kind).inc()


def _incarnation(manifest: Mapping[str, Any]) -> int:
    labels = manifest["spec"]["template"]["metadata"].get("labels") or {}
    return int(labels.get(names.INCARNATION_LABEL, 0))
