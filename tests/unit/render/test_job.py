"""The Job of a batch, and what else a batch changes of the objects."""

from __future__ import annotations

from typing import Any

import pytest

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.resource import Spec
from deepseek_operator.plan.types import Plan
from deepseek_operator.render.apply_order import all_objects
from deepseek_operator.render.owner import Owner
from deepseek_operator.render.pod import collisions
from deepseek_operator.render.revision import revision_hash
from tests.unit.engines.infer_plans import ANSWERS, batch, by_hand, wanted
from tests.unit.engines.plans import launched

OWNER = Owner(name="deepseek", namespace="demo", uid="cr")


def objects(spec: Spec, plan: Plan | None = None) -> dict[str, dict[str, Any]]:
    plan = plan or by_hand()
    rendered = all_objects(OWNER, spec, plan, launched(plan, spec), config=OperatorConfig())
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in rendered}


def engine(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


BATCH = wanted(batch=batch(answers=ANSWERS))


def test_a_batch_is_an_indexed_job_of_the_groups_nodes_that_never_retries_a_rank() -> None:
    job = objects(BATCH)["Job/deepseek-g0"]
    spec = job["spec"]
    wanted_fields = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0}
    assert {key: spec[key] for key in wanted_fields} == wanted_fields
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["FailJob", "FailJob"]
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["subdomain"]) == ("Never", "deepseek-g0")
    assert "selector" not in spec, "the Job's controller makes its own"


def test_the_rank_of_a_jobs_pod_is_its_completion_index() -> None:
    env = {each["name"]: each for each in engine(objects(BATCH)["Job/deepseek-g0"])["env"]}
    path = env["NODE_RANK"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-completion-index']"
    assert env["LEADER_ADDRESS"]["value"] == "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local"


def test_prompts_and_answers_are_mounted_where_the_command_reads_and_writes() -> None:
    job = objects(BATCH)["Job/deepseek-g0"]
    mounts = {each["mountPath"]: each for each in engine(job)["volumeMounts"]}
    volumes = {each["name"]: each for each in job["spec"]["template"]["spec"]["volumes"]}
    assert mounts["/prompts"]["readOnly"] is True
    assert "readOnly" not in mounts["/answers"]
    assert volumes[mounts["/prompts"]["name"]]["configMap"] == {"name": "prompts"}
    assert volumes[mounts["/answers"]["name"]]["persistentVolumeClaim"] == {"claimName": "answers"}


def test_a_claim_with_prompts_is_mounted_as_a_whole() -> None:
    prompts = {"persistentVolumeClaim": "data", "path": "in/today.txt"}
    job = objects(wanted(batch={"prompts": prompts}))["Job/deepseek-g0"]
    (volume,) = (each for each in job["spec"]["template"]["spec"]["volumes"] if each["name"] == "deepseek-prompts")
    assert volume["persistentVolumeClaim"] == {"claimName": "data"}
    assert "/prompts/in/today.txt" in engine(job)["command"][2]


def test_without_a_batch_rank_0_has_a_terminal_and_a_stateful_set() -> None:
    rendered = objects(wanted())
    assert "Job/deepseek-g0" not in rendered
    container = engine(rendered["StatefulSet/deepseek-g0"])
    assert (container["stdin"], container["tty"]) == (True, True)
    assert "stdinOnce" not in container, "the second to attach must be heard, too"
    assert "stdin" not in engine(objects(BATCH)["Job/deepseek-g0"])


@pytest.mark.parametrize("spec", [BATCH, wanted()], ids=["batch", "terminal"])
def test_an_engine_without_an_api_has_no_service_policy_or_keys_for_one(spec: Spec) -> None:
    rendered = objects(spec)
    assert not {"Service/deepseek", "NetworkPolicy/deepseek", "Secret/deepseek-keys"} & rendered.keys()
    assert {"Service/deepseek-g0", "NetworkPolicy/deepseek-g0"} <= rendered.keys()
    assert "API_KEY" not in str(rendered)


def test_the_budget_of_a_job_counts_ranks_that_must_stay() -> None:
    budget = objects(BATCH)["PodDisruptionBudget/deepseek-g0"]["spec"]
    assert budget["minAvailable"] == 2
    assert "maxUnavailable" not in budget
    assert objects(wanted())["PodDisruptionBudget/deepseek-g0"]["spec"]["maxUnavailable"] == 0


def test_a_suspended_batch_has_no_job() -> None:
    suspended = objects(wanted(batch=batch(), suspend=True))
    assert "Job/deepseek-g0" not in suspended


def test_a_gang_scheduler_finds_its_marks_on_the_job() -> None:
    scheduling = {"gang": "kueue", "queue": "team"}
    job = objects(wanted(batch=batch(), scheduling=scheduling))["Job/deepseek-g0"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"


def test_other_prompts_are_another_revision() -> None:
    hashes = {revision_hash(wanted(batch=batch(maxNewTokens=each))) for each in (200, 300, 400)}
    assert len(hashes) == 3


def test_a_users_mount_over_the_prompts_is_refused() -> None:
    template = {"volumes": [{"name": "v", "configMap": "c"}], "volumeMounts": [{"name": "v", "mountPath": "/prompts"}]}
    (problem,) = collisions(wanted(batch=batch(), podTemplate=template), by_hand(), directories=())
    assert (problem.reason, problem.field) == ("MountPathReserved", "spec.podTemplate.volumeMounts[0].mountPath")
    assert collisions(wanted(podTemplate=template), by_hand(), directories=()) == ()
