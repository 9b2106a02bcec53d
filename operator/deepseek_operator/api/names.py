"""Group, kind, labels, annotations and the names of children: everything that is expensive to rename.

The layout of names is docs/architecture.md, "Objects". A custom resource ``x`` owns
groups ``x-g0 … x-g63``; CEL on ``metadata.name`` keeps ``x`` itself from looking like a group.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "serving.deepseek-operator.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DeepSeekDeployment"
PLURAL: Final = "deepseekdeployments"
SHORT_NAME: Final = "dsd"

FIELD_MANAGER: Final = "deepseek-operator"

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "deepseek-operator"
DEPLOYMENT_LABEL: Final = f"{GROUP}/deployment"
"""Name of the owning DeepSeekDeployment; on every child."""
UID_LABEL: Final = f"{GROUP}/uid"
"""UID of the owning DeepSeekDeployment; on every child and every pod."""
GROUP_LABEL: Final = f"{GROUP}/group"
"""Index of the group, decimal; on a group's objects and pods."""
INCARNATION_LABEL: Final = f"{GROUP}/incarnation"
"""Counter of the group's starts; on the pod template and its pods."""
REVISION_LABEL: Final = f"{GROUP}/revision"
"""Hash of the revision; on the pod template, its pods and the ControllerRevision."""
REVISION_OF_LABEL: Final = f"{GROUP}/revision-of"
"""UID of the owner; only on our ControllerRevisions, apart from any pod selector."""

WEIGHTS_LABEL: Final = f"{GROUP}/weights"
"""On what keeps weights: the claim's name for a node's directory, the Job's for its pods."""
KERNELS_LABEL: Final = f"{GROUP}/kernels"
"""On what keeps compiled kernels: the claim's name."""
WEIGHTS_ANNOTATION: Final = f"{GROUP}/weights-of"
"""On what keeps weights: source, revision and size as JSON, for people and ``kubectl deepseek cache``."""
PULL_LABEL: Final = f"{GROUP}/pull"
"""On a pod that only brings an image to a node: which deployment's, and no rank of any group."""
PULL_GATE: Final = f"{GROUP}/never-ready"
"""Readiness gate of such a pod: no Service may send it a request."""

CATALOG_LABEL: Final = f"{GROUP}/catalog"
"""Value ``true`` on a ConfigMap in the operator's own namespace: its keys extend the catalogue."""

DESIRED_HASH_ANNOTATION: Final = f"{GROUP}/desired-hash"
TEMPLATE_HASH_ANNOTATION: Final = f"{GROUP}/template-hash"
"""On a group's workload: the hash of the stored pod template that it runs."""
REVISION_COPY_ANNOTATION: Final = f"{GROUP}/revision-copy"
"""On a group's workload: the stored revision that it runs, packed, in case the ControllerRevision is lost."""
IMMUTABLE_HASH_ANNOTATION: Final = f"{GROUP}/immutable-hash"
"""On a group's workload: the hash of the fields that only delete-and-create can change."""

PAUSED_ANNOTATION: Final = f"{GROUP}/paused"
"""Set by users on a DeepSeekDeployment: with the value ``true`` the operator keeps its hands off."""

POD_INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
LEADER_INDEX: Final = "0"
JOB_INDEX_LABEL: Final = "batch.kubernetes.io/job-completion-index"
"""The rank of a pod of an Indexed Job."""

ENGINE_CONTAINER: Final = "engine"
PULL_CONTAINER: Final = "pull"
PREFLIGHT_CONTAINER: Final = "preflight"
FETCH_CONTAINER: Final = "fetch-weights"
CONVERT_CONTAINER: Final = "convert-weights"
VERIFY_CONTAINER: Final = "verify-weights"

VOLUME_PREFIX: Final = "deepseek-"
"""The names of all our volumes of a pod begin so; those of podTemplate must not."""
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where it is mounted, not a file in it
RUN_DIRECTORY: Final = "/run/deepseek"
"""Lives as long as the pod: whether its engine was started before, and what the barrier agreed on."""
WEIGHTS_DIRECTORY: Final = "/models"
"""Where the volume of weights appears, unless the user's own volume holds them."""
SOURCE_DIRECTORY: Final = "/source"
"""Where the user's own claim appears that a conversion reads."""

PROMPTS_DIRECTORY: Final = "/prompts"
"""Where the volume with a batch's prompts appears."""
ANSWERS_DIRECTORY: Final = "/answers"
"""Where the claim for a batch's answers appears."""
SSH_DIRECTORY: Final = "/run/deepseek-ssh"
"""Where ranks that are started over ssh find their key pair."""

API_PORT: Final = 8000
"""The port of the API Service and of the engine's HTTP server, whatever the engine."""

MAX_NAME_LENGTH: Final = 40
MAX_REPLICAS: Final = 64


def group_name(deployment: str, index: int) -> str:
    """The name of a group's StatefulSet or Job, headless Service, NetworkPolicy and PodDisruptionBudget."""
    return f"{deployment}-g{index}"


def keys_name(deployment: str) -> str:
    """The name of the Secret with the generated API key and admin key."""
    return f"{deployment}-keys"


def ssh_name(deployment: str) -> str:
    """The name of the Secret with the key pair of ranks that are started over ssh."""
    return f"{deployment}-ssh"


def revision_name(deployment: str, revision: str) -> str:
    """The name of the ControllerRevision that stores a revision's plan and pod template."""
    return f"{deployment}-{revision}"


def weights_job_name(deployment: str, digest: str) -> str:
    """The name of the Job that fills a shared claim; a changed Job has another digest."""
    return f"{deployment}-weights-{digest}"


def pull_name(deployment: str, digest: str) -> str:
    """The name of the pod that brings an image to a node; the digest is of both."""
    return f"{deployment}-pull-{digest}"


def pod_name(deployment: str, index: int, rank: int) -> str:
    """The name of one rank's pod; it is the pod's host name too."""
    return f"{group_name(deployment, index)}-{rank}"


def leader_address(deployment: str, index: int, namespace: str, *, cluster_domain: str) -> str:
    """The DNS name of a group's rank 0: it resolves to the pod's own IP, never to a Service's."""
    group = group_name(deployment, index)
    return f"{group}-0.{group}.{namespace}.svc.{cluster_domain}"
