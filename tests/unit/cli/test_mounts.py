"""A mount that meets the operator's own is refused on the command line as in the cluster: no rank loses it unseen."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Run

CR = """
apiVersion: serving.deepseek-operator.io/v1alpha1
kind: DeepSeekDeployment
metadata: {name: x}
spec:
  model: deepseek-ai/DeepSeek-V3-0324
  precision: fp8
  podTemplate:
    volumes: [{name: mine, configMap: c}]
    volumeMounts: [{name: mine, mountPath: %s}]
"""


@pytest.mark.parametrize("command", ["plan", "render"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/root/.cache/huggingface", "spec.podTemplate.volumeMounts[0].mountPath"),
        ("/run/deepseek", "spec.podTemplate.volumeMounts[0].mountPath"),
        ("/models/extra", "spec.podTemplate.volumeMounts"),
    ],
)
def test_it_is_refused_by_field_with_exit_code_2(
    run: Run, h100: tuple[str, ...], command: str, path: str, field: str
) -> None:
    result = run(command, "-f", "-", *h100, stdin=CR % path)
    assert result.exit_code == 2
    assert field in result.stderr
    assert "choose" in result.stderr


def test_a_mount_beside_ours_is_rendered(run: Run, h100: tuple[str, ...]) -> None:
    result = run("render", "-f", "-", *h100, stdin=CR % "/data")
    assert result.exit_code == 0
    assert "mountPath: /data" in result.stdout
