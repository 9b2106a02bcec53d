"""From an engine's answers to how its ranks start: the launch script in its frame, probes, ports, volumes."""

from __future__ import annotations

from typing import Final

from deepseek_operator.api.names import API_PORT
from deepseek_operator.engines.environment import interface_variables
from deepseek_operator.engines.script import Frame, PreflightFrame, program, render, render_preflight
from deepseek_operator.engines.types import Engine, Launch, Start

BARRIER_PORT: Final = 20100
"""Where rank 0 waits for the others before any engine starts."""
_PREFLIGHT: Final = {"barrier_port": 20101, "preflight_port": 20102, "meeting_seconds": 3600, "preflight_seconds": 300}
"""Ports of the preflight, which is over before the engine's are taken. Ranks may pull an image of 30 GB first; the
all-reduces themselves take seconds, and over sockets less than a minute (docs/measurements/preflight.md)."""


def assemble(engine: Engine, start: Start) -> Launch:
    """How every rank of every group of a deployment starts."""
    plan, vendor, preset = start.plan, start.vendor, start.preset
    frame = Frame(
        interface=plan.fabric.interface,
        interface_variables=interface_variables(vendor),
        address_variables=vendor.address_env,
        setup_scripts=(*vendor.setup_scripts, *(preset.setup_scripts if preset else ())),
        library_paths=preset.library_paths if preset else (),
        unset_proxies=vendor.collective == "hccl",
        barrier=start.spans_nodes,
        barrier_port=BARRIER_PORT,
    )
    commands, health, body = engine.command(start), engine.health(start), engine.body(start)
    own = {**engine.ports(start), "barrier": BARRIER_PORT} if start.spans_nodes else {}
    probe = (
        "python3",
        "-c",
        program("probe.py"),
        str(API_PORT),
        health.path,
        health.processes,
        str(health.count),
    )
    return Launch(
        script=render(frame, body),
        leader_command=commands.leader,
        worker_command=commands.worker,
        env={**(preset.env if preset else {}), **engine.env(start)},
        ports={**({"http": API_PORT} if health.path else {}), **own},
        startup_probe=probe,
        readiness_probe=probe,
        probe_timeout_seconds=health.timeout_seconds,
        probe_period_seconds=health.period_seconds,
        startup_seconds=plan.startup_seconds,
        termination_grace_seconds=engine.grace_seconds(start),
        mounts=(*vendor.mounts, *(preset.mounts if preset else ())),
        writable=engine.caches(),
        annotations=preset.annotations if preset else {},
        resources=preset.resources if preset else {},
        preflight=_preflight(frame, start),
        ssh=body.ssh,
    )


def _preflight(frame: Frame, start: Start) -> str | None:
    if not start.spec.fabric.preflight:
        return None
    # ROCm's torch calls RCCL nccl, too.
    backend = "hccl" if start.vendor.collective == "hccl" else "nccl"
    return render_preflight(frame, PreflightFrame(backend=backend, **_PREFLIGHT))
