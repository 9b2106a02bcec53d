"""Where a deployment runs: the cheapest class that fits, or the user's choice checked.

Every class is asked for its own best layout (``assessment``); among the answers, classes with free devices come
first, then what fits without being tight, where most groups can start now, fewest nodes, native precision, fewest
pipeline stages, fewest devices for a small model, most KV cache. All groups of a deployment use the chosen class. The
answer is a Plan, or a Refusal whose messages name the field, what is wrong and what would work: the suggestions in
them were tried (``suggestions``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from deepseek_operator.api.problems import Problem
from deepseek_operator.api.resource import Spec
from deepseek_operator.catalog.types import Catalog, Model
from deepseek_operator.plan import refusals, suggestions, weights
from deepseek_operator.plan.assessment import Assessment, Option, assess, options
from deepseek_operator.plan.blame import NODES_MISSING
from deepseek_operator.plan.choices import find_model, find_products
from deepseek_operator.plan.grounds import Question
from deepseek_operator.plan.kernels import kernel_cache
from deepseek_operator.plan.offers import Offers, expected_class, offers
from deepseek_operator.plan.requests import requests, startup_seconds
from deepseek_operator.plan.types import Candidate, Facts, Inventory, Plan, Refusal
from deepseek_operator.plan.verdicts import accepted, warnings_of

Check = Callable[[Spec, Plan], tuple[Problem, ...]]
"""What an engine has against a spec that could be placed."""


def no_objection(_spec: Spec, _plan: Plan) -> tuple[Problem, ...]:
    """The check of an engine that takes everything."""
    return ()


def make_plan(
    spec: Spec,
    inventory: Inventory,
    catalog: Catalog,
    facts: Facts,
    *,
    namespace: str,
    name: str,
    check: Check = no_objection,
) -> Plan | Refusal:
    """Plans a deployment.

    Args:
        spec: what the user wrote.
        inventory: what the cluster offers.
        catalog: what is known of models, accelerators and engines.
        facts: what else the cluster and its administrator decide.
        namespace: of the deployment; directories of weights are kept apart by it.
        name: of the deployment, for messages.
        check: the engine's own, so that no suggestion ends in what the engine refuses.
    """

    def place(wanted: Spec) -> Plan | Refusal:
        plan = _place(wanted, inventory, catalog, facts, namespace=namespace, name=name)
        if isinstance(plan, Refusal) or not (problems := check(wanted, plan)):
            return plan
        return Refusal(problems=problems, considered=plan.considered, warnings=plan.warnings, waits_for_cluster=False)

    outcome = place(spec)
    if isinstance(outcome, Plan):
        return outcome
    refusal = suggestions.tried(outcome, spec, place)
    if inventory.classes or refusal.problems[0].reason != NODES_MISSING:
        return refusal
    return refusals.with_examples(refusal, _examples(spec, catalog, facts, namespace=namespace))


def placements(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str
) -> tuple[Option, ...]:
    """Everything that would work, the best first: each class with each layout on the nodes that exist.

    Empty where ``make_plan`` refuses.
    """
    ground = _ask(spec, inventory, catalog, facts, namespace=namespace)
    if isinstance(ground, Refusal):
        return ()
    question, offered = ground
    chosen = min((each for one in offered.classes if (each := assess(question, one).option)), key=_rank, default=None)
    if chosen is None:
        return ()
    # Between classes the choice is ranked, within a class it is the first that is not tight.
    others = (each for one in offered.classes for each in options(question, one) if not _alike(each, chosen))
    return (chosen, *sorted(others, key=_rank))


def _differs(option: Option, best: Option) -> bool:
    """Another layout that is worth telling of: more devices of its node for a small model are not."""
    return option.layout != best.layout and not (option.small and option.layout.nodes == best.layout.nodes)


def _alike(one: Option, other: Option) -> bool:
    return one.hardware is other.hardware and one.layout == other.layout


def _examples(spec: Spec, catalog: Catalog, facts: Facts, *, namespace: str) -> tuple[Option, ...]:
    """For a cluster without usable nodes: what the products that the spec allows would take, the cheapest first."""
    ground = _ask(spec, Inventory(classes=(), skipped=()), catalog, facts, namespace=namespace)
    products = find_products(spec.hardware, catalog)
    if isinstance(ground, Refusal) or isinstance(products, Problem):
        return ()
    expected = (assess(ground[0], expected_class(spec.hardware, each, catalog)).option for each in products)
    return tuple(sorted((each for each in expected if each is not None), key=_rank))


def _place(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str, name: str
) -> Plan | Refusal:
    ground = _ask(spec, inventory, catalog, facts, namespace=namespace)
    if isinstance(ground, Refusal):
        return ground
    question, offered = ground
    if not offered.classes:
        return refusals.nothing_there(spec, inventory, offered, name)
    assessments = [assess(question, each) for each in offered.classes]
    found = sorted((each.option for each in assessments if each.option), key=_rank)
    if found:
        return _plan(question, found, assessments, offered, inventory)
    return refusals.refusal(question, assessments, offered, inventory)


def _ask(
    spec: Spec, inventory: Inventory, catalog: Catalog, facts: Facts, *, namespace: str
) -> tuple[Question, Offers] | Refusal:
    """The question to all classes that the spec allows; a Refusal where no class could change the answer."""
    model = find_model(spec.model, catalog)
    if isinstance(model, Problem):
        return refusals.refuse(model)
    problems = tuple(refusals.static_problems(spec, model, facts, catalog.engines[spec.engine.name]))
    if problems:
        return refusals.refuse(*problems)
    products = find_products(spec.hardware, catalog)
    if isinstance(products, Problem):
        return refusals.refuse(products)
    question = Question(
        spec=_with_precision(spec, model, catalog),
        model=model,
        catalog=catalog,
        sources=weights.Sources(spec=spec, model=model, catalog=catalog, facts=facts, namespace=namespace),
        used=facts.used,
    )
    key = spec.scheduling.topology_key
    return question, offers(spec.hardware, products, inventory, catalog, topology_key=key)


def _with_precision(spec: Spec, model: Model, catalog: Catalog) -> Spec:
    """With precision auto and a source of the user's own, the source decides."""
    if spec.precision != "auto":
        return spec
    told = weights.precision_of_source(spec, model, catalog)
    return spec if told is None else spec.model_copy(update={"precision": told})


