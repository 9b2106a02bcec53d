"""The story that the demonstration tells; every chapter runs commands against the cluster and shows the answers."""

from __future__ import annotations

from pathlib import Path

from e2e.demo import screen
from e2e.demo.stage import (
    NAMESPACES,
    READY_SECONDS,
    Stage,
    add_nodes,
    apply,
    await_condition,
    change_nodes,
    create_namespace,
    is_ready,
    kubectl,
    plan,
    pods,
    pods_line,
    serve,
    show_launch,
    shown,
)

BF16_VOLUME = Path(__file__).parent / "bf16-claim.yaml"
OBJECTS = "statefulset,pod,service,networkpolicy,poddisruptionbudget,controllerrevision,secret,pvc"


def tell(stage: Stage) -> None:
    """The whole story, as far as the cluster allows."""
    if not stage.fake:
        _tell_on_real_nodes(stage)
        return
    stage = _chapter_nvidia(stage)
    _chapter_failure(stage)
    stage = _chapter_amd(stage)
    stage = _chapter_ascend(stage)
    _chapter_end(stage)


def _tell_on_real_nodes(stage: Stage) -> None:
    screen.heading("Your cluster's own nodes; no fake ones, so no AMD and Ascend")
    kubectl(stage.cluster, "get", "nodes")
    refused = plan(stage, "deepseek-fp8.yaml")
    if refused:
        screen.output("Nothing of this fits on your nodes, and the lines above say why; the demonstration ends here.")
        return
    apply(stage, "deepseek-fp8.yaml", namespace=NAMESPACES[0])
    # Real nodes pull an image and hundreds of GiB of weights: nothing to wait for here.
    await_condition(stage, "Planned", "deepseek-fp8", NAMESPACES[0])
    kubectl(stage.cluster, "get", "dsd,pods", f"--namespace={NAMESPACES[0]}")


def _chapter_nvidia(stage: Stage) -> Stage:
    screen.heading("Four nodes with eight H100 each and RDMA; the plan for DeepSeek-V3 in FP8")
    stage = add_nodes(stage, "nvidia-h100.yaml")
    kubectl(stage.cluster, "get", "nodes", "--label-columns=nvidia.com/gpu.product,nvidia.com/gpu.count")
    plan(stage, "deepseek-fp8.yaml")
    serve(stage, "deepseek-fp8.yaml", namespace=NAMESPACES[0])
    screen.heading("What the operator made of ten lines of YAML")
    kubectl(stage.cluster, "get", OBJECTS, f"--namespace={NAMESPACES[0]}")
    show_launch(stage, NAMESPACES[0])
    return stage


def _chapter_failure(stage: Stage) -> None:
    namespace, victim = NAMESPACES[0], "deepseek-fp8-g0-1"
    screen.heading("A worker is killed: the group goes and comes back as one")
    before = {pod["metadata"]["uid"] for pod in pods(stage, namespace)}
    kubectl(stage.cluster, "delete", "pod", victim, f"--namespace={namespace}", "--wait=false")
    seen: list[str] = []

    def renewed() -> bool | None:
        ranks = pods(stage, namespace)
        line = pods_line(ranks)
        if not seen or line != seen[-1]:
            seen.append(line)
            screen.output(line)
        ready = len(ranks) == 2 and all(is_ready(pod) for pod in ranks)
        return True if ready and not before & {pod["metadata"]["uid"] for pod in ranks} else None

    screen.until(renewed, what="both ranks of a new incarnation", seconds=READY_SECONDS, check=stage.operator.check)
    await_condition(stage, "Ready", "deepseek-fp8", namespace)
    kubectl(stage.cluster, "get", "dsd", f"--namespace={namespace}")
    kubectl(
        stage.cluster, "get", "dsd", "deepseek-fp8", f"--namespace={namespace}",
        '--output=jsonpath={range .status.groups[*].incidents[*]}{.time} {.reason}: {.message}{"\\n"}{end}',
    )  # fmt: skip


def _chapter_amd(stage: Stage) -> Stage:
    screen.heading("MI300X nodes join, the H100 are cordoned; the same YAML")
    stage = change_nodes(stage, "amd-mi300x.yaml")
    plan(stage, "deepseek-fp8.yaml")
    serve(stage, "deepseek-fp8.yaml", namespace=NAMESPACES[1])
    return stage


def _chapter_ascend(stage: Stage) -> Stage:
    screen.heading("Ascend 910B nodes join; they have no FP8, so BF16, with the weights on a claim")
    stage = change_nodes(stage, "ascend-910b.yaml")
    namespace = NAMESPACES[2]
    create_namespace(stage, namespace)
    kubectl(stage.cluster, "apply", f"--namespace={namespace}", f"--filename={shown(BF16_VOLUME)}")
    stage.cluster.kubectl(
        "wait", f"--namespace={namespace}", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s",
        "pvc/deepseek-v3-bf16",
    )  # fmt: skip
    plan(stage, "deepseek-bf16.yaml")
    serve(stage, "deepseek-bf16.yaml", namespace=namespace)
    return stage


def _chapter_end(stage: Stage) -> None:
    screen.heading("What serves now; all nodes are uncordoned")
    stage.cluster.kubectl("uncordon", *stage.state.nodes)
    kubectl(stage.cluster, "get", "dsd", "--all-namespaces", "--output=wide")
