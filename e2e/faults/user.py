"""What a user does to one deployment, and what they can see of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from deepseek_operator.api import names
from deepseek_operator.control import kinds
from e2e.cluster import ClusterError
from e2e.faults.api import NAMESPACE, Api

NAME: Final = "x"
SPEC: Final = {"model": "deepseek-ai/DeepSeek-V3-0324", "precision": "fp8"}
WAIT_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.15
LEAVE_SECONDS: Final = 60.0


class NotReachedError(ClusterError):
    """Something that had to become true did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user of one namespace."""

    api: Api
    namespace: str

    async def arrive(self) -> None:
        """Make the namespace."""
        await self.api.create(
            NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        )

    async def leave(self) -> None:
        """Delete the namespace and what outlives it; its pods' nodes are free, or will be soon, when this returns."""
        for volume in await self.api.list(kinds.VOLUME):
            if volume["spec"].get("claimRef", {}).get("namespace") == self.namespace:
                await self.api.delete(kinds.VOLUME, None, volume["metadata"]["name"])
        await self.api.delete(NAMESPACE, None, self.namespace)

        async def free() -> bool:
            return not await self.pods()

        with suppress(NotReachedError):
            await self.wait("the nodes are free", free, seconds=LEAVE_SECONDS)

    async def create(self, **spec: Any) -> None:
        """Create the deployment."""
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": {**SPEC, **spec},
        }
        await self.api.create(kinds.DEPLOYMENT, manifest)

    async def edit(self, **spec: Any) -> None:
        """Change fields of the spec; None removes one."""
        await self.api.patch(kinds.DEPLOYMENT, self.namespace, NAME, {"spec": spec})

    async def delete(self) -> None:
        """Delete the deployment."""
        await self.api.delete(kinds.DEPLOYMENT, self.namespace, NAME)

    async def end_engine(self, group: int, rank: int, *, code: int = 137, reason: str = "OOMKilled") -> None:
        """The engine of a rank ends, as a kubelet would report it."""
        name = names.pod_name(NAME, group, rank)
        pod = await self.api.get(kinds.POD, self.namespace, name)
        if pod is None:
            raise NotReachedError(f"pod {name} does not exist")
        for container in pod["status"]["containerStatuses"]:
            if container["name"] == names.ENGINE_CONTAINER:
                began = container["state"].get("running", {}).get("startedAt")
                container["state"] = {
                    "terminated": {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": began}
                }
                container["ready"] = container["started"] = False
        for condition in pod["status"]["conditions"]:
            if condition["type"] in ("Ready", "ContainersReady"):
                condition["status"] = "False"
        await self.api.replace(kinds.POD, pod, subresource="status")

    async def deployment(self) -> dict[str, Any] | None:
        """The deployment as it is."""
        return await self.api.get(kinds.DEPLOYMENT, self.namespace, NAME)

    async def pods(self) -> list[dict[str, Any]]:
        """All pods of the namespace."""
        return await self.api.list(kinds.POD, self.namespace)

    async def wait(self, what: str, check: Callable[[], Awaitable[bool]], *, seconds: float = WAIT_SECONDS) -> None:
        """Return when something is so. Raises NotReachedError with the last conditions."""
        deadline = time.monotonic() + seconds
        while not await check():
            if time.monotonic() > deadline:
                raise NotReachedError(f"not within {seconds:.0f} s: {what}; {await self._told()}")
            await asyncio.sleep(POLL_SECONDS)

    async def ready(self) -> None:
        """Wait until the current spec serves."""
        await self.wait("Ready", self._is_ready)

    async def stopped(self) -> None:
        """Wait until a suspended deployment has no pod left."""

        async def check() -> bool:
            return not await self.pods() and (await self._condition("Ready")).get("reason") == "Suspended"

        await self.wait("suspended, without pods", check)

    async def groups(self, *wanted: int) -> None:
        """Wait until exactly these groups have StatefulSets."""

        async def check() -> bool:
            found = await self.api.list(kinds.STATEFUL_SET, self.namespace)
            return {item["metadata"]["name"] for item in found} == {names.group_name(NAME, i) for i in wanted}

        await self.wait(f"groups {wanted}", check)

    async def gone(self) -> None:
        """Wait until the deployment and everything it owned is gone."""

        async def check() -> bool:
            lists = [await self.api.list(kind, self.namespace) for kind in (kinds.DEPLOYMENT, *kinds.WATCHED[1:])]
            return not any(item for items in lists for item in items if item["kind"] != kinds.NODE.kind)

        await self.wait("nothing left", check)

    async def _is_ready(self) -> bool:
        deployment = await self.deployment()
        if deployment is None:
            return False
        observed = deployment["status"].get("observedGeneration") == deployment["metadata"]["generation"]
        return observed and (await self._condition("Ready")).get("status") == "True"

    async def _condition(self, kind: str) -> dict[str, Any]:
        deployment = await self.deployment() or {}
        conditions = deployment.get("status", {}).get("conditions", ())
        found: dict[str, Any] = next((item for item in conditions if item["type"] == kind), {})
        return found

    async def _told(self) -> str:
        deployment = await self.deployment()
        if deployment is None:
            return "no deployment"
        status = deployment.get("status", {})
        groups = [
            {key: group.get(key) for key in ("index", "intent", "stage", "incarnation", "message")}
            for group in status.get("groups", ())
        ]
        ready = await self._condition("Ready")
        pods = [pod["metadata"]["name"] for pod in await self.pods()]
        return json.dumps({"Ready": ready.get("reason"), "groups": groups, "pods": pods})