def _rank(option: Option) -> tuple[bool, bool, int, int, bool, int, int, int, str]:
    layout = option.layout
    return (
        not option.free,
        option.tight is not None,
        -option.startable,
        layout.nodes,
        not option.native,
        layout.split.pipeline,
        # A large model takes whole nodes, however many devices they have.
        layout.devices if option.small else 0,
        -option.memory.kv_tokens * layout.split.attention_data,
        option.hardware.product,
    )


def _plan(
    question: Question,
    found: Sequence[Option],
    assessments: Sequence[Assessment],
    offered: Offers,
    inventory: Inventory,
) -> Plan:
    best = found[0]
    spec, layout, located = question.spec, best.layout, best.located
    return Plan(
        model=question.model.name,
        served_name=spec.served_name or question.model.repository.rpartition("/")[2],
        precision=best.precision,
        hardware=best.hardware,
        nodes_per_group=layout.nodes,
        accelerators_per_node=layout.devices,
        parallelism=layout.split,
        engine=best.engine,
        weights=located.weights,
        memory=best.memory,
        fabric=best.fabric,
        requests=requests(best.hardware, devices=layout.devices),
        mtp=spec.engine.features.mtp,
        torch_compile=spec.engine.features.torch_compile,
        spread=question.spread,
        kv_cache_precision=spec.context.kv_cache_precision,
        startup_seconds=startup_seconds(located.weights),
        considered=_considered(question, found, assessments, offered),
        warnings=tuple(warnings_of(question, best, inventory)),
        kernels=kernel_cache(
            facts=question.sources.facts,
            namespace=question.sources.namespace,
            model=question.model.name,
            weights=located.weights,
            engine=best.engine,
            hardware=best.hardware,
            split=layout.split,
        ),
    )


def _considered(
    question: Question, found: Sequence[Option], assessments: Sequence[Assessment], offered: Offers
) -> tuple[Candidate, ...]:
    """The choice, what came after it and why it lost, then everything that was refused and why."""
    best, *others = found
    if not others:
        # One class alone: its second layout is the runner-up.
        others = list(islice((each for each in options(question, best.hardware) if _differs(each, best)), 1))
    return (
        *(accepted(option, best) for option in (best, *others)),
        *(line for each in assessments for line in each.lines),
        *offered.refused,
    )
