"""What a user is told about arguments and variables that cannot work."""

from __future__ import annotations

import dataclasses

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.ownership import FLAGS
from deepseek_operator.engines.select import check_args
from deepseek_operator.engines.sglang_flags import release_flags
from deepseek_operator.plan.types import Parallelism
from e2e.generate.sglang_flags import DIRECTORY, document, versions
from e2e.sglang_parser import Command, check
from tests.unit.engines.plans import launched, plan, spec

SOUND = [
    [],
    ["--schedule-policy", "lpm"],
    ["--schedule-policy=lpm"],
    ["--log-requests", "--decode-log-interval", "20"],
    ["--cuda-graph-bs-decode", "1", "2", "4"],
    ["--random-seed", "-1"],
    ["--chat-template", "/templates/it's mine.jinja"],
    ["--speculative-num-steps", "2"],
    ["--mem-fraction-static", "0.7"],
]
WRONG = [
    (["--shedule-policy", "lpm"], "UnknownArgument", "did you mean --schedule-policy?"),
    (["--qqqqqqqqqqqq"], "UnknownArgument", "has no flag --qqqqqqqqqqqq"),
    (["--tp", "8"], "OwnedArgument", "set spec.parallelism.tensor"),
    (["--tensor-parallel-size", "8"], "OwnedArgument", "set spec.parallelism.tensor"),
    (["--tp-size=8"], "OwnedArgument", "set spec.parallelism.tensor"),
    (["--attn-dp-size", "4"], "OwnedArgument", "set spec.parallelism.attentionData"),
    (["--enable-dp-attention"], "OwnedArgument", "set spec.parallelism.attentionData"),
    (["--context-length", "4096"], "OwnedArgument", "set spec.context.maxLength"),
    (["--host", "127.0.0.1"], "OwnedArgument", "rely on the operator's ports"),
    (["--api-key", "secret"], "OwnedArgument", "set spec.access.keys"),
    (["--config", "/etc/x.yaml"], "OwnedArgument", "nobody has checked"),
    (["--model", "/elsewhere"], "OwnedArgument", "set spec.model"),
    (["--schedule-pol", "lpm"], "AmbiguousArgument", "short for --schedule-policy; write it in full"),
    (["--cuda-graph-b", "8"], "AmbiguousArgument", "--cuda-graph-bs-decode"),
    (["--"], "InvalidArgument", "flags begin with two dashes"),
    (["-h"], "InvalidArgument", "flags begin with two dashes"),
    (["--schedule-policy"], "InvalidArgument", "needs a value"),
    (["--schedule-policy", "--log-requests"], "InvalidArgument", "needs a value"),
    (["--schedule-policy", "lpm", "fcfs"], "InvalidArgument", "takes one value, but 'fcfs' follows it"),
    (["--schedule-policy", "lmp"], "InvalidArgument", "did you mean lpm?"),
    (["--log-requests", "yes"], "InvalidArgument", "is a switch and takes no value"),
    (["--log-requests=yes"], "InvalidArgument", "is a switch and takes no value"),
    (["--decode-log-interval", "often"], "InvalidArgument", "takes a whole number, not 'often'"),
    (["--schedule-conservativeness", "low"], "InvalidArgument", "takes a number, not 'low'"),
    (["--chat-template", "a\nb"], "InvalidArgument", "'a\\nb' contains a control character or a line break"),
    (["--chat-\0template"], "InvalidArgument", "contains a control character"),
]


def test_arguments_that_sglang_takes_are_taken() -> None:
    made = plan()
    wanted = [spec(engine={"args": args}) for args in SOUND]
    assert [check_args(each, made) for each in wanted] == [()] * len(SOUND)
    commands = [Command(argv=launched(made, each).worker_command[3:], vendor="nvidia") for each in wanted]
    # Parsed: values of a flag may still be refused by SGLang's validation, which is not what is checked here.
    assert all(outcome.values for outcome in check(made.engine.version, commands))


@pytest.mark.parametrize(("args", "reason", "message"), WRONG)
def test_a_wrong_argument_is_named_with_its_remedy(args: list[str], reason: str, message: str) -> None:
    problems = check_args(spec(engine={"args": ["--log-requests", *args]}), plan())
    assert [(each.field, each.reason) for each in problems] == [("spec.engine.args[1]", reason)]
    assert message in problems[0].message


