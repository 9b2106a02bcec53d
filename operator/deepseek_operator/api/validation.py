"""What can never work, whatever the cluster: the rules between fields of a ``DeepSeekDeployment``.

Each rule is written twice, side by side: in CEL, so that ``kubectl apply`` is refused by the API server
without a webhook, and in Python, so that ``plan`` and ``render`` refuse the same without a cluster, in the
same words. ``tests/api/test_crd.py`` holds each pair to the same verdict. What depends on the catalogue or
on the nodes is not here but in the plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from deepseek_operator.api.batch_rules import batch_rules
from deepseek_operator.api.names import MAX_NAME_LENGTH
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.rule import Rule
from deepseek_operator.api.volume_rules import volume_rules
from deepseek_operator.api.weights_rules import weights_rules

if TYPE_CHECKING:
    from deepseek_operator.api.base import Model
    from deepseek_operator.api.operation import Toleration
    from deepseek_operator.api.resource import KeysSecret, Parallelism, Spec

LIST_KEYS: Final[Mapping[str, str]] = {
    "spec.engine.env": "name",
    "spec.podTemplate.volumes": "name",
    "spec.podTemplate.volumeMounts": "mountPath",
    "status.conditions": "type",
}
"""Lists whose items are told apart by one field: two items with the same value are refused.

