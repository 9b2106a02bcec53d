"""Carry actions out. Every write passes the Lease's gate and the limiter, and its answer enters the cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from deepseek_operator.control.cache import Cache
from deepseek_operator.control.client import (
    JSON_PATCH,
    MERGE_PATCH,
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from deepseek_operator.control.leader import Elector, LeadershipLostError
from deepseek_operator.control.limiter import WriteLimiter
from deepseek_operator.control.metrics import WRITES
from deepseek_operator.control.volumes import Volumes
from deepseek_operator.lifecycle.actions import (
    Action,
    Apply,
    CreateOnce,
    Delete,
    DeletePod,
    DropLostClaims,
    DropPodGroup,
    EnsurePodGroup,
    Event,
    PullImage,
    StartGroup,
    StopGroup,
)
from deepseek_operator.lifecycle.records import ChildKey, DeploymentRecord
from deepseek_operator.render.owner import Owner, group_labels

logger = logging.getLogger(__name__)

COMPONENT: Final = "deepseek-operator"
INVALID: Final = 422
ALREADY_EXISTS: Final = "AlreadyExists"
"""Other conflicts of a POST pass: a namespace that is being deleted, an admission that lost a race."""
_TEST_FAILED: Final = "the server rejected our request due to an error in our request"
"""What the API server says of a JSON patch that does not apply (apimachinery, NewGenericServerResponse)."""
_GIVEN_BY_SERVER: Final = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
"""Fields of a Service's spec that it keeps for life."""


class NameTakenError(Exception):
    """A foreign object holds a name that we need."""

    def __init__(self, key: ChildKey) -> None:
        self.key = key
        super().__init__(f"{key[0]} {key[1]} exists and is not ours")


class GangMissingError(Exception):
    """The gang scheduler that the user chose is not there; the message says what would help."""


class TooEarlyError(Exception):
    """Something of the past is still there: a pod of an older incarnation, an object of a deleted namesake."""


