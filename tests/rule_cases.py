"""For each rule of ``api/validation.py`` an object that it refuses and one that it lets pass.

The unit tests judge them in Python, the tests against the API server by CEL: both must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the path under test


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``bad`` breaks the rule ``reason`` and no other; ``good`` is the nearest that works."""

    reason: str
    field: str
    bad: Spec
    good: Spec
    bad_name: str = "sample"
    good_name: str = "sample"


def _template(*, mounts: list[dict[str, str]], volumes: list[dict[str, str]] | None = None) -> Spec:
    claim = [{"name": "weights", "persistentVolumeClaim": "weights"}]
    return {"podTemplate": {"volumes": claim if volumes is None else volumes, "volumeMounts": mounts}}


def _tolerate(**toleration: str) -> Spec:
    return {"scheduling": {"tolerations": [toleration]}}


def _batch(*, prompts: dict[str, str] | None = None, **more: dict[str, str]) -> Spec:
    return {"engine": {"name": "deepseek-infer"}, "batch": {"prompts": prompts or {"configMap": "p"}, **more}}


CASES: tuple[Case, ...] = (
    Case(
        reason="BackendNotOfEngine",
        field="spec.engine.backend",
        bad={"engine": {"backend": "mp"}},
        good={"engine": {"backend": "mp", "name": "vllm"}},
    ),
    Case(
        reason="RayWithoutImage",
        field="spec.engine.image",
        bad={"engine": {"backend": "ray", "name": "vllm"}},
        good={"engine": {"backend": "ray", "name": "vllm", "image": "registry.example/vllm-with-ray:1"}},
    ),
    Case(
        reason="NameTooLong",
        field="metadata.name",
        bad={},
        good={},
        bad_name="a" * 41,
        good_name="a" * 40,
    ),
    Case(reason="NameNotDNSLabel", field="metadata.name", bad={}, good={}, bad_name="1a", good_name="a1"),
    Case(reason="NameNotDNSLabel", field="metadata.name", bad={}, good={}, bad_name="a.b", good_name="a-b"),
    Case(
        reason="NameLooksLikeGroup",
        field="metadata.name",
        bad={},
        good={},
        bad_name="a-g12",
        good_name="a-g12b",
    ),
    Case(
        reason="AttentionDataNotDivisor",
        field="spec.parallelism.attentionData",
        bad={"parallelism": {"tensor": 16, "attentionData": 3}},
        good={"parallelism": {"tensor": 16, "attentionData": 4}},
    ),
    Case(
        reason="ExpertBeyondTensor",
        field="spec.parallelism.expert",
        bad={"parallelism": {"tensor": 8, "expert": 16}},
        good={"parallelism": {"tensor": 16, "expert": 16}},
    ),
    Case(
        reason="NodesNotDivisor",
        field="spec.parallelism.nodes",
        bad={"parallelism": {"tensor": 8, "pipeline": 2, "nodes": 3}},
        good={"parallelism": {"tensor": 8, "pipeline": 3, "nodes": 3}},
    ),
    Case(
        reason="SourceUnknown",
        field="spec.weights.source",
        bad={"weights": {"source": "hf://only-a-name"}},
        good={"weights": {"source": "hf://deepseek-ai/DeepSeek-V3-0324"}},
    ),
    Case(
        reason="SourceUnknown",
        field="spec.weights.source",
        bad={"weights": {"source": "pvc://claim"}},
        good={"weights": {"source": "pvc://claim/DeepSeek-V3"}},
    ),
    Case(
        reason="SourceLeavesVolume",
        field="spec.weights.source",
        bad={"weights": {"source": "pvc://claim/a/../b"}},
        good={"weights": {"source": "pvc://claim/a/..b"}},
    ),
    Case(
        reason="TokenWithoutHub",
        field="spec.weights.tokenSecret",
        bad={"weights": {"source": "pvc://claim/a", "tokenSecret": {"name": "hub"}}},
        good={"weights": {"source": "hf://a/b", "tokenSecret": {"name": "hub"}}},
    ),
    Case(
        reason="SourceUnknown",
        field="spec.weights.source",
        bad={"weights": {"source": "modelscope://only-a-name"}},
        good={"weights": {"source": "modelscope://deepseek-ai/DeepSeek-V3-0324"}},
    ),
    Case(
        reason="SourceUnknown",
        field="spec.weights.source",
        bad={"weights": {"source": "s3://Bucket/v3"}},
        good={"weights": {"source": "s3://bucket/v3"}},
    ),
    Case(
        reason="TokenWithoutHub",
        field="spec.weights.tokenSecret",
        bad={"weights": {"source": "s3://bucket/v3", "tokenSecret": {"name": "hub"}}},
        good={"weights": {"source": "modelscope://a/b", "tokenSecret": {"name": "hub"}}},
    ),
    Case(
        reason="CredentialsWithoutS3",
        field="spec.weights.credentialsSecret",
        bad={"weights": {"source": "hf://a/b", "credentialsSecret": "minio"}},
        good={"weights": {"source": "s3://bucket/v3", "credentialsSecret": "minio"}},
    ),
    Case(
        reason="ClaimNameMissing",
        field="spec.weights.claimName",
        bad={"weights": {"cache": "claim"}},
        good={"weights": {"cache": "claim", "claimName": "big"}},
    ),
    Case(
        reason="ClaimNameUnused",
        field="spec.weights.claimName",
        bad={"weights": {"cache": "node", "claimName": "big"}},
        good={"weights": {"cache": "auto", "claimName": "big"}},
    ),
    Case(
        reason="StorageClassUnused",
        field="spec.weights.storageClassName",
        bad={"weights": {"cache": "node", "storageClassName": "fast"}},
        good={"weights": {"cache": "perRank", "storageClassName": "fast"}},
    ),
    Case(
        reason="CacheWithoutFetch",
        field="spec.weights.cache",
        bad={"weights": {"source": "pvc://claim/a", "cache": "node"}},
        good={"weights": {"source": "pvc://claim/a", "cache": "node"}, "precision": "bf16"},
    ),
    Case(
        reason="CacheWithoutFetch",
        field="spec.weights.cache",
        bad={"weights": {"source": "pvc://claim/a", "claimName": "big"}},
        good={"weights": {"source": "pvc://claim/a"}},
    ),
    Case(
        reason="SourceNotMounted",
        field="spec.weights.source",
        bad={
            "weights": {"source": "path:///models-old/v3"},
            **_template(mounts=[{"name": "weights", "mountPath": "/models"}]),
        },
        good={
            "weights": {"source": "path:///models/v3"},
            **_template(mounts=[{"name": "weights", "mountPath": "/models"}]),
        },
    ),
    Case(
        reason="SourceNotMounted",
        field="spec.weights.source",
        bad={"weights": {"source": "path:///models"}},
        good={
            "weights": {"source": "path:///models"},
            **_template(mounts=[{"name": "weights", "mountPath": "/models/"}]),
        },
    ),
    Case(
        reason="SecretNameMissing",
        field="spec.access.keys.secretName",
        bad={"access": {"keys": {"mode": "secret"}}},
        good={"access": {"keys": {"mode": "secret", "secretName": "mine"}}},
    ),
    Case(
        reason="SecretNameUnused",
        field="spec.access.keys.secretName",
        bad={"access": {"keys": {"secretName": "mine"}}},
        good={"access": {"keys": {"mode": "none"}}},
    ),
    Case(
        reason="TolerationValueUnused",
        field="spec.scheduling.tolerations[0].value",
        bad=_tolerate(key="team", operator="Exists", value="a"),
        good=_tolerate(key="team", operator="Equal", value="a"),
    ),
    Case(
        reason="TolerationKeyMissing",
        field="spec.scheduling.tolerations[0].key",
        bad=_tolerate(effect="NoSchedule"),
        good=_tolerate(operator="Exists", effect="NoSchedule"),
    ),
    Case(
        reason="VolumeSourceNotOne",
        field="spec.podTemplate.volumes[0]",
        bad=_template(mounts=[], volumes=[{"name": "a", "secret": "s", "configMap": "c"}]),
        good=_template(mounts=[], volumes=[{"name": "a", "secret": "s"}]),
    ),
    Case(
        reason="VolumeSourceNotOne",
        field="spec.podTemplate.volumes[0]",
        bad=_template(mounts=[], volumes=[{"name": "a"}]),
        good=_template(mounts=[], volumes=[{"name": "a", "hostPath": "/a"}]),
    ),
    Case(
        reason="VolumeUnknown",
        field="spec.podTemplate.volumeMounts",
        bad=_template(mounts=[{"name": "weigths", "mountPath": "/data"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/data"}]),
    ),
    Case(
        reason="MountPathClimbs",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/a/../b"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/a/b..c"}]),
    ),
    Case(
        reason="RolloutCannotMove",
        field="spec.rollout.maxUnavailable",
        bad={"rollout": {"maxUnavailable": 0, "maxSurge": 0}},
        good={"rollout": {"maxUnavailable": 0, "maxSurge": 1}},
    ),
    Case(
        reason="QueueWithoutGang",
        field="spec.scheduling.queue",
        bad={"scheduling": {"queue": "q", "gang": "coscheduling"}},
        good={"scheduling": {"queue": "q", "gang": "volcano"}},
    ),
    Case(
        reason="QueueMissing",
        field="spec.scheduling.queue",
        bad={"scheduling": {"gang": "kueue"}},
        good={"scheduling": {"gang": "kueue", "queue": "q"}},
    ),
    Case(
        reason="MountPathNotPlain",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/a//b"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/a/b/"}]),
    ),
    Case(
        reason="MountPathNotPlain",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/a/./b"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/a/.b"}]),
    ),
    Case(
        reason="MountPathReserved",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": SHARED_MEMORY}]),
        good=_template(mounts=[{"name": "weights", "mountPath": f"{SHARED_MEMORY}em"}]),
    ),
    Case(
        reason="MountPathReserved",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": f"{SHARED_MEMORY}/a"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/dev/a"}]),
    ),
    Case(
        reason="MountPathReserved",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/run/"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/running"}]),
    ),
    Case(
        reason="MountPathReserved",
        field="spec.podTemplate.volumeMounts[0].mountPath",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/run/deepseek/"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/run/deepseek-a"}]),
    ),
    Case(
        reason="MountPathOfWeights",
        field="spec.podTemplate.volumeMounts",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/models"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/models-old"}]),
    ),
    Case(
        reason="MountPathOfWeights",
        field="spec.podTemplate.volumeMounts",
        bad=_template(mounts=[{"name": "weights", "mountPath": "/models/v3"}]),
        good=_template(mounts=[{"name": "weights", "mountPath": "/data/models"}]),
    ),
    Case(
        reason="MountPathOfWeights",
        field="spec.podTemplate.volumeMounts",
        bad={
            "weights": {"source": "pvc://mine/v3"},
            **_template(mounts=[{"name": "weights", "mountPath": "/models/"}]),
        },
        good={
            "weights": {"source": "path:///models/v3"},
            **_template(mounts=[{"name": "weights", "mountPath": "/models/"}]),
        },
    ),
    Case(
        reason="VolumeNameReserved",
        field="spec.podTemplate.volumes[0].name",
        bad=_template(mounts=[], volumes=[{"name": "deepseek-shm", "secret": "s"}]),
        good=_template(mounts=[], volumes=[{"name": "deepseek", "secret": "s"}]),
    ),
    Case(
        reason="BatchNotInEngine",
        field="spec.batch",
        bad={"batch": {"prompts": {"configMap": "p"}}},
        good=_batch(),
    ),
    Case(
        reason="BatchNotInEngine",
        field="spec.batch",
        bad=_batch() | {"engine": {"name": "sglang"}},
        good=_batch(),
    ),
    Case(
        reason="BatchInManyGroups",
        field="spec.replicas",
        bad=_batch() | {"replicas": 2},
        good=_batch() | {"replicas": 0},
    ),
    Case(
        reason="PromptsVolume",
        field="spec.batch.prompts",
        bad=_batch(prompts={"configMap": "p", "persistentVolumeClaim": "p"}),
        good=_batch(prompts={"persistentVolumeClaim": "p"}),
    ),
    Case(
        reason="PromptsVolume",
        field="spec.batch.prompts",
        bad=_batch(prompts={"path": "p.txt"}),
        good=_batch(),
    ),
    Case(
        reason="PathLeavesVolume",
        field="spec.batch.prompts.path",
        bad=_batch(prompts={"configMap": "p", "path": "a/../b"}),
        good=_batch(prompts={"configMap": "p", "path": "a..b"}),
    ),
    Case(
        reason="PathLeavesVolume",
        field="spec.batch.answers.path",
        bad=_batch(answers={"persistentVolumeClaim": "c", "path": ".."}),
        good=_batch(answers={"persistentVolumeClaim": "c", "path": "a/b.txt"}),
    ),
)
