from __future__ import annotations

import json

import yaml

from tests.unit.cli.conftest import FP8, NODES, Run


def test_the_same_input_gives_the_same_bytes(run: Run, h100: tuple[str, ...]) -> None:
    first, second = (run("render", "-f", FP8, *h100) for _ in range(2))

    assert first.exit_code == 0
    assert first.stdout_bytes == second.stdout_bytes


def test_yaml_is_a_stream_in_apply_order_with_the_pods_last(run: Run, h100: tuple[str, ...]) -> None:
    objects = list(yaml.safe_load_all(run("render", "-f", FP8, *h100).stdout))

    assert {item["metadata"]["namespace"] for item in objects} == {"default"}
    assert objects[-1]["kind"] == "StatefulSet"


def test_json_is_a_list_of_the_same_objects(run: Run, h100: tuple[str, ...]) -> None:
    document = json.loads(run("render", "-f", FP8, *h100, "-o", "json").stdout)
    stream = list(yaml.safe_load_all(run("render", "-f", FP8, *h100).stdout))

    assert (document["apiVersion"], document["kind"]) == ("v1", "List")
    assert document["items"] == stream


def test_text_is_a_list_of_names(run: Run, h100: tuple[str, ...]) -> None:
    names = run("render", "-f", FP8, *h100, "-o", "text").stdout.splitlines()

    assert "StatefulSet/deepseek-fp8-g0" in names
    assert "Service/deepseek-fp8" in names


def test_keys_are_never_printed(run: Run, h100: tuple[str, ...]) -> None:
    objects = yaml.safe_load_all(run("render", "-f", FP8, *h100).stdout)

    (secret,) = [item for item in objects if item["kind"] == "Secret"]
    assert not secret.get("data")


def test_owner_references_carry_the_uid_of_the_file(run: Run, h100: tuple[str, ...]) -> None:
    stdin = FP8.read_text().replace("name: deepseek-fp8", "name: deepseek-fp8, uid: abc-123")

    objects = list(yaml.safe_load_all(run("render", "-f", "-", *h100, stdin=stdin).stdout))

    assert {item["metadata"]["ownerReferences"][0]["uid"] for item in objects} == {"abc-123"}


def test_nothing_is_printed_when_one_deployment_has_no_plan(run: Run) -> None:
    result = run("render", "-f", FP8, "--nodes", NODES / "nvidia-a100-80.yaml", "--default-storage-class")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "deepseek-fp8" in result.stderr


def test_warnings_are_told_beside_the_objects(run: Run, h100: tuple[str, ...]) -> None:
    result = run("render", "-f", FP8, *h100)

    assert "warning: deepseek-fp8: each of the 2 ranks fetches" in result.stderr
    assert "warning:" not in result.stdout
