"""Weights of an engine that reads one file a rank: a checkpoint that is cut for exactly the ranks of the plan.

The name of each file of the DeepSeek-Infer demo holds rank and number of ranks, so a directory of cut files serves one
number of ranks and no other. A source that ends in ``mp<N>`` is taken for such a directory; any other is cut before the
first start, like a cast (``weights_volume``).
"""

from __future__ import annotations

import re
from typing import Final

from deepseek_operator.api.problems import Problem, Suggestion
from deepseek_operator.plan.grounds import Question
from deepseek_operator.plan.splits import Layout
from deepseek_operator.plan.weights import Located

_CUT: Final = re.compile(r"(?:^|[-_./])mp(\d{1,4})/*$", re.IGNORECASE)


def located_for(located: Located, question: Question, layout: Layout) -> Located | Problem:
    """The weights that the ranks of a layout read; the same ones for an engine that reads whole checkpoints."""
    if not question.engine.sharded:
        return located
    ranks, source = layout.split.tensor, located.weights.source
    found = _CUT.search(source)
    if found is None:
        experts = question.model.dimensions.routed_experts
        return question.sources.sharded(located, model_parallel=ranks, experts=experts)
    if int(found[1]) != ranks:
        return Problem(
            field="spec.weights.source",
            reason="WeightsCutForOtherRanks",
            message=f"{source} is cut for {found[1]} ranks, and these are {ranks}; set spec.parallelism.tensor to "
            f"{found[1]}, or name weights that are cut for {ranks}",
            suggestions=(Suggestion(changes=(("spec.parallelism.tensor", int(found[1])),)),),
        )
    return located
