"""The rules for podTemplate's volumes and mounts: none may meet the operator's own.

Mounts above or below one of ours are refused, too: one would hide the other, or the container would not start
because a read-only volume has no directory to mount on. What depends on the engine or the vendor (caches, drivers)
is checked against the plan (``render/pod.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from deepseek_operator.api.names import RUN_DIRECTORY, SHARED_MEMORY, VOLUME_PREFIX, WEIGHTS_DIRECTORY
from deepseek_operator.api.rule import Rule

if TYPE_CHECKING:
    from deepseek_operator.api.pod_template import PodTemplate, Volume, VolumeMount
    from deepseek_operator.api.resource import Spec

_RESERVED: Final = (SHARED_MEMORY, RUN_DIRECTORY)
_VOLUME: Final = "spec.podTemplate.volumes[]"
_MOUNT: Final = "spec.podTemplate.volumeMounts[]"


def overlap(one: str, other: str) -> bool:
    """Whether two absolute directories are the same, or one lies in the other."""
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


def _overlap_cel(path: str, directory: str) -> str:
    """``overlap`` in CEL; ``directory`` is ours and has no slash at its end."""
    return (
        f"(({path} + '/').startsWith('{directory}/') "
        f"|| '{directory}/'.startsWith({path}.endsWith('/') ? {path} : {path} + '/'))"
    )


def volume_rules() -> Iterator[Rule]:
    """The rules for volumes, then those for mounts."""
    yield Rule(
        path=_VOLUME,
        field="",
        cel="[has(self.persistentVolumeClaim), has(self.configMap), has(self.secret), has(self.hostPath)]"
        ".filter(set, set).size() == 1",
        holds=_has_one_source,
        reason="VolumeSourceNotOne",
        message="a volume has exactly one source; set one of persistentVolumeClaim, configMap, secret and hostPath",
    )
    yield Rule(
        path=_VOLUME,
        field="name",
        cel=f"!self.name.startsWith('{VOLUME_PREFIX}')",
        holds=lambda volume: not volume.name.startswith(VOLUME_PREFIX),
        reason="VolumeNameReserved",
        message=f"name must not begin with {VOLUME_PREFIX}: the operator's own volumes are named so; "
        "choose another name",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path="spec.podTemplate",
        field="volumeMounts",
        cel="!has(self.volumeMounts) || self.volumeMounts.all(mount, "
        "has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))",
        holds=_mounts_are_volumes,
        reason="VolumeUnknown",
        message="volumeMounts names a volume that podTemplate.volumes does not have; add the volume, "
        "or correct the name",
    )
    yield from _mount_rules()


def _mount_rules() -> Iterator[Rule]:
    yield Rule(
        path=_MOUNT,
        field="mountPath",
        cel="!('..' in self.mountPath.split('/'))",
        holds=lambda mount: ".." not in mount.mount_path.split("/"),
        reason="MountPathClimbs",
        message="mountPath must not contain '..': the kubelet refuses it; write the directory in full",
    )
    yield Rule(
        path=_MOUNT,
        field="mountPath",
        cel="!self.mountPath.contains('//') && !('.' in self.mountPath.split('/'))",
        holds=lambda mount: "//" not in mount.mount_path and "." not in mount.mount_path.split("/"),
        reason="MountPathNotPlain",
        message="mountPath must contain neither '//' nor '.' as a part: two spellings of one directory would "
        "collide unseen; write the directory plainly",
    )
    yield Rule(
        path=_MOUNT,
        field="mountPath",
        cel=" && ".join(f"!{_overlap_cel('self.mountPath', directory)}" for directory in _RESERVED),
        holds=_leaves_ours_alone,
        reason="MountPathReserved",
        message=f"mountPath is, holds or lies in one of the operator's own directories {' and '.join(_RESERVED)}; "
        "choose a directory apart from them",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path="spec",
        field="podTemplate.volumeMounts",
        cel="!has(self.podTemplate) || !has(self.podTemplate.volumeMounts) "
        "|| (has(self.weights) && has(self.weights.source) && self.weights.source.startsWith('path://')) "
        f"|| self.podTemplate.volumeMounts.all(mount, !{_overlap_cel('mount.mountPath', WEIGHTS_DIRECTORY)})",
        holds=_leaves_weights_alone,
        reason="MountPathOfWeights",
        message=f"podTemplate.volumeMounts has a mountPath that is, holds or lies in {WEIGHTS_DIRECTORY}, where the "
        f"operator mounts the weights; choose another directory, or let weights.source name your own volume with "
        f"path://{WEIGHTS_DIRECTORY}",
        cel_reason="FieldValueForbidden",
    )


def _has_one_source(volume: Volume) -> bool:
    sources = (volume.persistent_volume_claim, volume.config_map, volume.secret, volume.host_path)
    return sum(source is not None for source in sources) == 1


def _mounts_are_volumes(template: PodTemplate) -> bool:
    names = {volume.name for volume in template.volumes}
    return all(mount.name in names for mount in template.volume_mounts)


def _leaves_ours_alone(mount: VolumeMount) -> bool:
    return not any(overlap(mount.mount_path, directory) for directory in _RESERVED)


def _leaves_weights_alone(spec: Spec) -> bool:
    if (spec.weights.source or "").startswith("path://"):
        return True
    return not any(overlap(mount.mount_path, WEIGHTS_DIRECTORY) for mount in spec.pod_template.volume_mounts)
