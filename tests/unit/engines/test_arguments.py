"""What a user is told about arguments and variables that cannot work."""

from __future__ import annotations

import dataclasses

import pytest

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.flags import known_versions, release_flags
from deepseek_operator.engines.owned_flags import FLAGS
from deepseek_operator.engines.select import check_args, doubts
from deepseek_operator.plan.types import Parallelism
from e2e.generate.flags import ORIGINS, document, place, versions
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
        for flag in release_flags("sglang", "0.5.23").by_spelling.values()
        if flag.values == "0"
        and flag.name not in FLAGS["sglang"]
        and not release_flags("sglang", "0.5.18").starting_with(flag.name)
    )
    wanted = spec(engine={"args": [only_newer]})
    assert check_args(wanted, newer) == ()
    assert [each.reason for each in check_args(wanted, older)] == ["UnknownArgument"]


def test_what_an_image_of_the_users_own_may_know_is_a_warning() -> None:
    own = {"image": "registry.example/sglang:mine"}
    unknown = ["--mine", "x", "--schedule-policy", "mine", "--log-requests", "yes"]
    assert len(check_args(spec(engine={"args": unknown}), plan())) == 3
    assert doubts(spec(engine={"args": unknown}), plan()) == ()
    wanted = spec(engine={**own, "args": unknown})
    assert check_args(wanted, plan()) == ()
    warned = doubts(wanted, plan())
    assert [each.partition(": ")[0] for each in warned] == ["ArgumentUnchecked"] * 3
    assert "spec.engine.args[0]: SGLang 0.5.23 has no flag --mine" in warned[0]


def test_what_the_operator_owns_is_refused_in_every_image() -> None:
    own = {"image": "registry.example/sglang:mine"}
    problems = check_args(spec(engine={**own, "args": ["--tp", "8", "--chat-template", "a\nb", "word"]}), plan())
    assert [each.reason for each in problems] == ["OwnedArgument", "InvalidArgument"]


def test_a_version_without_a_list_is_judged_by_the_nearest_and_only_warned_of() -> None:
    made = plan()
    made = dataclasses.replace(made, engine=dataclasses.replace(made.engine, version="0.5.99"))
    wanted = spec(engine={"args": ["--no-such-flag"]})
    assert check_args(wanted, made) == ()
    (warned,) = doubts(wanted, made)
    assert "version 0.5.99 is not known, so this was judged by 0.5.23" in warned


def test_a_flag_that_got_another_name_is_refused_with_its_successor() -> None:
    (problem,) = check_args(spec(engine={"args": ["--cuda-graph-max-bs", "8"]}), plan(version="0.5.23"))
    assert problem.reason == "RemovedArgument"
    assert "SGLang 0.5.23 no longer has --cuda-graph-max-bs; use --cuda-graph-max-bs-decode" in problem.message
    assert check_args(spec(engine={"args": ["--cuda-graph-max-bs", "8"]}), plan(version="0.5.18")) == ()


def test_a_flag_of_another_release_is_refused_with_that_release() -> None:
    (problem,) = check_args(spec(engine={"args": ["--gated-launch-timeout-of-nobody", "8"]}), plan())
    assert "did you mean" in problem.message
    (problem,) = check_args(spec(engine={"args": ["--enable-hicache"]}), plan(version="0.5.18"))
    assert problem.message == "SGLang 0.5.18 has no flag --enable-hicache; 0.5.23 has it"


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


RELEASES = [(engine, version) for engine in ORIGINS for version in versions(engine)]


@pytest.mark.parametrize(("engine", "version"), RELEASES)
def test_the_flags_in_the_catalogue_are_those_of_the_release(engine: str, version: str) -> None:
    assert place(engine, version).read_text() == document(engine, version), "run: make generate"


@pytest.mark.parametrize("engine", sorted(FLAGS))
def test_every_owned_flag_exists_in_some_release(engine: str) -> None:
    every = [flag for version in known_versions(engine) for flag in release_flags(engine, version).by_spelling.values()]
    assert set(FLAGS[engine]) - {flag.name for flag in every} == set()


def test_a_version_without_a_list_of_its_own_has_the_flags_of_the_one_before_it() -> None:
    nearest = {"9.9.9": "0.5.23", "0.5.20": "0.5.18", "0.1": "0.5.18"}
    assert {asked: release_flags("sglang", asked).version for asked in nearest} == nearest
    assert not any(release_flags("sglang", asked).exact for asked in nearest)


@pytest.mark.parametrize("version", ["0.23.0", "0.23.0.post1", "0.23.0+cpu"])
def test_a_post_release_and_a_build_have_the_flags_of_their_release(version: str) -> None:
    flags = release_flags("vllm", version)
    assert (flags.version, flags.exact) == ("0.23.0", True)


def test_every_release_of_the_catalogue_has_its_own_list() -> None:
    assert all(release_flags(release.engine, release.version).exact for release in load().releases)


def test_an_engine_without_lists_is_named() -> None:
    with pytest.raises(LookupError, match="none-such"):
        release_flags("none-such", "1")


def test_a_misspelt_flag_of_the_operators_leads_to_the_field_at_once() -> None:
    (problem,) = check_args(spec(engine={"args": ["--max-runing-requests", "64"]}), plan())
    assert "did you mean --max-running-requests? It is the operator's: set spec.context.maxRunningRequests" in (
        problem.message
    )