``status.groups`` is none of them. The operator alone writes it, always whole, and an API server that follows who owns
which field of which group spends 78 ms of processor time on a status of 50 groups, against 45 ms when it is one value.
"""

SETS: Final = ("spec.engine.imagePullSecrets",)
"""Lists of plain values in which each value stands once."""

_DNS_LABEL: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
_GROUP_SUFFIX: Final = "-g[0-9]+$"


def _name_rules() -> Iterator[Rule]:
    def rule(cel: str, holds: Callable[[str], bool], reason: str, message: str) -> Rule:
        return Rule(path="", field="metadata.name", cel=cel, holds=holds, reason=reason, message=message)

    yield rule(
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        lambda name: len(name) <= MAX_NAME_LENGTH,
        "NameTooLong",
        f"metadata.name must have at most {MAX_NAME_LENGTH} characters: the names of pods and their DNS "
        "records are made from it; choose a shorter name",
    )
    yield rule(
        f"self.metadata.name.matches('{_DNS_LABEL}')",
        lambda name: re.fullmatch(_DNS_LABEL, name) is not None,
        "NameNotDNSLabel",
        "metadata.name must be a DNS label (RFC 1035): it is a Service's name too; use lower-case letters, "
        "digits and '-', with a letter first and no '-' last",
    )
    yield rule(
        f"!self.metadata.name.matches('{_GROUP_SUFFIX}')",
        lambda name: re.search(_GROUP_SUFFIX, name) is None,
        "NameLooksLikeGroup",
        "metadata.name must not end in -g<number>: x-g0 is the first group of a deployment x; choose another ending",
    )


def _parallelism_rules() -> Iterator[Rule]:
    path = "spec.parallelism"
    yield Rule(
        path=path,
        field="attentionData",
        cel="!has(self.tensor) || !has(self.attentionData) || self.tensor % self.attentionData == 0",
        holds=_attention_divides_tensor,
        reason="AttentionDataNotDivisor",
        message="attentionData must divide tensor: attention is replicated inside the tensor-parallel "
        "group; set attentionData to a divisor of tensor, or leave one of them out",
    )
    yield Rule(
        path=path,
        field="expert",
        cel="!has(self.tensor) || !has(self.expert) || self.expert <= self.tensor",
        holds=lambda p: p.tensor is None or p.expert is None or p.expert <= p.tensor,
        reason="ExpertBeyondTensor",
        message="expert must not exceed tensor: experts are spread over the tensor-parallel group; "
        "lower expert, or leave one of them out",
    )
    yield Rule(
        path=path,
        field="nodes",
        cel="!has(self.nodes) || !has(self.tensor) || !has(self.pipeline) "
        "|| self.tensor * self.pipeline % self.nodes == 0",
        holds=_ranks_spread_evenly,
        reason="NodesNotDivisor",
        message="nodes must divide tensor x pipeline: every node runs the same number of accelerators; "
        "change one of the three, or leave nodes out",
    )


def _attention_divides_tensor(split: Parallelism) -> bool:
    return split.tensor is None or split.attention_data is None or split.tensor % split.attention_data == 0


def _ranks_spread_evenly(split: Parallelism) -> bool:
    if split.nodes is None or split.tensor is None or split.pipeline is None:
        return True
    return split.tensor * split.pipeline % split.nodes == 0


def _keys_rules() -> Iterator[Rule]:
    def needs_name(keys: KeysSecret) -> bool:
        return keys.mode != "secret" or keys.secret_name is not None

    def may_have_name(keys: KeysSecret) -> bool:
        return keys.mode == "secret" or keys.secret_name is None

    yield Rule(
        path="spec.access.keys",
        field="secretName",
        cel="!has(self.mode) || self.mode != 'secret' || has(self.secretName)",
        holds=needs_name,
        reason="SecretNameMissing",
        message="secretName is missing: mode secret reads your own Secret; set secretName, or use mode generate",
        cel_reason="FieldValueRequired",
    )
    yield Rule(
        path="spec.access.keys",
        field="secretName",
        cel="!has(self.secretName) || (has(self.mode) && self.mode == 'secret')",
        holds=may_have_name,
        reason="SecretNameUnused",
        message="secretName is only read with mode secret; set mode to secret, or remove secretName",
        cel_reason="FieldValueForbidden",
    )


def _toleration_rules() -> Iterator[Rule]:
    def exists_has_no_value(toleration: Toleration) -> bool:
        return toleration.operator != "Exists" or not toleration.value

    def equal_has_key(toleration: Toleration) -> bool:
        return toleration.operator == "Exists" or toleration.key is not None

    path = "spec.scheduling.tolerations[]"
    yield Rule(
        path=path,
        field="value",
        cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        holds=exists_has_no_value,
        reason="TolerationValueUnused",
        message="value has no meaning with operator Exists; remove value, or use operator Equal",
        cel_reason="FieldValueForbidden",
    )
    yield Rule(
        path=path,
        field="key",
        cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
        holds=equal_has_key,
        reason="TolerationKeyMissing",
        message="key is missing: operator Equal compares one taint; set key, or use operator Exists for all taints",
        cel_reason="FieldValueRequired",
    )


def _gang_rules() -> Iterator[Rule]:
    path = "spec.scheduling"
    yield Rule(
        path=path,
        field="queue",
        cel="!has(self.queue) || (has(self.gang) && self.gang in ['volcano', 'kueue', 'kai'])",
        holds=lambda scheduling: scheduling.queue is None or scheduling.gang in {"volcano", "kueue", "kai"},
        reason="QueueWithoutGang",
        cel_reason="FieldValueForbidden",
        message="queue is only read with gang volcano, kueue or kai; set gang, or remove queue",
    )
    yield Rule(
        path=path,
        field="queue",
        cel="!has(self.gang) || self.gang != 'kueue' || has(self.queue)",
        holds=lambda scheduling: scheduling.gang != "kueue" or scheduling.queue is not None,
        reason="QueueMissing",
        cel_reason="FieldValueRequired",
        message="queue is missing: Kueue admits by LocalQueue; set queue to one of the namespace",
    )


def _engine_rules() -> Iterator[Rule]:
    path = "spec.engine"
    yield Rule(
        path=path,
        field="backend",
        cel="!has(self.backend) || (has(self.name) && self.name == 'vllm')",
        holds=lambda engine: engine.backend is None or engine.name == "vllm",
        reason="BackendNotOfEngine",
        cel_reason="FieldValueForbidden",
        message="backend is a choice of vLLM's alone; set name to vllm, or remove backend",
    )
    yield Rule(
        path=path,
        field="image",
        cel="!has(self.backend) || self.backend != 'ray' || has(self.image)",
        holds=lambda engine: engine.backend != "ray" or engine.image is not None,
        reason="RayWithoutImage",
        cel_reason="FieldValueRequired",
        message="vLLM's own images have no Ray; set image to one with ray installed, or remove backend",
    )


def _rollout_rules() -> Iterator[Rule]:
    yield Rule(
        path="spec.rollout",
        field="maxUnavailable",
        cel="!has(self.maxUnavailable) || self.maxUnavailable > 0 || (has(self.maxSurge) && self.maxSurge > 0)",
        holds=lambda rollout: rollout.max_unavailable > 0 or rollout.max_surge > 0,
        reason="RolloutCannotMove",
        message="maxUnavailable and maxSurge must not both be 0: no group could ever be replaced; set one of them to 1",
    )


RULES: Final[tuple[Rule, ...]] = (
    *_name_rules(),
    *_parallelism_rules(),
    *weights_rules(),
    *_keys_rules(),
    *_toleration_rules(),
    *volume_rules(),
    *_rollout_rules(),
    *_gang_rules(),
    *_engine_rules(),
    *batch_rules(),
)


def problems(*, name: str, spec: Spec) -> tuple[Problem, ...]:
    """What the API server would refuse of an object that the models accept; empty when nothing."""
    found = [
        Problem(
            field=".".join(part for part in (place, rule.field) if part),
            reason=rule.reason,
            message=rule.message,
        )
        for rule in RULES
        for place, value in (_values(rule.path, spec) if rule.path else (("", name),))
        if not rule.holds(value)
    ]
    return (*found, *_repeated(spec))


def _repeated(spec: Spec) -> Iterator[Problem]:
    """Values that stand twice in a list where each may stand once."""
    keys = [*LIST_KEYS.items(), *((path, None) for path in SETS)]
    for path, key in keys:
        if not path.startswith("spec."):
            continue
        seen = set()
        for place, item in _values(f"{path}[]", spec):
            value = item if key is None else _child(item, key)
            if value in seen:
                yield Problem(
                    field=place if key is None else f"{place}.{key}",
                    reason="Duplicate",
                    message=f"{value!r} stands there twice; remove one of the two",
                )
            seen.add(value)


def _values(path: str, spec: Spec) -> list[tuple[str, Any]]:
    """The values under a path that begins with ``spec``, each with its place (``…tolerations[1]``)."""
    values: list[tuple[str, Any]] = [("spec", spec)]
    for name in path.split(".")[1:]:
        field = name.removesuffix("[]")
        found = ((f"{place}.{field}", _child(value, field)) for place, value in values)
        # An optional block that is not there has no rules to keep.
        values = [(place, value) for place, value in found if value is not None]
        if name.endswith("[]"):
            values = [(f"{place}[{index}]", item) for place, items in values for index, item in enumerate(items)]
    return values


def _child(model: Model | None, alias: str) -> Any:
    if model is None:
        return None
    names = {info.alias: name for name, info in type(model).model_fields.items()}
    return getattr(model, names[alias])
