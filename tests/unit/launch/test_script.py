"""What the launch script does around the engine: holding, interfaces, vendor scripts, quoting."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from deepseek_operator.catalog.load import load
from deepseek_operator.engines.launch import interface
from deepseek_operator.engines.script import ShellText, _environment
from deepseek_operator.engines.select import launch
from deepseek_operator.engines.types import Launch
from tests.unit.engines.plans import launched, plan, spec
from tests.unit.launch.ranks import Group

HOSTILE = [
    "two  words",
    'it\'s "quoted"',
    "$(touch injected)",
    "`touch injected`",
    "${PATH}; touch injected #",
    "line\nbreak\nEND_OF_BARRIER_PY\ntouch injected",
    "back\\slash * ? [a] ~ !! && { } | > injected",
    "",
]


def alone(made: Launch, directory: Path) -> Group:
    return Group(made, directory, size=1, address="127.0.0.1")


def as_run(command: tuple[str, ...], group: Group) -> list[str]:
    """A command as it is shown, with what a running pod has in its place."""
    shown = {
        "$API_KEY": "sk key",
        "$ADMIN_API_KEY": "-admin$",
        "deepseek-g0-0.deepseek-g0.demo.svc.cluster.local": group.address,
    }
    words = list(command[3:])
    for name, value in shown.items():
        words = [word.replace(name, value) for word in words]
    return words


def test_the_engine_gets_the_command_that_is_shown(tmp_path: Path) -> None:
    made = launched(plan(interface="lo", model="deepseek-r1"), spec(engine={"args": ["--log-requests"]}))
    group = Group(made, tmp_path)
    with group.rank(0) as leader, group.rank(1) as worker:
        assert leader.engine()["argv"] == as_run(made.leader_command, group)
        assert worker.engine()["argv"] == as_run(made.worker_command, group)


def test_the_engine_replaces_the_shell_and_gets_its_signals(tmp_path: Path) -> None:
    with alone(launched(plan(nodes=1)), tmp_path).rank(0) as rank:
        assert rank.engine()["pid"] == rank.process.pid
        assert rank.stop() == 77


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_is_read_as_shell(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(nodes=1, served_name=f"name{hostile}", model="deepseek-r1")
    made = dataclasses.replace(made, weights=dataclasses.replace(made.weights, path=f"/weights/{hostile}"))
    started = launched(made, spec(engine={"args": [f"--x={hostile}", f"y{hostile}"]}))
    with alone(started, tmp_path).rank(0) as rank:
        argv = rank.engine()["argv"]
    assert argv[argv.index("--served-model-name") + 1] == f"name{hostile}"
    assert argv[argv.index("--model-path") + 1] == f"/weights/{hostile}"
    assert argv[-2:] == [f"--x={hostile}", f"y{hostile}"]
    assert not (tmp_path / "injected").exists()


def test_a_pod_that_has_started_its_engine_holds_until_it_is_replaced(tmp_path: Path) -> None:
    group = Group(launched(plan(interface="lo")), tmp_path)
    with group.rank(0) as leader, group.rank(1) as worker:
        assert leader.engine()
        assert worker.engine()
    for rank in (0, 1):
        with group.rank(rank) as again:
            again.says("this pod has started its engine before")
            assert not again.started_engine()
            assert again.stop() == 143
            # Nothing of it stays behind: its own processes were one session.
            with pytest.raises(ProcessLookupError):
                os.killpg(again.process.pid, signal.SIGKILL)


def test_a_pod_that_never_came_past_the_barrier_may_start_again(tmp_path: Path) -> None:
    group = Group(launched(plan(interface="lo")), tmp_path)
    with group.rank(1) as worker:
        worker.says("cannot be reached yet")
        worker.stop(signal.SIGKILL)
    with group.rank(0) as leader, group.rank(1) as worker:
        assert leader.engine()
        assert worker.engine()


def test_the_interface_of_the_pods_address_is_found_and_exported(tmp_path: Path) -> None:
    with alone(launched(plan(nodes=1)), tmp_path).rank(0) as rank:
        env = rank.engine()["env"]
    assert env["NCCL_SOCKET_IFNAME"] == "=lo"
    assert env["GLOO_SOCKET_IFNAME"] == "lo"
    assert env["TP_SOCKET_IFNAME"] == "lo"
    assert "HCCL_IF_IP" not in env


def test_the_interface_that_the_user_names_wins(tmp_path: Path) -> None:
    with alone(launched(plan(nodes=1, interface="ib 0")), tmp_path).rank(0) as rank:
        assert rank.engine()["env"]["GLOO_SOCKET_IFNAME"] == "ib 0"


def test_an_address_that_no_interface_holds_is_reported(tmp_path: Path) -> None:
    with alone(launched(plan(nodes=1)), tmp_path).rank(0, POD_IP="192.0.2.1") as rank:
        assert rank.exit_code() == 1
        assert "127.0.0.1 on lo" in rank.says("no network interface holds the pod's address 192.0.2.1")
        assert not rank.started_engine()


def test_interfaces_of_both_address_families_are_known() -> None:
    assert interface.find("127.0.0.1") == "lo"
    assert interface.find("192.0.2.1") is None
    assert interface.find("2001:db8::1") is None
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        assert all(interface.find(address) for _, address in interface.ipv6_interfaces())


def test_ascend_sources_its_setup_scripts_without_proxies(tmp_path: Path) -> None:
    catalog = load()
    setup = tmp_path / "set env.sh"
    # As CANN's do: unset variables, and commands that fail.
    setup.write_text('export FROM_SETUP="${NEVER_SET}yes"\nfalse\nls /none-such 2>/dev/null | grep -q x\n')
    vendor = dataclasses.replace(catalog.vendors["ascend"], setup_scripts=(str(tmp_path / "absent.sh"), str(setup)))
    catalog = dataclasses.replace(catalog, vendors={**catalog.vendors, "ascend": vendor})
    made = launch(
        plan(vendor="ascend", nodes=1),
        spec(),
        catalog,
        name="deepseek",
        namespace="demo",
        cluster_domain="cluster.local",
    )
    with alone(made, tmp_path).rank(0, http_proxy="http://proxy.example:3128", NO_PROXY="x") as rank:
        env = rank.engine()["env"]
    assert env["FROM_SETUP"] == "yes"
    assert env["HCCL_IF_IP"] == "127.0.0.1"
    assert env["HCCL_SOCKET_IFNAME"] == "lo"
    assert env["HCCL_CONNECT_TIMEOUT"] == "7200"
    assert not [name for name in env if name.lower().endswith("_proxy")]


def test_the_chat_template_is_used_where_the_image_has_it(tmp_path: Path) -> None:
    catalog = load()
    tree = tmp_path / "source tree"
    releases = tuple(dataclasses.replace(each, source_tree=str(tree)) for each in catalog.releases)
    catalog = dataclasses.replace(catalog, releases=releases)
    made = launch(plan(nodes=1), spec(), catalog, name="deepseek", namespace="demo", cluster_domain="cluster.local")
    group = alone(made, tmp_path)
    with group.rank(0) as rank:
        rank.says("the image has no chat template")
        assert "--chat-template" not in rank.engine()["argv"]
    for run_directory in tmp_path.glob("run-*"):
        (run_directory / "started").unlink()
    template = tree / "examples/chat_template/tool_chat_template_deepseekv3.jinja"
    template.parent.mkdir(parents=True)
    template.touch()
    with group.rank(0) as rank:
        argv = rank.engine()["argv"]
    assert argv[argv.index("--chat-template") + 1] == str(template)


def test_an_engine_that_should_have_keys_does_not_start_without(tmp_path: Path) -> None:
    with alone(launched(plan(nodes=1)), tmp_path).rank(0, ADMIN_API_KEY="") as rank:
        assert rank.exit_code() != 0
        rank.says("the Secret with the keys has no admin-key")
        assert not rank.started_engine()


def test_an_open_api_has_no_keys_in_its_command(tmp_path: Path) -> None:
    made = launched(plan(nodes=1), spec(access={"keys": {"mode": "none"}}))
    with alone(made, tmp_path).rank(0) as rank:
        assert not [word for word in rank.engine()["argv"] if "api-key" in word]


def test_the_template_cannot_print_a_value_unquoted_or_an_unknown_name() -> None:
    environment = _environment()
    with pytest.raises(TypeError, match="unquoted"):
        environment.from_string("{{ value }}").render(value="x; y")
    with pytest.raises(UndefinedError):
        environment.from_string("{{ nothing | quote }}").render()
    assert environment.from_string("{{ value | quote }}").render(value="x; y") == ShellText("'x; y'")
    with pytest.raises(ValueError, match="contains a line END"):
        environment.from_string("{{ value | embed('END') }}").render(value="a\nEND\nb")
