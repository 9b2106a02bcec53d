"""Rules of ``spec.weights``: sources that can be read, caches that something fills, paths that are mounted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from deepseek_operator.api.rule import Rule

if TYPE_CHECKING:
    from deepseek_operator.api.resource import Spec

_HUB: Final = "^hf://[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*$"
_MODELSCOPE: Final = "^modelscope://[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*$"
_S3: Final = "^s3://[a-z0-9][-a-z0-9.]+(/.*)?$"
_SOURCES: Final = (_HUB, _MODELSCOPE, _S3, "^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/.+$", "^path:///[^/].*$")


def weights_rules() -> Iterator[Rule]:
    """Every rule of ``spec.weights``."""
    path = "spec.weights"
    yield Rule(
        path=path,
        field="source",
        cel="!has(self.source) || " + " || ".join(f"self.source.matches('{pattern}')" for pattern in _SOURCES),
        holds=lambda w: w.source is None or any(re.fullmatch(p, w.source) for p in _SOURCES),
        reason="SourceUnknown",
        message="source is none of the known forms; write hf://org/name or modelscope://org/name (a hub repository), "
        "s3://bucket/prefix, pvc://claim/path (a directory of a claim) or path:///dir (a directory of a volume in "
        "spec.podTemplate)",
    )
    yield Rule(
        path=path,
        field="source",
        cel="!has(self.source) || !('..' in self.source.split('/'))",
        holds=lambda w: w.source is None or ".." not in w.source.split("/"),
        reason="SourceLeavesVolume",
        message="source must not contain '..': it would leave the volume; write the directory in full",
    )
    yield Rule(
        path=path,
        field="tokenSecret",
        cel="!has(self.tokenSecret) || !has(self.source) || self.source.startsWith('hf://') "
        "|| self.source.startsWith('modelscope://')",
        holds=lambda w: w.token_secret is None or w.source is None or w.source.startswith(("hf://", "modelscope://")),
        reason="TokenWithoutHub",
        message="tokenSecret is only read for a source on a hub; remove it, or use an hf:// or modelscope:// source",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path=path,
        field="credentialsSecret",
        cel="!has(self.credentialsSecret) || (has(self.source) && self.source.startsWith('s3://'))",
        holds=lambda w: w.credentials_secret is None or (w.source or "").startswith("s3://"),
        reason="CredentialsWithoutS3",
        message="credentialsSecret is only read for an s3:// source; remove it, or use an s3:// source",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path=path,
        field="claimName",
        cel="!has(self.cache) || self.cache != 'claim' || has(self.claimName)",
        holds=lambda w: w.cache != "claim" or w.claim_name is not None,
        reason="ClaimNameMissing",
        message="claimName is missing: cache claim fills a claim of yours; set claimName, or use another cache",
        cel_reason="FieldValueRequired",
    )
    yield Rule(
        path=path,
        field="claimName",
        cel="!has(self.claimName) || !has(self.cache) || self.cache in ['auto', 'claim']",
        holds=lambda w: w.claim_name is None or w.cache in {"auto", "claim"},
        reason="ClaimNameUnused",
        message="claimName is only read with cache claim; set cache to claim, or remove claimName",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path=path,
        field="storageClassName",
        cel="!has(self.storageClassName) || (!has(self.claimName) && (!has(self.cache) "
        "|| self.cache in ['auto', 'perRank']))",
        holds=lambda w: w.storage_class_name is None or (w.claim_name is None and w.cache in {"auto", "perRank"}),
        reason="StorageClassUnused",
        message="storageClassName is only read with cache perRank; set cache to perRank, or remove storageClassName",
        cel_reason="FieldValueForbidden",
    )
    own = "(self.weights.source.startsWith('pvc://') || self.weights.source.startsWith('path://'))"
    unset = "(!has(self.weights.cache) || self.weights.cache == 'auto') && !has(self.weights.claimName)"
    yield Rule(
        path="spec",
        field="weights.cache",
        cel=f"!has(self.weights) || !has(self.weights.source) || !{own} "
        f"|| ({unset} && !has(self.weights.storageClassName)) || (has(self.precision) && self.precision == 'bf16')",
        holds=_cache_is_used,
        reason="CacheWithoutFetch",
        message="weights.cache, claimName and storageClassName are for weights that are fetched or cast to bf16: a "
        "claim or a mounted directory is used where it is; remove them, or use an hf://, modelscope:// or s3:// source",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path="spec",
        field="weights.source",
        cel="!has(self.weights) || !has(self.weights.source) || !self.weights.source.startsWith('path://') "
        "|| (has(self.podTemplate) && has(self.podTemplate.volumeMounts) "
        "&& self.podTemplate.volumeMounts.exists(mount, (self.weights.source.substring(7) + '/')"
        ".startsWith(mount.mountPath.endsWith('/') ? mount.mountPath : mount.mountPath + '/')))",
        holds=_path_is_mounted,
        reason="SourceNotMounted",
        message="weights.source names a directory that no volume provides: weights are never kept in a "
        "container's own layer; mount a volume there with podTemplate.volumes and podTemplate.volumeMounts",
    )


def _cache_is_used(spec: Spec) -> bool:
    weights = spec.weights
    own = (weights.source or "").startswith(("pvc://", "path://"))
    asked = weights.cache != "auto" or weights.claim_name is not None or weights.storage_class_name is not None
    return not own or not asked or spec.precision == "bf16"


def _path_is_mounted(spec: Spec) -> bool:
    source = spec.weights.source
    if source is None or not source.startswith("path://"):
        return True
    directory = source.removeprefix("path://") + "/"
    mounts = (mount.mount_path.rstrip("/") + "/" for mount in spec.pod_template.volume_mounts)
    return any(directory.startswith(mount) for mount in mounts)
