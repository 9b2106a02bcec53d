from __future__ import annotations

from dataclasses import replace
from typing import Any

from deepseek_operator.api.resource import Spec
from deepseek_operator.engines.types import Launch
from deepseek_operator.render.container import engine_container
from tests.unit.render.samples import FP8_SPEC, H100_PLAN, LAUNCH, OWNER, spec
from tests.unit.render.test_quantity import kubernetes_expansion

WEEK_SECONDS = 7 * 24 * 3600


def container(from_spec: Spec = FP8_SPEC, launch: Launch = LAUNCH) -> dict[str, Any]:
    return engine_container(OWNER, from_spec, H100_PLAN, launch, mounts=[])


def environment(*variables: tuple[str, str]) -> list[dict[str, Any]]:
    env = [{"name": name, "value": value} for name, value in variables]
    rendered: list[dict[str, Any]] = container(spec(engine={"env": env}))["env"]
    return rendered


def paths() -> dict[str, str]:
    return {
        env["name"]: env["valueFrom"]["fieldRef"]["fieldPath"]
        for env in environment()
        if "fieldRef" in env.get("valueFrom", {})
    }


def test_the_script_reaches_the_shell_as_it_was_written() -> None:
    bash, flag, script = container()["command"]
    assert (bash, flag) == ("/bin/bash", "-c")
    assert kubernetes_expansion(script) == LAUNCH.script


def test_a_rank_is_the_index_of_its_pod() -> None:
    assert paths()["NODE_RANK"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert paths()["INCARNATION"] == "metadata.labels['serving.deepseek-operator.io/incarnation']"
    assert paths()["POD_IP"] == "status.podIP"


def test_the_contract_of_the_launch_script_is_complete_but_for_the_group() -> None:
    values = {env["name"]: env.get("value") for env in environment()}
    assert values["GROUP_SIZE"] == "2"
    assert values["ACCELERATORS"] == "8"
    assert values["IMAGE"] == H100_PLAN.engine.image
    assert values["HF_HUB_OFFLINE"] == "1"
    assert {"POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME", "API_KEY", "ADMIN_API_KEY"} <= values.keys()
    assert not {"GROUP", "LEADER_ADDRESS"} & values.keys()


def test_the_hubs_token_never_reaches_the_engine() -> None:
    asked = spec(weights={"tokenSecret": {"name": "hub"}})
    assert "HF_TOKEN" not in {env["name"] for env in container(asked)["env"]}


def test_the_contract_comes_first_and_the_users_variables_last() -> None:
    names = [env["name"] for env in environment(("ZED", "1"), ("ALPHA", "2"))]
    assert names[0] == "POD_IP"
    assert names[-2:] == ["ZED", "ALPHA"]
    assert names.index("HF_HUB_OFFLINE") < names.index("NCCL_DEBUG") < names.index("ZED")


def test_the_user_overrides_the_engines_constants_but_not_the_contract() -> None:
    env = environment(("NCCL_DEBUG", "INFO"), ("POD_IP", "127.0.0.1"), ("LEADER_ADDRESS", "evil"))
    names = [each["name"] for each in env]
    assert len(names) == len(set(names))
    assert {"name": "NCCL_DEBUG", "value": "INFO"} in env
    assert paths()["POD_IP"] == "status.podIP"
    assert "LEADER_ADDRESS" not in names


def test_a_users_value_is_taken_as_it_is() -> None:
    assert {"name": "A", "value": "$$(POD_IP) $$5"} in environment(("A", "$(POD_IP) $5"))


def test_an_empty_value_is_left_out_since_the_api_server_drops_it() -> None:
    assert {"name": "A"} in environment(("A", ""))


def test_the_kubelet_does_not_judge_a_groups_start_and_readiness_is_quick_to_fall() -> None:
    startup, readiness = container()["startupProbe"], container()["readinessProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] == WEEK_SECONDS
    assert readiness["failureThreshold"] == 3
    assert startup["timeoutSeconds"] == readiness["timeoutSeconds"] == LAUNCH.probe_timeout_seconds


def test_a_start_is_not_kept_waiting_by_a_health_check_that_may_take_long() -> None:
    slow = container(launch=replace(LAUNCH, probe_period_seconds=30))
    assert slow["readinessProbe"]["periodSeconds"] == 30
    assert slow["startupProbe"]["periodSeconds"] == 5
    quick = container(launch=replace(LAUNCH, probe_period_seconds=3))
    assert quick["startupProbe"]["periodSeconds"] == 3


def test_probes_survive_the_kubelets_expansion() -> None:
    command = container()["readinessProbe"]["exec"]["command"]
    assert tuple(kubernetes_expansion(word) for word in command) == LAUNCH.readiness_probe


def test_no_kubelet_restarts_a_single_rank() -> None:
    assert "livenessProbe" not in container()


def test_the_last_log_lines_explain_an_end() -> None:
    assert container()["terminationMessagePolicy"] == "FallbackToLogsOnError"