class Executor:
    """Writes for one process."""

    def __init__(self, client: KubeClient, cache: Cache, elector: Elector, limiter: WriteLimiter) -> None:
        self._client = client
        self._cache = cache
        self._elector = elector
        self._limiter = limiter
        self._volumes = Volumes(client, cache, self._gate)

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
            done = "made" if action.uid is None else f"mended, {action.why}"
            name = action.manifest["metadata"]["name"]
            logger.info("%s/%s: %s %s %s", namespace, deployment.name, action.manifest["kind"], name, done)
            await self._apply(deployment, action.manifest, action.uid)
        elif isinstance(action, PullImage):
            await self._pull(deployment, action)
        elif isinstance(action, EnsurePodGroup):
            await self._ensure_pod_group(deployment, action.manifest)
        elif isinstance(action, DropPodGroup):
            await self._drop_pod_group(deployment, action)
        elif isinstance(action, DropLostClaims):
            await self._volumes.drop_lost_claims(namespace, action)
        elif isinstance(action, StartGroup):
            await self._start(deployment, action)
            logger.info(
                "%s/%s: group %d started, incarnation %d", namespace, deployment.name, action.group, action.incarnation
            )
        elif isinstance(action, StopGroup):
            await self._stop(namespace, action)
            logger.info("%s/%s: group %d stopped", namespace, deployment.name, action.group)
        elif isinstance(action, Delete):
            await self._gate("delete", action.kind)
            await self._client.delete(kinds.BY_KIND[action.kind], namespace, action.name, uid=action.uid)
        elif isinstance(action, DeletePod):
            await self._gate("delete", "Pod")
            grace = action.grace_seconds
            await self._client.delete(kinds.POD, namespace, action.name, uid=action.uid, grace_seconds=grace)

    async def record(self, deployment: DeploymentRecord, event: Event) -> None:
        """Post an Event about the deployment; a lost one is logged, never retried."""
        logger.info("%s/%s: %s: %s", deployment.namespace, deployment.name, event.reason, event.message)
        await self._gate("create", "Event")
        now = self._client.clock.now()
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

    async def _pull(self, deployment: DeploymentRecord, action: PullImage) -> None:
        await self._gate("create", kinds.POD.kind)
        try:
            answer = await self._client.create(kinds.POD, action.manifest)
        except ConflictError as error:
            if error.reason != ALREADY_EXISTS:
                raise
            answer = await self._client.get(kinds.POD, deployment.namespace, action.manifest["metadata"]["name"])
            if not is_owned(answer, deployment):
                raise
        self._cache.put(kinds.POD, answer)

    async def _create_once(self, action: CreateOnce) -> None:
        kind = kinds.BY_KIND[action.manifest["kind"]]
        await self._gate("create", kind.kind)
        try:
            await self._client.create(kind, action.manifest)
        except ConflictError as error:
            if error.reason != ALREADY_EXISTS:
                raise
            if kind is kinds.VOLUME:
                await self._volumes.free(action.manifest["metadata"]["name"])

    async def _apply(
        self,
        deployment: DeploymentRecord,
        manifest: Mapping[str, Any],
        uid: str | None,
        *,
        resource_version: int | None = None,
    ) -> None:
        """Make an object so. With ``resource_version`` only if nobody has touched it since."""
        kind = kinds.BY_KIND[manifest["kind"]]
        if uid is None:
            await self._create(deployment, kind, manifest)
            return
        version = await self._adopt_fields(kind, deployment.namespace, manifest["metadata"]["name"], resource_version)
        metadata = {**manifest["metadata"], "uid": uid}
        if resource_version is not None:
            metadata["resourceVersion"] = version
        await self._gate("apply", kind.kind)
        try:
            answer = await self._client.apply(kind, {**manifest, "metadata": metadata})
        except ApiError as error:
            if isinstance(error, ConflictError) or error.status != INVALID or kind is not kinds.SERVICE:
                raise
            answer = await self._replace_service(deployment.namespace, manifest, uid)
        self._cache.put(kind, answer)

    async def _replace_service(self, namespace: str, manifest: Mapping[str, Any], uid: str) -> dict[str, Any]:
        """PUT a Service that somebody changed into what no apply can mend (a nameless port beside ours)."""
        name = manifest["metadata"]["name"]
        live = await self._client.get(kinds.SERVICE, namespace, name)
        kept = {field: live["spec"][field] for field in _GIVEN_BY_SERVER if field in live["spec"]}
        metadata = {**manifest["metadata"], "uid": uid, "resourceVersion": live["metadata"]["resourceVersion"]}
        await self._gate("replace", kinds.SERVICE.kind)
        body = {**manifest, "metadata": metadata, "spec": {**kept, **manifest["spec"]}}
        return await self._client.replace(kinds.SERVICE, body)

    async def _create(self, deployment: DeploymentRecord, kind: kinds.Kind, manifest: Mapping[str, Any]) -> None:
        await self._gate("create", kind.kind)
        try:
            answer = await self._client.create(kind, manifest)
        except ConflictError as error:
            if error.reason != ALREADY_EXISTS:
                raise
            name = manifest["metadata"]["name"]
            live = await self._client.get(kind, deployment.namespace, name)
            if is_owned(live, deployment):
                # It had left our sight, by a label perhaps.
                await self._apply(deployment, manifest, live["metadata"]["uid"])
                return
            if "deletionTimestamp" in live["metadata"] or _of_namesake(live, deployment):
                raise TooEarlyError(f"{kind.kind} {name} of an earlier deployment") from None
            raise NameTakenError((kind.kind, name)) from None
        self._cache.put(kind, answer)

    async def reclaim(self, deployment: DeploymentRecord, index: int) -> bool:
        """Give a group's workload its labels back if it lost them and is ours still; whether there was one."""
        owner = Owner(name=deployment.name, namespace=deployment.namespace, uid=deployment.uid)
        name = names.group_name(deployment.name, index)
        for kind in kinds.WORKLOADS:
            try:
                live = await self._client.get(kind, deployment.namespace, name)
            except NotFoundError:
                continue
            if not is_owned(live, deployment):
                continue
            await self._gate("apply", kind.kind)
            patch = {"metadata": {"uid": live["metadata"]["uid"], "labels": group_labels(owner, index)}}
            answer = await self._client.patch(kind, deployment.namespace, name, patch, content_type=MERGE_PATCH)
            self._cache.put(kind, answer)
            return True
        return False

    async def _adopt_fields(self, kind: kinds.Kind, namespace: str, name: str, expected: int | None) -> str:
        """Make what we POSTed look applied, so that fields we drop later really go; returns the resourceVersion.

        A POST is recorded as operation Update; server-side apply would add a second entry of ours and never remove a
        field that the first still holds. Renaming the operation, guarded by resourceVersion, is what client-go's
        csaupgrade does for the same reason.
        """
        live = await self._client.get(kind, namespace, name)
        version = str(live["metadata"]["resourceVersion"])
        if expected is not None and version != str(expected):
            raise ConflictError(409, "Conflict", f"{kind.kind} {name} has moved on since it was judged")
        entries = live["metadata"].get("managedFields", [])
        ours = [
            index
            for index, entry in enumerate(entries)
            if entry.get("manager") == names.FIELD_MANAGER and not entry.get("subresource")
        ]
        if len(ours) != 1 or entries[ours[0]].get("operation") != "Update":
            return version
        await self._gate("adopt", kind.kind)
        answer = await self._tested_patch(
            kind,
            namespace,
            name,
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": f"/metadata/managedFields/{ours[0]}/operation", "value": "Apply"},
            ],
        )
        return str(answer["metadata"]["resourceVersion"])

    async def _tested_patch(
        self, kind: kinds.Kind, namespace: str, name: str, operations: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """A JSON patch with tests; a test that fails is a ConflictError, which the API server calls 422."""
        try:
            return await self._client.patch(kind, namespace, name, operations, content_type=JSON_PATCH)
        except ApiError as error:
            # A policy that forbids the change is 422, too, in words of its own.
            if error.status == INVALID and _TEST_FAILED in str(error):
                raise ConflictError(error.status, error.reason, f"{kind.kind} {name} has moved on") from error
            raise

    async def _ensure_pod_group(self, deployment: DeploymentRecord, manifest: Mapping[str, Any]) -> None:
        kind, name = kinds.POD_GROUPS[manifest["apiVersion"]], manifest["metadata"]["name"]
        await self._gate("create", kind.kind)
        try:
            await self._client.create(kind, manifest)
        except NotFoundError:
            raise GangMissingError(
                f"PodGroup {kind.api_version} is not served by this cluster: install the gang scheduler that "
                "spec.scheduling.gang names, or set it to none"
            ) from None
        except ConflictError:
            live = await self._client.get(kind, deployment.namespace, name)
            if not is_owned(live, deployment):
                raise NameTakenError((kind.kind, name)) from None
            if any(live.get("spec", {}).get(field) != value for field, value in manifest["spec"].items()):
                await self._gate("apply", kind.kind)
                metadata = {**manifest["metadata"], "uid": live["metadata"]["uid"]}
                await self._client.apply(kind, {**manifest, "metadata": metadata})

    async def _drop_pod_group(self, deployment: DeploymentRecord, action: DropPodGroup) -> None:
        kind = kinds.POD_GROUPS[action.api_version]
        try:
            live = await self._client.get(kind, deployment.namespace, action.name)
        except NotFoundError:
            return
        if is_owned(live, deployment):
            await self._gate("delete", kind.kind)
            await self._client.delete(kind, deployment.namespace, action.name, uid=live["metadata"]["uid"])

    async def _start(self, deployment: DeploymentRecord, action: StartGroup) -> None:
        async for page in self._client.pages(kinds.POD, namespace=deployment.namespace, selector=action.pod_selector):
            for pod in page["items"]:
                incarnation = pod["metadata"].get("labels", {}).get(names.INCARNATION_LABEL)
                if incarnation != str(action.incarnation):
                    raise TooEarlyError(f"pod {pod['metadata']['name']} of an earlier incarnation")
        await self._apply(deployment, action.manifest, action.uid, resource_version=action.resource_version)

    async def _stop(self, namespace: str, action: StopGroup) -> None:
        await self._gate("stop", "StatefulSet")
        label = names.INCARNATION_LABEL.replace("/", "~1")
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": action.uid},
            {"op": "test", "path": f"/spec/template/metadata/labels/{label}", "value": str(action.incarnation)},
            {"op": "replace", "path": "/spec/replicas", "value": 0},
        ]
        try:
            answer = await self._tested_patch(kinds.STATEFUL_SET, namespace, action.name, operations)
        except NotFoundError:
            return
        self._cache.put(kinds.STATEFUL_SET, answer)

    async def _gate(self, action: str, kind: str) -> None:
        await self._limiter.take()
        if not self._elector.leads:
            raise LeadershipLostError("not leading: nothing is written")
        WRITES.labels(action=action, kind=kind).inc()


def is_owned(live: Mapping[str, Any], deployment: DeploymentRecord) -> bool:
    """Whether an object as the API server has it belongs to a deployment."""
    return any(owner["uid"] == deployment.uid for owner in live["metadata"].get("ownerReferences", ()))


def _of_namesake(live: Mapping[str, Any], deployment: DeploymentRecord) -> bool:
    """The object of a deleted deployment of the same name, which the garbage collector has not reached."""
    owners = live["metadata"].get("ownerReferences", ())
    return any(owner["kind"] == names.KIND and owner["name"] == deployment.name for owner in owners)
