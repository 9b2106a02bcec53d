"""What a rank executes, taken from its pod: the part of the launch script that puts the command together is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

from deepseek_operator.api.names import ENGINE_CONTAINER
from e2e.demo.screen import DemoError

_COMMAND = re.compile(r"^command=\($.*?^mkdir -p", re.DOTALL | re.MULTILINE)
"""From the array that holds the command line to the first thing done with it."""


def executed(pod: Mapping[str, Any]) -> list[str]:
    """The engine's command line of a pod, with its own labels and environment; secrets stand as their names.

    Raises DemoError when the pod's script is not ours.
    """
    (engine,) = [each for each in pod["spec"]["containers"] if each["name"] == ENGINE_CONTAINER]
    # The kubelet expands $(NAME) in commands; the operator writes $$ for the $ that the shell is to see.
    found = _COMMAND.search(engine["command"][-1].replace("$$", "$"))
    if found is None:
        raise DemoError(f"the script of pod {pod['metadata']['name']} has no command line")
    script = found[0].removesuffix("mkdir -p")
    # The image is not on this machine: take its files for granted.
    script = script.replace("[[ -r ", "[[ -n ")
    ended = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f"{script}\nprintf '%q\\n' \"${{command[@]}}\""],
        env={"PATH": "/usr/bin:/bin", **_environment(pod, engine)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if ended.returncode:
        raise DemoError(f"the script of pod {pod['metadata']['name']} failed: {ended.stderr.strip()}")
    return shlex.split(ended.stdout)


def _environment(pod: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, str]:
    labels: Mapping[str, str] = pod["metadata"]["labels"]
    values: dict[str, str] = {}
    for variable in engine["env"]:
        name, source = variable["name"], variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            values[name] = f"${name}"
        elif label := re.fullmatch(r"metadata\.labels\['(.*)'\]", source.get("fieldRef", {}).get("fieldPath", "")):
            values[name] = labels[label[1]]
        elif "fieldRef" not in source:
            values[name] = variable.get("value", "")
    return values
