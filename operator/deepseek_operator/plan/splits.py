"""Completes what a user chose of nodes, tensor and pipeline into whole splits of a hardware class.

What is set is never overruled. What is open is tried in this order: few nodes before many, one pipeline stage
before several. Node counts that nobody asked for are powers of two: published recipes for DeepSeek exist for
1, 2, 4 and 8 nodes, and 128 heads split over no other numbers of 8 devices. A large model takes all devices of its
nodes; a small one (the distilled models) exactly those that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from deepseek_operator.api import resource
from deepseek_operator.api.problems import Problem
from deepseek_operator.catalog.types import Dimensions
from deepseek_operator.plan.rules import legal_tensors
from deepseek_operator.plan.types import Parallelism

MOST_NODES: Final = 64
SMALL_GIB: Final = 200.0
"""Weights below this fit a few devices of a node; the large models want all of a node's memory for their cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A split on a number of nodes, with ``devices`` of each node."""

    nodes: int
    devices: int
    split: Parallelism


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a class offers to a group."""

    product: str
    devices: int
    """Accelerators of a node."""
    asked: int | None
    """spec.hardware.acceleratorsPerNode."""

    @property
    def used(self) -> int:
        """Accelerators of each node when a group spans nodes."""
        return self.asked or self.devices


def node_counts(wish: resource.Parallelism) -> tuple[int, ...]:
    """Numbers of nodes to try, ascending."""
    if wish.nodes is not None:
        return (wish.nodes,)
    if wish.pipeline is None:
        return tuple(2**power for power in range(7))
    return tuple(range(1, MOST_NODES + 1))


def contradiction(wish: resource.Parallelism, room: Room) -> Problem | None:
    """What no number of nodes of this class can satisfy, before any rule of the engine."""
    if room.asked is not None and room.asked > room.devices:
        return Problem(
            field="spec.hardware.acceleratorsPerNode",
            reason="NodeTooSmall",
            message=f"a node of {room.product} has {room.devices} accelerators, not {room.asked}; "
            f"use at most {room.devices}",
        )
    if wish.tensor is None:
        return None
    ranks = wish.tensor * (wish.pipeline or 1)
    if wish.nodes == 1 and ranks > room.used:
        needed = -(-ranks // room.used)
        return Problem(
            field="spec.parallelism.nodes",
            reason="TooFewNodes",
            message=f"{ranks} ranks need {needed} nodes of {room.used} {room.product}, and nodes is 1; "
            f"set nodes to {needed}, or leave nodes out",
        )
    if wish.nodes is not None and wish.nodes > 1:
        return _uneven(wish, room)
    if wish.nodes is None and ranks > room.used and ranks % room.used:
        whole = max(room.used, ranks // room.used * room.used)
        return Problem(
            field="spec.parallelism.tensor",
            reason="NodesNotFilled",
            message=f"{ranks} ranks do not fill nodes of {room.used} {room.product} evenly; use {whole} or "
            f"{whole + room.used} ranks, or set spec.hardware.acceleratorsPerNode",
        )
    return None


def layouts(
    wish: resource.Parallelism, room: Room, dimensions: Dimensions, *, nodes: int, block: int | None, small: bool
) -> Iterator[Layout]:
    """The splits on ``nodes`` nodes that agree with the wish, whether the engine allows them or not.

    ``small``: the model may take a part of a node, the fewest devices first.
    """
    if nodes == 1:
        yield from _on_one(wish, room, dimensions, block, small=small)
        return
    world = nodes * room.used
    for stages in range(1, world + 1):
        tensor, left = divmod(world, stages)
        fits_wish = wish.pipeline in {None, stages} and wish.tensor in {None, tensor}
        # Stages inside a node gain nothing that nobody asked for.
        if left == 0 and fits_wish and (stages <= nodes or wish.pipeline or wish.tensor):
            yield Layout(nodes=nodes, devices=room.used, split=_split(wish, tensor, stages))


def spread_out(layout: Layout) -> Layout:
    """The layout with expert parallelism as wide as tensor parallelism."""
    return replace(layout, split=replace(layout.split, expert=layout.split.tensor))


def is_small(size_gib: float) -> bool:
    """Whether a model takes only the devices that it needs, not whole nodes."""
    return size_gib < SMALL_GIB


def _on_one(
    wish: resource.Parallelism, room: Room, dimensions: Dimensions, block: int | None, *, small: bool
) -> Iterator[Layout]:
    stages = wish.pipeline or 1
    if wish.tensor is not None:
        devices = wish.tensor * stages
        if wish.pipeline is None and room.asked and room.asked % wish.tensor == 0:
            devices, stages = room.asked, room.asked // wish.tensor
        if devices <= room.used and room.asked in {None, devices}:
            yield Layout(nodes=1, devices=devices, split=_split(wish, wish.tensor, stages))
        return
    if room.used % stages:
        return
    tensor = room.used // stages
    if room.asked is None and not wish.expert and not wish.attention_data:
        legal = legal_tensors(dimensions, block=block, most=tensor)
        if small and legal:
            for each in legal:
                yield Layout(nodes=1, devices=each * stages, split=_split(wish, each, stages))
            return
        tensor = legal[-1] if legal else tensor
    yield Layout(nodes=1, devices=tensor * stages, split=_split(wish, tensor, stages))


def _split(wish: resource.Parallelism, tensor: int, stages: int) -> Parallelism:
    return Parallelism(
        tensor=tensor,
        pipeline=stages,
        attention_data=wish.attention_data or 1,
        expert=wish.expert or 1,
    )


def _uneven(wish: resource.Parallelism, room: Room) -> Problem | None:
    """Nodes and tensor are set, nodes above one: the ranks must be the nodes' devices."""
    nodes, tensor = wish.nodes or 1, wish.tensor or 1
    world = nodes * room.used
    if wish.pipeline is None and world % tensor == 0:
        return None
    ranks = tensor * (wish.pipeline or 1)
    if ranks == world:
        return None
    devices, left = divmod(ranks, nodes)
    smaller = f", or spec.hardware.acceleratorsPerNode to {devices}" if left == 0 and devices < room.used else ""
    return Problem(
        field="spec.parallelism.tensor",
        reason="RanksNotDevices",
        message=f"{nodes} nodes of {room.used} {room.product} are {world} ranks, but tensor x pipeline is {ranks}; "
        f"leave two of nodes, tensor and pipeline out{smaller}",
    )
