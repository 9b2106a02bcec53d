from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
import yaml
from typer.testing import CliRunner

from deepseek_operator.cli.main import app, plugin
from tests.unit.cli.conftest import Run


def test_crd_prints_the_definition(run: Run) -> None:
    result = run("crd")

    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["kind"] == "CustomResourceDefinition"


def test_help_names_the_commands_and_the_exit_codes(run: Run) -> None:
    text = run("--help").stdout

    assert all(command in text for command in ("run", "plan", "render", "fit", "crd"))
    assert "Exit codes" in text


def test_an_unknown_command_is_wrong_input(run: Run) -> None:
    assert run("plam").exit_code == 2


def test_the_kubectl_plugin_has_no_operator_in_it() -> None:
    assert CliRunner().invoke(plugin, ["run"]).exit_code == 2
    assert CliRunner().invoke(plugin, ["crd"]).exit_code == 0


def test_offline_commands_load_neither_kopf_nor_the_api_client() -> None:
    code = (
        "import sys; import deepseek_operator.cli.main; "
        "sys.exit(bool({'kopf', 'kubernetes', 'aiohttp'} & sys.modules.keys()))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("program", [app, plugin])
def test_the_version_is_told(program: typer.Typer) -> None:
    result = CliRunner().invoke(program, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"deepseek-operator {version('deepseek-operator')}\n")
