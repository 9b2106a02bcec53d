from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.cli.documents import read_deployments

HEAD = """
apiVersion: serving.deepseek-operator.io/v1alpha1
kind: DeepSeekDeployment
metadata: {name: x}
"""


def refused(tmp_path: Path, text: str) -> list[str]:
    """The problems of a file, as a user reads them."""
    file = tmp_path / "cr.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_deployments([str(file)], namespace="default")
    return [str(problem).replace(str(file), "FILE") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            HEAD + "spec: {model: m, precison: fp8}",
            "spec.precison: is no field of this API; did you mean precision? (UnknownField)",
            id="misspelt",
        ),
        pytest.param(
            HEAD + "spec: {model: m, parallelism: {tensr: 8}}",
            "spec.parallelism.tensr: is no field of this API; did you mean tensor? (UnknownField)",
            id="misspelt inside",
        ),
        pytest.param(
            HEAD + "spec: {model: m, engine: {env: [{name: A, valu: b}]}}",
            "spec.engine.env[0].valu: is no field of this API; did you mean value? (UnknownField)",
            id="misspelt in a list",
        ),
        pytest.param(
            HEAD + "spec: {model: m, context: {max_length: 4096}}",
            "spec.context.max_length: is no field of this API; did you mean maxLength? (UnknownField)",
            id="Python's spelling",
        ),
        pytest.param(
            HEAD + "spec: {model: m, access: {zzz: 1}}",
            "spec.access.zzz: is no field of this API; known here: keys, from (UnknownField)",
            id="nothing near",
        ),
        pytest.param(
            HEAD + "spec: {model: m, precision: fp4}",
            "spec.precision: 'fp4' is not known; use 'auto', 'fp8', 'bf16', 'int8', 'w4a8', 'w4afp8', 'awq', 'gptq', "
            "'nvfp4' or 'mxfp4' (NotSupported)",
            id="unknown value",
        ),
        pytest.param(
            HEAD + "spec: {model: m, replicas: '2'}",
            "spec.replicas: '2': input should be a valid integer (Invalid)",
            id="text for a number",
        ),
        pytest.param(HEAD + "spec: {}", "spec.model: is missing and has no default (Missing)", id="no model"),
        pytest.param(HEAD, "spec: is missing; spec.model is needed at least (Missing)", id="no spec"),
        pytest.param(
            HEAD.replace("v1alpha1", "v1") + "spec: {model: m}",
            "apiVersion: is 'serving.deepseek-operator.io/v1'; this operator serves "
            "'serving.deepseek-operator.io/v1alpha1' (WrongType)",
            id="another version",
        ),
        pytest.param(
            HEAD.replace("DeepSeekDeployment", "DeepseekDeployment") + "spec: {model: m}",
            "kind: is 'DeepseekDeployment'; this operator serves 'DeepSeekDeployment' (WrongType)",
            id="misspelt kind",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod\n",
            "kind: FILE has only: Pod; it needs an object with apiVersion: serving.deepseek-operator.io/v1alpha1 and "
            "kind: DeepSeekDeployment (NoDeployment)",
            id="only others",
        ),
        pytest.param("a: [", "FILE: line 2, column 1: did not find expected node content (NotYAML)", id="no YAML"),
        pytest.param(
            HEAD + "spec: {model: m, model: n}",
            "FILE: line 5, column 18: the key 'model' stands there twice (NotYAML)",
            id="a key twice",
        ),
        pytest.param(
            "- text",
            "FILE: ['text'] is no object; each document needs apiVersion and kind (NotAnObject)",
            id="no object",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_and_what_would_work(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text) == [expected]


def test_every_wrong_field_is_listed_at_once(tmp_path: Path) -> None:
    assert len(refused(tmp_path, HEAD + "spec: {precision: no, replicas: 900, zzz: 1}")) == 4


def test_rules_between_fields_are_checked_as_the_api_server_would(tmp_path: Path) -> None:
    text = HEAD.replace("name: x", "name: x-g0") + "spec: {model: m, parallelism: {tensor: 16, attentionData: 3}}"

    fields = [problem.split(":")[0] for problem in refused(tmp_path, text)]

    assert fields == ["metadata.name", "spec.parallelism.attentionData"]


def test_of_several_objects_the_wrong_one_is_named(tmp_path: Path) -> None:
    good = HEAD + "spec: {model: m}"
    bad = HEAD.replace("name: x", "name: y") + "spec: {model: 3}"

    assert refused(tmp_path, f"{good}\n---{bad}")[0].startswith("y: spec.model: ")


def test_objects_of_other_kinds_are_left_alone_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cr.yaml"
    file.write_text(HEAD + "spec: {model: m}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: token}\n")

    deployments = read_deployments([str(file)], namespace="default")

    assert [deployment.name for deployment in deployments] == ["x"]
    assert "Secret" in capsys.readouterr().err


def test_a_bare_time_stamp_stays_text_and_null_means_not_set(tmp_path: Path) -> None:
    file = tmp_path / "cr.yaml"
    file.write_text(HEAD + "spec: {model: m, restartedAt: 2026-01-01T00:00:00Z, context: }\n")

    (deployment,) = read_deployments([str(file)], namespace="default")

    assert deployment.spec.restarted_at == "2026-01-01T00:00:00Z"
    assert deployment.spec.context.max_length is None
