"""What planning made of a spec: the input of a decision beside the snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepseek_operator.api.config import OperatorConfig
from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.engine_types import Vulnerability
from deepseek_operator.plan.types import Plan, Refusal
from deepseek_operator.render.revision import RevisionContent


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecrets:
    """Random text and bytes for Secrets, used only if they have to be made."""

    api_key: str = ""
    admin_key: str = ""
    ssh_seed: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The current spec's revision, or why there is none.

    Exactly one of three: ``content`` and ``plan`` (a revision to run), ``refusal`` (valid, but nothing
    offered fits), ``invalid`` (the spec cannot be read).
    """

    config: OperatorConfig
    spec: Spec | None
    content: RevisionContent | None = None
    plan: Plan | None = None
    stored: bool = False
    """The ControllerRevision with this content exists."""
    refusal: Refusal | None = None
    wants_config: bool = False
    """There is no plan before the ConfigMap of spec.modelConfig was read."""
    invalid: tuple[Problem, ...] = ()
    contents: Mapping[str, RevisionContent] = field(default_factory=dict)
    """Stored revisions that groups run, by hash."""
    flaws: tuple[Vulnerability, ...] = ()
    """Published flaws of the plan's release, by the catalogue of now."""
    new_secrets: NewSecrets = field(default_factory=NewSecrets)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that keeps the spec from running."""
        return self.invalid or (self.refusal.problems if self.refusal else ())

    def content_of(self, revision: str, template_hash: str) -> RevisionContent | None:
        """The stored revision that a group runs; None when it was lost."""
        return next((each for each in self._known(revision) if each.template_hash == template_hash), None)

    def plan_of(self, revision: str) -> Mapping[str, Any] | None:
        """The stored plan of a revision, whatever template its groups run."""
        return next((each.plan for each in self._known(revision)), None)

    def _known(self, revision: str) -> Iterator[RevisionContent]:
        for content in (self.content, self.contents.get(revision)):
            if content is not None and content.hash == revision:
                yield content
