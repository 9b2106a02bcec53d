"""What happens to a deployment while operators are killed: what is there before, and what the user does then.

A scenario waits only for what the cluster shows, so that it goes on with whichever operator process lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from deepseek_operator.control import kinds
from e2e.faults.user import User

Step = Callable[[User], Awaitable[None]]

NEVER_READY: Final = {"annotations": {"kwok.e2e/ready": "false"}}
"""A revision whose engine never comes up (e2e/cluster/stages/pod.yaml)."""
MISSING_IMAGE: Final = "registry.example/sglang:missing"
"""One that no kubelet can pull (the same file)."""
GOOD_IMAGE: Final = "registry.example/sglang:other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario; `act` returns when its end is in sight."""

    name: str
    about: str
    prepare: Step
    act: Step


async def _nothing(_user: User) -> None:
    return


def _serving(replicas: int) -> Step:
    async def prepare(user: User) -> None:
        await user.create(replicas=replicas)
        await user.ready()

    return prepare


async def _create(user: User) -> None:
    await user.create()
    await user.ready()


async def _edit(user: User) -> None:
    await user.edit(servedName="other")
    await user.ready()


async def _scale_up(user: User) -> None:
    await user.edit(replicas=2)
    await user.ready()


async def _scale_down(user: User) -> None:
    await user.edit(replicas=1)
    await user.groups(0)
    await user.ready()


async def _bad_then_good(user: User) -> None:
    await user.edit(podTemplate=NEVER_READY)

    async def started() -> bool:
        pods = await user.pods()
        return len(pods) == 2 and all(
            pod["metadata"].get("annotations", {}).get("kwok.e2e/ready") == "false"
            and pod["status"].get("phase") == "Running"
            for pod in pods
        )

    await user.wait("the bad revision runs", started)
    await user.edit(podTemplate=None, servedName="good")
    await user.ready()


async def _image_missing_then_good(user: User) -> None:
    await user.edit(engine={"image": MISSING_IMAGE})

    async def failing() -> bool:
        deployment = await user.deployment() or {}
        groups = deployment.get("status", {}).get("groups", ())
        return any(group.get("warmUp", {}).get("state") == "Failing" for group in groups)

    await user.wait("the image that cannot be pulled is told", failing)
    await user.edit(engine={"image": GOOD_IMAGE})
    await user.ready()


async def _refused_then_good(user: User) -> None:
    await user.edit(parallelism={"tensor": 12})

    async def refused() -> bool:
        deployment = await user.deployment() or {}
        conditions = deployment.get("status", {}).get("conditions", ())
        return any(item["type"] == "Stalled" and item["status"] == "True" for item in conditions)

    await user.wait("the refusal", refused)
    await user.edit(parallelism=None, servedName="good")
    await user.ready()


async def _group_failure(user: User) -> None:
    await user.end_engine(0, 1)

    async def restarted() -> bool:
        deployment = await user.deployment() or {}
        groups = deployment.get("status", {}).get("groups", ())
        return any(group.get("incidents") and group.get("ready") for group in groups)

    await user.wait("the group restarted and ready", restarted)
    await user.ready()


async def _pod_deleted(user: User) -> None:
    await user.api.delete(kinds.POD, user.namespace, "x-g0-1")

    async def restarted() -> bool:
        deployment = await user.deployment() or {}
        groups = deployment.get("status", {}).get("groups", ())
        return any(group.get("incarnation", 0) > 1 and group.get("ready") for group in groups)

    await user.wait("the group restarted and ready", restarted)
    await user.ready()


async def _suspend_resume(user: User) -> None:
    await user.edit(suspend=True)
    await user.stopped()
    await user.edit(suspend=False)
    await user.ready()


async def _delete(user: User) -> None:
    await user.delete()
    await user.gone()


async def _delete_early(user: User) -> None:
    await user.create(replicas=2)

    async def begun() -> bool:
        return bool(await user.api.list(kinds.STATEFUL_SET, user.namespace))

    await user.wait("the first StatefulSet", begun)
    await user.delete()
    await user.gone()


SCENARIOS: Final = tuple(
    Scenario(name=name, about=about, prepare=prepare, act=act)
    for name, about, prepare, act in (
        ("create", "one group of two nodes, from nothing to Ready", _nothing, _create),
        ("edit", "two groups serve, then a new revision", _serving(2), _edit),
        ("scale-up", "1 → 2 groups", _serving(1), _scale_up),
        ("scale-down", "2 → 1 groups", _serving(2), _scale_down),
        ("bad-then-good", "a revision that never gets ready, then a good one", _serving(1), _bad_then_good),
        (
            "image-missing-then-good",
            "an image that cannot be pulled stops no serving group, then one that can",
            _serving(1),
            _image_missing_then_good,
        ),
        ("refused-then-good", "a spec that is refused, then a good one", _serving(1), _refused_then_good),
        ("engine-killed", "the engine of a worker rank ends with code 137", _serving(1), _group_failure),
        ("pod-deleted", "a worker's pod is deleted", _serving(1), _pod_deleted),
        ("suspend-resume", "suspend, all pods gone, resume", _serving(1), _suspend_resume),
        ("delete", "a serving deployment is deleted", _serving(1), _delete),
        ("delete-early", "deleted while its groups start", _nothing, _delete_early),
    )
)
