from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from e2e.sglang_parser import DEEPSEEK_V3
from tests.unit.cli.conftest import FP8, NODES, Run

PLAN_KEYS = {
    "fits", "hardware", "nodesPerGroup", "groups", "parallelism", "engine", "precision", "weights", "memory",
    "collective", "leader", "worker", "considered", "warnings", "problems",
}  # fmt: skip
CR = """
apiVersion: serving.deepseek-operator.io/v1alpha1
kind: DeepSeekDeployment
metadata: {name: %s}
spec: {model: %s, precision: fp8}
"""


def test_json_has_the_keys_of_the_contract_and_nothing_beside_the_document(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", FP8, *h100, "-o", "json")

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document.keys() >= PLAN_KEYS
    assert document["hardware"].keys() == {
        "vendor", "product", "architecture", "resource", "acceleratorsPerNode", "acceleratorMemoryGiB",
    }  # fmt: skip
    assert document["parallelism"] == {"tensor": 16, "pipeline": 1, "attentionData": 1, "expert": 1}
    assert document["nodesPerGroup"] == 2
    assert document["leader"].keys() == document["worker"].keys() == {"command", "env"}
    assert document["considered"][0].keys() == {"product", "nodesPerGroup", "verdict", "reason"}


def test_leader_and_worker_differ_in_their_rank(run: Run, h100: tuple[str, ...]) -> None:
    document = json.loads(run("plan", "-f", FP8, *h100, "-o", "json").stdout)

    def rank(role: str) -> str:
        command: list[str] = document[role]["command"]
        return command[command.index("--node-rank") + 1]

    assert (rank("leader"), rank("worker")) == ("0", "1")


def test_yaml_is_the_same_document_as_json(run: Run, h100: tuple[str, ...]) -> None:
    as_json = run("plan", "-f", FP8, *h100, "-o", "json").stdout
    as_yaml = run("plan", "-f", FP8, *h100, "-o", "yaml").stdout

    assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_a_deployment_can_be_piped_in(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", "-", *h100, "-o", "json", stdin=FP8.read_text())

    assert json.loads(result.stdout)["fits"] is True


def test_several_deployments_are_a_list_that_names_them(run: Run, h100: tuple[str, ...]) -> None:
    stdin = CR % ("one", "deepseek-v3-0324") + "---" + CR % ("two", "deepseek-r1")

    result = run("plan", "-f", "-", *h100, "-n", "prod", "-o", "json", stdin=stdin)

    documents = json.loads(result.stdout)
    assert [(each["name"], each["namespace"]) for each in documents] == [("one", "prod"), ("two", "prod")]


def test_nothing_fits_is_exit_code_3_with_the_problems_in_the_document(run: Run) -> None:
    result = run("plan", "-f", FP8, "--nodes", NODES / "nvidia-a100-80.yaml", "--default-storage-class", "-o", "json")

    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["fits"] is False
    assert document["problems"][0].keys() == {"field", "reason", "message"}
    assert "spec.precision" in result.stderr


def test_an_unknown_model_is_exit_code_2_and_the_nearest_one_is_named(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", "-", *h100, stdin=CR % ("x", "deepseek-ai/DeepSeek-V3-0325"))

    assert result.exit_code == 2
    assert "spec.model" in result.stderr
    assert "DeepSeek-V3-0324" in result.stderr


def test_a_wrong_input_outweighs_one_that_does_not_fit(run: Run) -> None:
    stdin = CR % ("one", "deepseek-v3-0324") + "---" + CR % ("two", "no-such-model")

    result = run("plan", "-f", "-", "--nodes", NODES / "nvidia-a100-80.yaml", stdin=stdin)

    assert result.exit_code == 2


def test_a_wrong_input_is_a_document_too(run: Run, h100: tuple[str, ...]) -> None:
    stdin = (CR % ("x", "deepseek-r1")).replace("precision", "precison")

    result = run("plan", "-f", "-", *h100, "-o", "json", stdin=stdin)

    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["fits"] is False
    assert document["problems"][0]["field"] == "spec.precison"


def test_without_a_cluster_and_without_nodes_it_is_exit_code_4(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)

    result = run("plan", "-f", FP8, "-o", "json")

    assert (result.exit_code, result.stdout) == (4, "")
    assert "--nodes" in result.stderr


def test_a_cluster_that_does_not_answer_is_exit_code_4(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    # Port 1 is reserved and nothing listens on it.
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "gone",
                "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
                "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "gone", "user": {}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))

    result = run("plan", "-f", FP8, "-o", "json")

    assert (result.exit_code, result.stdout) == (4, "")
    assert "127.0.0.1:1" in result.stderr


def test_the_configuration_decides_where_weights_are_kept(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("weights: {nodePath: /srv/weights}\n")
    nodes = ("--nodes", NODES / "nvidia-h100.yaml", "--no-default-storage-class")

    without = run("plan", "-f", FP8, *nodes)
    with_path = run("plan", "-f", FP8, *nodes, "--config", config, "-o", "json")

    assert without.exit_code != 0
    assert "weights" in without.stderr
    assert json.loads(with_path.stdout)["weights"]["volume"] == "node"


def test_a_misspelt_key_of_the_configuration_is_exit_code_2(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "operator.yaml"
    config.write_text("weights: {nodepath: /srv/weights}\n")

    result = run("plan", "-f", FP8, *h100, "--config", config)

    assert result.exit_code == 2
    assert "did you mean nodePath?" in result.stderr


@pytest.mark.parametrize("form", ["list", "documents", "json", "NodeList"])
def test_nodes_are_read_in_every_form_that_kubectl_prints(run: Run, tmp_path: Path, form: str) -> None:
    nodes = yaml.safe_load((NODES / "nvidia-h100.yaml").read_text())["items"]
    file = tmp_path / "nodes"
    match form:
        case "list":
            file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": nodes}))
        case "documents":
            file.write_text(yaml.safe_dump_all(nodes))
        case "json":
            file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        case _:
            bare = [{key: node[key] for key in node if key not in {"kind", "apiVersion"}} for node in nodes]
            file.write_text(json.dumps({"apiVersion": "v1", "kind": "NodeList", "items": bare}))

    result = run("plan", "-f", FP8, "--nodes", file, "--default-storage-class", "-o", "json")

    assert json.loads(result.stdout)["nodesPerGroup"] == 2


def test_a_file_of_something_else_than_nodes_is_exit_code_2(run: Run) -> None:
    result = run("plan", "-f", FP8, "--nodes", FP8)

    assert result.exit_code == 2
    assert "kubectl get nodes" in result.stderr


def test_a_config_json_of_ones_own_is_planned_with_weights_of_ones_own(
    run: Run, h100: tuple[str, ...], tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(DEEPSEEK_V3))
    stdin = CR.replace("precision: fp8", "precision: fp8, weights: {source: 'pvc://weights/mine'}") % ("own", "me/own")

    result = run("plan", "-f", "-", *h100, "--model-config", config, "-o", "json", stdin=stdin)

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["nodesPerGroup"] == 2
    assert document["weights"]["source"] == "pvc://weights/mine"
    assert "--model-path" in document["leader"]["command"]


OWN = """
apiVersion: serving.deepseek-operator.io/v1alpha1
kind: DeepSeekDeployment
metadata: {name: own}
spec: {model: me/own, modelConfig: {name: own}, precision: fp8, weights: {source: 'pvc://weights/mine'}}
---
"""


def config_map(**changes: object) -> str:
    data = {"config.json": json.dumps({**DEEPSEEK_V3, **changes})}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": data})


def test_the_config_map_of_ones_own_model_may_stand_in_the_same_file(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", "-", *h100, "-o", "json", stdin=OWN + config_map())
    smaller = run("plan", "-f", "-", *h100, "-o", "json", stdin=OWN + config_map(num_hidden_layers=31))

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["nodesPerGroup"] == 2
    assert json.loads(smaller.stdout)["nodesPerGroup"] == 1
    assert "left alone" not in result.stderr


def test_render_takes_the_config_map_and_the_file_alike(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(DEEPSEEK_V3))

    of_map = run("render", "-f", "-", *h100, stdin=OWN + config_map())
    of_file = run("render", "-f", "-", *h100, "--model-config", config, stdin=OWN)

    assert of_map.exit_code == 0, of_map.stderr
    assert of_map.stdout == of_file.stdout


def test_without_a_cluster_a_config_map_that_no_file_has_is_asked_for(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", "-", *h100, "-o", "json", stdin=OWN)

    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["field"] == "spec.modelConfig"
    assert "--model-config" in problem["message"]


def test_a_config_map_that_cannot_be_planned_is_exit_code_2(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", "-", *h100, "-o", "json", stdin=OWN + config_map(hidden_size="wide"))

    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["field"] == "spec.modelConfig"
    assert "hidden_size" in problem["message"]


def test_a_config_json_of_another_architecture_is_exit_code_2(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**DEEPSEEK_V3, "architectures": ["LlamaForCausalLM"]}))

    result = run("plan", "-f", FP8, *h100, "--model-config", config, "-o", "json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"][0]["field"] == "architectures"


def test_several_files_are_read_in_their_order(run: Run, h100: tuple[str, ...], tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        files += ["-f", str(tmp_path / name)]
        (tmp_path / name).write_text(CR % (name, "deepseek-r1"))

    documents = json.loads(run("plan", *files, *h100, "-o", "json").stdout)

    assert [each["name"] for each in documents] == ["one", "two"]


def test_an_object_that_stands_there_twice_is_wrong_input(run: Run, h100: tuple[str, ...]) -> None:
    result = run("plan", "-f", FP8, "-f", FP8, *h100)

    assert result.exit_code == 2
    assert "deepseek-fp8 stands there 2 times in the namespace default" in result.stderr


def test_in_a_pipe_every_sentence_is_a_line(run: Run, h100: tuple[str, ...]) -> None:
    lines = run("plan", "-f", FP8, *h100).stdout.splitlines()

    (feasible,) = [line for line in lines if line.startswith("  feasible")]
    assert feasible.endswith("the choice has fewer pipeline stages")
    assert any(line.startswith("warning image") and line.endswith("is on PyPI") for line in lines)
    assert max(len(line) for line in lines if "rank" in line) <= 100