def test_a_word_that_is_no_flag_is_named() -> None:
    problems = check_args(spec(engine={"args": ["schedule-policy", "--log-requests"]}), plan())
    assert [(each.field, each.reason) for each in problems] == [("spec.engine.args[0]", "InvalidArgument")]


def test_every_wrong_argument_is_reported_at_once() -> None:
    problems = check_args(spec(engine={"args": ["--tp", "8", "--no-such-thing", "--port", "1"]}), plan())
    assert [each.field for each in problems] == [f"spec.engine.args[{index}]" for index in (0, 2, 3)]


def test_flags_are_judged_by_the_release_of_the_plan() -> None:
    newer, older = plan(version="0.5.23"), plan(version="0.5.18")
    only_newer = next(
        flag.name
        for flag in release_flags("0.5.23").by_spelling.values()
        if flag.values == "0" and flag.name not in FLAGS and not release_flags("0.5.18").starting_with(flag.name)
    )
    wanted = spec(engine={"args": [only_newer]})
    assert check_args(wanted, newer) == ()
    assert [each.reason for each in check_args(wanted, older)] == ["UnknownArgument"]


def test_an_image_of_the_users_own_may_know_more_choices_but_not_other_flags() -> None:
    own = {"image": "registry.example/sglang:mine"}
    choice = ["--schedule-policy", "mine"]
    assert check_args(spec(engine={**own, "args": choice}), plan()) == ()
    assert check_args(spec(engine={"args": choice}), plan()) != ()
    assert check_args(spec(engine={**own, "args": ["--mine"]}), plan()) != ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NODE_RANK", "launch script"),
        ("POD_IP", "launch script"),
        ("LEADER_ADDRESS", "launch script"),
        ("MASTER_PORT", "connects the ranks itself"),
        ("NCCL_SOCKET_IFNAME", "set spec.fabric.interface"),
        ("GLOO_SOCKET_IFNAME", "set spec.fabric.interface"),
        ("HCCL_IF_IP", "set spec.fabric.interface"),
        ("HF_TOKEN", "set spec.weights.tokenSecret"),
        ("API_KEY", "set spec.access.keys"),
        ("CUDA_VISIBLE_DEVICES", "acceleratorsPerNode"),
        ("DUMPER_SERVER_PORT", "runs code"),
    ],
)
def test_a_variable_of_the_operator_is_refused_with_its_remedy(name: str, message: str) -> None:
    env = [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": name, "value": "1"}]
    problems = check_args(spec(engine={"env": env}), plan())
    assert [(each.field, each.reason) for each in problems] == [("spec.engine.env[1]", "OwnedVariable")]
    assert message in problems[0].message


def test_a_variable_with_a_nul_character_is_refused() -> None:
    problems = check_args(spec(engine={"env": [{"name": "X", "value": "a\0b"}]}), plan())
    assert [each.reason for each in problems] == ["InvalidVariable"]


def test_multi_token_prediction_over_pipeline_stages_is_refused() -> None:
    made = plan(split=Parallelism(tensor=8, pipeline=2), mtp=True)
    problems = check_args(spec(), made)
    assert [each.field for each in problems] == ["spec.engine.features.mtp"]
    assert check_args(spec(), dataclasses.replace(made, mtp=False)) == ()


@pytest.mark.parametrize("version", versions())
def test_the_flags_in_the_catalogue_are_those_of_the_release(version: str) -> None:
    assert (DIRECTORY / f"{version}.json").read_text() == document(version), "run: make generate"


def test_every_owned_flag_exists_in_some_release() -> None:
    known = {flag.name for version in versions() for flag in release_flags(version).by_spelling.values()}
    assert set(FLAGS) - known == set()


def test_a_version_without_a_list_of_its_own_has_the_flags_of_the_one_before_it() -> None:
    assert release_flags("9.9.9").version == "0.5.23"
    assert release_flags("0.5.20").version == "0.5.18"
    assert release_flags("0.1").version == "0.5.18"


def test_every_release_of_the_catalogue_has_its_own_list() -> None:
    assert {each.version for each in load().releases if each.engine == "sglang"} == set(versions())
    assert all(release_flags(version).version == version for version in versions())
