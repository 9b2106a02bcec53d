"""What a demonstration has started, written down so that another process can stop exactly that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from e2e.cluster import processes
from e2e.cluster.processes import Process

FOLDER = Path(".state/demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A running demonstration."""

    kubeconfig: str = ""
    """Of the cluster it runs on; empty when nothing was started."""
    started_cluster: bool = False
    """The cluster was not there before."""
    created_crd: bool = False
    """The CustomResourceDefinition was not there before."""
    nodes: tuple[str, ...] = ()
    """Fake nodes that it made."""
    operator: Process | None = None

    @property
    def file(self) -> Path:
        """Where the record lies."""
        return FOLDER.absolute() / "demo.json"

    def save(self) -> None:
        """Write the record; called after each thing that was started."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    def forget(self) -> None:
        """Remove the record."""
        self.file.unlink(missing_ok=True)

    def stop_operator(self) -> State:
        """End the operator if it runs, and return the record without it."""
        if self.operator is not None:
            processes.stop([self.operator])
        stopped = replace(self, operator=None)
        stopped.save()
        return stopped


def load() -> State:
    """The record of the last demonstration, or an empty one."""
    file = State().file
    if not file.exists():
        return State()
    data = json.loads(file.read_text(encoding="utf-8"))
    operator = Process(**data["operator"]) if data["operator"] else None
    return State(**{**data, "nodes": tuple(data["nodes"]), "operator": operator})
