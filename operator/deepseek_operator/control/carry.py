"""Carry the actions of one decision out, each for itself: what fails keeps back only what needs it.

A group whose ranks must end is stopped whatever else goes wrong, and stops go out all at once: forty groups that lost
ranks together do not wait for one another. A start is kept back when something that the pods need (a policy, an
address, the keys) could not be made: no rank runs unprotected.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepseek_operator.api import names
from deepseek_operator.control.client import ApiError, ConflictError
from deepseek_operator.control.execute import Executor, GangMissingError, NameTakenError, TooEarlyError
from deepseek_operator.lifecycle.actions import Action, Apply, CreateOnce, EnsurePodGroup, StartGroup, StopGroup
from deepseek_operator.lifecycle.records import ChildKey, DeploymentRecord

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Carried:
    """What became of the actions."""

    taken: ChildKey | None = None
    """A name that a foreign object holds."""
    told: str = ""
    """What could not be done and why, for users; empty when all was done or only waits."""
    failure: Exception | None = None
    """The first that calls for another attempt."""


async def carry_out(
    executor: Executor, deployment: DeploymentRecord, actions: Iterable[Action], *, withheld: ChildKey | None
) -> Carried:
    """Run the actions in order.

    ``withheld`` is an object that is known to be somebody else's. Raises UnreachableError and LeadershipLostError at
    once: nothing that follows could succeed.
    """
    carried = Carried(taken=withheld)
    broken: set[int | None] = set()
    todo = tuple(actions)
    stops = tuple(itertools.takewhile(lambda action: isinstance(action, StopGroup), todo))
    await _stop_all(executor, deployment, stops, carried)
    for action in todo[len(stops) :]:
        group, key = _group(action), _key(action)
        if withheld is not None and key == withheld:
            broken.add(group)
            continue
        if isinstance(action, StartGroup) and broken & {None, group}:
            continue
        try:
            await executor.run(deployment, action)
        except NameTakenError as error:
            carried.taken = error.key
            broken.add(group)
        except GangMissingError as error:
            carried.told = carried.told or str(error)
            broken.add(group)
        except (ConflictError, TooEarlyError) as error:
            carried.failure = carried.failure or error
            broken.add(group)
        except ApiError as error:
            logger.warning("%s/%s: %s: %s", deployment.namespace, deployment.name, _about(action), error)
            carried.told = carried.told or f"{_about(action)}: {error}"
            carried.failure = carried.failure or error
            broken.add(group)
    return carried


async def _stop_all(
    executor: Executor, deployment: DeploymentRecord, stops: Sequence[Action], carried: Carried
) -> None:
    ends = await asyncio.gather(*(executor.run(deployment, stop) for stop in stops), return_exceptions=True)
    failures = [end for end in ends if isinstance(end, BaseException)]
    for failure in failures:
        if not isinstance(failure, ApiError):
            raise failure
        if not isinstance(failure, ConflictError):
            logger.warning("%s/%s: StopGroup: %s", deployment.namespace, deployment.name, failure)
            carried.told = carried.told or f"StopGroup: {failure}"
        carried.failure = carried.failure or failure


def _group(action: Action) -> int | None:
    """The group that an action is for; None for what all groups share."""
    if isinstance(action, (Apply, CreateOnce, EnsurePodGroup)):
        label = action.manifest["metadata"].get("labels", {}).get(names.GROUP_LABEL)
        return int(label) if label is not None else None
    return action.group if isinstance(action, StartGroup) else -1


def _key(action: Action) -> ChildKey | None:
    if isinstance(action, (Apply, CreateOnce, EnsurePodGroup, StartGroup)):
        return action.manifest["kind"], action.manifest["metadata"]["name"]
    return None


def _about(action: Action) -> str:
    key = _key(action)
    return f"{key[0]} {key[1]}" if key else type(action).__name__
