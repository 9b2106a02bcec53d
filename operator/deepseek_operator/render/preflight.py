"""The init container that lets all devices of a group add up one tensor before any weights are loaded.

It stands before the containers that prepare weights: a network that does not carry the group is found before hours of
downloads. It has the engine's image, devices and environment, so that what it measures is what the engine will have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.names import PREFLIGHT_CONTAINER
from deepseek_operator.render.quantity import literal

if TYPE_CHECKING:
    from deepseek_operator.engines.types import Launch

_KEPT: Final = ("image", "resources", "securityContext", "terminationMessagePolicy", "volumeMounts")


def preflight_container(engine: dict[str, Any], launch: Launch) -> dict[str, Any] | None:
    """The container, made from the engine's; None where none is asked for. It gets no keys."""
    if launch.preflight is None:
        return None
    return {
        "name": PREFLIGHT_CONTAINER,
        "command": ["/bin/bash", "-c", literal(launch.preflight)],
        "env": [each for each in engine["env"] if "secretKeyRef" not in each.get("valueFrom", {})],
        **{key: engine[key] for key in _KEPT},
    }
