from __future__ import annotations

import json
import re
import tomllib
from itertools import product
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.crd import crd
from deepseek_operator.control import kinds
from deepseek_operator.control.leader import LEASE_NAME
from e2e.release.generate import CHART, INSTALL, ROOT
from e2e.release.values import Values

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
OBJECTS = list(yaml.safe_load_all(INSTALL.read_text(encoding="utf-8")))


def rights_in_code() -> dict[tuple[str, str], set[str]]:
    """The table in the docstring of ``control/kinds.py``: (group, resource) to verbs."""
    assert kinds.__doc__ is not None
    kept_by = (
        "kopf watch|own watch, or read|list at verify|list at planning|never read|with its volume|"
        "read while stuck|read when it exists|read by the elector"
    )
    rows = re.findall(rf"^(\w+) +(?:{kept_by}) +(.*)$", kinds.__doc__, re.MULTILINE)
    rights: dict[tuple[str, str], set[str]] = {}
    for name, words in rows:
        verbs, *subresources = words.split("; ")
        found = kinds.BY_KIND[name]
        rights[found.group, found.plural] = set(verbs.split())
        for subresource in subresources:
            part, _, allowed = subresource.partition(": ")
            rights[found.group, f"{found.plural}/{part}"] = set(allowed.split())
    told = re.search(r"``POD_GROUPS``\) are [\w ]+: ([\w ]+)\.", kinds.__doc__)
    assert told is not None
    return rights | {(kind.group, kind.plural): set(told[1].split()) for kind in kinds.POD_GROUPS.values()}


def installed(kind: str, name: str = "deepseek-operator") -> dict[str, Any]:
    (found,) = [item for item in OBJECTS if item["kind"] == kind and item["metadata"]["name"] == name]
    return dict(found)


def test_values_file_lists_every_value_with_its_default() -> None:
    assert Values().model_dump(by_alias=True, exclude={"global_"}) | {"config": {}} == VALUES


def test_the_configuration_that_the_chart_takes_is_the_operators() -> None:
    assert SCHEMA["properties"]["config"]["$ref"] == "#/$defs/OperatorConfig"
    assert (
        SCHEMA["$defs"]["OperatorConfig"]["properties"].keys()
        == OperatorConfig.model_json_schema()["properties"].keys()
    )
    assert OperatorConfig.model_validate(VALUES["config"]) == OperatorConfig()


@pytest.mark.parametrize(
    "value", [{"replicas": 3}, {"image": {"digest": "latest"}}, {"replicaCount": -1}, {"config": {"a": 1}}]
)
def test_an_unknown_or_wrong_value_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Values.model_validate(value)


def test_the_schema_of_values_is_closed_at_every_level() -> None:
    objects = [SCHEMA, *SCHEMA["$defs"].values()]
    assert len(objects) > 6
    assert [item["title"] for item in objects if item["additionalProperties"] is not False] == []


def test_one_version_is_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == PROJECT["version"]
    image = installed("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"deepseek-operator:{PROJECT['version']}"


def granted(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    rights: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group, resource in product(rule["apiGroups"], rule["resources"]):
            rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


def test_the_operator_may_do_what_its_table_of_kinds_says_and_nothing_else() -> None:
    leader = installed("Role", "deepseek-operator-leader")
    assert len(rights_in_code()) == len(kinds.ALL) + 3 + len(kinds.POD_GROUPS)  # status, finalizers, log
    catalog = installed("Role", "deepseek-operator-catalog")
    roles = (installed("ClusterRole"), leader, catalog)
    everything = granted({"rules": [rule for role in roles for rule in role["rules"]]})
    # Making and changing them only with weights on the nodes, which is not the default.
    everything["", "persistentvolumes"] = rights_in_code()["", "persistentvolumes"]
    assert everything == rights_in_code()
    assert granted(roles[0])["", "persistentvolumes"] == {"get"}, "whether the node of a rank's claim is gone"
    assert granted(roles[0])["", "configmaps"] == {"get"}, "of other namespaces only the one that a deployment names"
    assert granted(catalog) == {("", "configmaps"): {"get", "list", "watch"}, ("events.k8s.io", "events"): {"create"}}
    assert granted(leader).keys() == {("coordination.k8s.io", "leases")}
    named = [rule for rule in leader["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in named] == [[LEASE_NAME]]
    assert "*" not in json.dumps([item.get("rules") for item in OBJECTS])


def test_the_operators_pods_are_restricted_and_there_are_two() -> None:
    deployment = installed("Deployment")["spec"]
    assert deployment["replicas"] == 2
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert installed("Namespace")["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert installed("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_operator_reads_its_configuration_from_the_mounted_file() -> None:
    pod = installed("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["run", "--config=/etc/deepseek-operator/config.yaml"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"config": "/etc/deepseek-operator", "tmp": "/tmp"}  # noqa: S108 - the pod's, not ours
    config = installed("ConfigMap")["data"]["config.yaml"]
    assert OperatorConfig.model_validate(yaml.safe_load(config)) == OperatorConfig()


def test_the_install_manifest_carries_the_crd_and_none_of_helms_marks() -> None:
    assert installed("CustomResourceDefinition", crd()["metadata"]["name"])["spec"] == crd()["spec"]
    assert "helm" not in INSTALL.read_text(encoding="utf-8").lower()


def test_the_image_runs_as_the_same_number_as_the_pod() -> None:
    dockerfile = (ROOT / "operator" / "Dockerfile").read_text(encoding="utf-8")
    user = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    context = installed("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert user == [(str(context["runAsUser"]), str(context["runAsGroup"]))]


def test_everything_that_the_image_copies_reaches_the_builder() -> None:
    dockerfile = (ROOT / "operator" / "Dockerfile").read_text(encoding="utf-8")
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()]
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert len(sources) > 3
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore
