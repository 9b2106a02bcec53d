"""The CRD at a real API server: accepted both ways, and every rule judged by the server's own CEL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deepseek_operator.api.names import API_VERSION, KIND
from deepseek_operator.api.status import CONDITION_TYPES
from deepseek_operator.api.validation import RULES
from e2e.cluster import Cluster, ClusterError, up
from e2e.release.generate import ROOT
from tests.rule_cases import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRD = ROOT / "crds" / "deepseekdeployments.yaml"
CRD_NAME = "deepseekdeployments.serving.deepseek-operator.io"
NAMESPACE = "crd-tests"
MESSAGES = {rule.reason: rule.message for rule in RULES}

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without an operator: here status is what the API server alone makes of it."""
    cluster = up(tmp_path_factory.mktemp("crd"))
    try:
        cluster.kubectl("apply", "--server-side", f"--filename={CRD}")
        cluster.wait_for_crd(CRD_NAME)
        cluster.kubectl("create", "namespace", NAMESPACE)
        yield cluster
    finally:
        cluster.down()


def written(name: str = "sample", **spec: object) -> str:
    """A manifest; a spec without a model gets one."""
    manifest = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": "deepseek-ai/DeepSeek-V3-0324", **spec},
    }
    return yaml.safe_dump(manifest)


def create(server: Cluster, manifest: str, *options: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        server.kubectl("create", "--filename=-", "--output=json", *options, stdin=manifest)
    )
    return answer


def refusal(server: Cluster, manifest: str) -> str:
    with pytest.raises(ClusterError) as refused:
        create(server, manifest, "--dry-run=server")
    return str(refused.value)


@pytest.mark.parametrize("options", [("--server-side", "--force-conflicts"), ()], ids=["server", "client"])
def test_the_crd_is_accepted_by_both_ways_of_applying(server: Cluster, options: tuple[str, ...]) -> None:
    # The client's way stores the whole text in an annotation of at most 256 KiB.
    server.kubectl("apply", *options, f"--filename={CRD}")
    found = json.loads(server.kubectl("get", "crd", CRD_NAME, "--output=json"))
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_each_rule_refuses_its_bad_object_with_its_message(server: Cluster, case: Case) -> None:
    message = refusal(server, written(case.bad_name, **case.bad))
    assert MESSAGES[case.reason] in message
    assert f"{case.field}: " in message
    others = [text for reason, text in MESSAGES.items() if reason != case.reason and text in message]
    assert others == []
    create(server, written(case.good_name, **case.good), "--dry-run=server")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": ""}, "spec.model"),
        ({"precision": "fp4"}, 'supported values: "auto", "fp8", "bf16", "int8"'),
        ({"replicas": 65}, "should be less than or equal to 64"),
        ({"replica": 2}, 'unknown field "spec.replica"'),
        ({"parallelism": {"tensor": 8.5}}, "spec.parallelism.tensor"),
        ({"weights": {"source": "ftp://host/weights"}}, MESSAGES["SourceUnknown"]),
        ({"hardware": {"nodeSelector": {"not a label": "x"}}}, "every key must have at most 317 characters"),
        ({"hardware": {"nodeSelector": {"a.b/c": "not a value"}}}, "spec.hardware.nodeSelector.a.b/c"),
        ({"engine": {"env": [{"name": "A"}, {"name": "A", "value": "x"}]}}, "Duplicate value"),
        ({"engine": {"imagePullSecrets": ["a", "a"]}}, "Duplicate value"),
        (
            {"podTemplate": {"volumes": [{"name": "a", "secret": "s"}, {"name": "a", "secret": "t"}]}},
            "Duplicate value",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_outside_the_schema_is_refused(server: Cluster, spec: dict[str, Any], message: str) -> None:
    assert message in refusal(server, written(**spec))


def test_an_object_without_a_model_is_refused(server: Cluster) -> None:
    manifest = yaml.safe_load(written())
    del manifest["spec"]["model"]
    assert "spec.model: Required value" in refusal(server, yaml.safe_dump(manifest))


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "manifests").glob("deepseek-*.yaml")),
    ids=lambda path: path.name,
)
def test_samples_are_accepted(server: Cluster, path: Path) -> None:
    create(server, path.read_text(encoding="utf-8"), f"--namespace={NAMESPACE}", "--dry-run=server")


def test_status_is_unknown_before_the_operator_has_seen_the_object(server: Cluster) -> None:
    # The answer to the creation itself: nobody can have visited the object before it.
    status = create(server, written("unseen"))["status"]
    assert status["observedGeneration"] == -1
    assert {condition["type"]: condition["status"] for condition in status["conditions"]} == dict.fromkeys(
        CONDITION_TYPES, "Unknown"
    )
    assert {condition["reason"] for condition in status["conditions"]} == {"Pending"}


def test_a_new_object_stores_one_default_only(server: Cluster) -> None:
    spec = create(server, written("defaults"))["spec"]
    assert spec == {"model": "deepseek-ai/DeepSeek-V3-0324", "replicas": 1}


def test_groups_are_scaled_through_the_scale_subresource(server: Cluster) -> None:
    create(server, written("scaled"))
    server.kubectl("scale", "dsd/scaled", "--replicas=3", f"--namespace={NAMESPACE}")
    raw = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/deepseekdeployments/scaled/scale"
    assert json.loads(server.kubectl("get", "--raw", raw))["spec"]["replicas"] == 3
    patch = json.dumps({"status": {"replicas": 2, "selector": "a=b"}})
    server.kubectl(
        "patch",
        "dsd/scaled",
        "--subresource=status",
        "--type=merge",
        f"--patch={patch}",
        f"--namespace={NAMESPACE}",
    )
    assert json.loads(server.kubectl("get", "--raw", raw))["status"] == {"replicas": 2, "selector": "a=b"}


def test_a_status_beyond_its_bounds_is_refused(server: Cluster) -> None:
    create(server, written("bounded"))
    patch = json.dumps({"status": {"groups": [{"index": 0, "stage": "Sleeping"}]}})
    with pytest.raises(ClusterError, match="Sleeping"):
        server.kubectl(
            "patch",
            "dsd/bounded",
            "--subresource=status",
            "--type=merge",
            f"--patch={patch}",
            f"--namespace={NAMESPACE}",
        )


def test_objects_are_selected_by_model_and_engine(server: Cluster) -> None:
    create(server, written("r-one", model="deepseek-ai/DeepSeek-R1-0528", engine={"name": "sglang"}))
    create(server, written("v-three"))

    def selected(selector: str) -> list[str]:
        output = server.kubectl(
            "get", "dsd", f"--namespace={NAMESPACE}", f"--field-selector={selector}", "--output=name"
        )
        return [line.rpartition("/")[2] for line in output.split()]

    assert selected("spec.model=deepseek-ai/DeepSeek-R1-0528") == ["r-one"]
    assert selected("spec.engine.name=sglang") == ["r-one"]
    assert "r-one" not in selected("spec.model=deepseek-ai/DeepSeek-V3-0324")


def test_columns_show_what_is_asked_for_and_what_is_the_case(server: Cluster) -> None:
    create(server, written("columns"))
    header, row = server.kubectl("get", "dsd", "columns", f"--namespace={NAMESPACE}").splitlines()
    assert " ".join(header.split()) == "NAME MODEL ENGINE HARDWARE GROUPS DESIRED READY REASON AGE"
    assert row.split()[:5] == ["columns", "deepseek-ai/DeepSeek-V3-0324", "1", "Unknown", "Pending"]
    wide = server.kubectl("get", "dsd", "columns", "--output=wide", f"--namespace={NAMESPACE}")
    assert "PRECISION" in wide
    assert "IMAGE" in wide


def test_fields_are_explained(server: Cluster) -> None:
    assert "pvc://claim/path" in server.kubectl("explain", "dsd.spec.weights.source")
