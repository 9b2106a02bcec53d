"""The DeepSeek-Infer demo's launch script as processes, with a torchrun that tells what it was given and ends."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from deepseek_operator.api.resource import Spec
from deepseek_operator.engines.deepseek_infer import DeepSeekInfer
from deepseek_operator.engines.launch.probe import processes
from deepseek_operator.engines.types import Start
from e2e.parsers import deepseek_infer, torchrun
from tests.unit.engines.infer_plans import ANSWERS, batch, by_hand, wanted
from tests.unit.engines.plans import launched
from tests.unit.launch.ranks import Group, Rank

STAND_IN = '''#!/usr/bin/env python3
"""Stands in for torchrun: starts a process for each device, with the environment that torchrun gives it."""
import json, os, signal, subprocess, sys

words = sys.argv[1:]
option = dict(zip(words[::2], words[1::2]))
at = words.index("generate.py")
nodes, local, node = (int(option.get(name, 0)) for name in ("--nnodes", "--nproc-per-node", "--node-rank"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(77))
ranks = []
for each in range(local):
    env = {
        **os.environ, "RANK": str(node * local + each), "LOCAL_RANK": str(each), "WORLD_SIZE": str(nodes * local),
        "MASTER_ADDR": option.get("--master-addr", "127.0.0.1"), "MASTER_PORT": option.get("--master-port", "29500"),
    }
    ranks.append(subprocess.Popen([sys.executable, "-u", *words[at:]], env=env))
record = {"argv": ["torchrun", *words], "env": dict(os.environ), "cwd": os.getcwd()}
with open(os.environ["RECORD"] + ".part", "w") as file:
    json.dump(record, file)
os.rename(os.environ["RECORD"] + ".part", os.environ["RECORD"])
print("engine runs", file=sys.stderr, flush=True)
codes = [rank.wait() for rank in ranks]
sys.exit(next((code for code in codes if code), 0))
'''
GENERATE = """
import argparse, json, os, sys, time

parser = argparse.ArgumentParser()
for flag in ("--ckpt-path", "--config", "--input-file", "--max-new-tokens", "--temperature"):
    parser.add_argument(flag)
parser.add_argument("--interactive", action="store_true")
args = parser.parse_args()
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
told = {
    "rank": rank, "world": world, "master": os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"],
    "config": json.load(open(args.config)), "leader": os.environ["LEADER_ADDRESS"], "group": os.environ["GROUP"],
}
open(f"{args.ckpt_path}/model{rank}-mp{world}.safetensors").close()
json.dump(told, open(os.path.join(os.environ["TOLD"], f"rank-{rank}.json"), "w"))
if str(rank) == os.environ.get("FAILING"):
    print("CUDA error: out of luck", file=sys.stderr)
    sys.exit(9)
if args.interactive and rank == 0:
    print(f"you said {input('>>> ')}", flush=True)
elif args.input_file and rank == 0:
    for line in open(args.input_file):
        print(f"Prompt: {line.strip()}\\nCompletion: of {args.max_new_tokens} at {args.temperature}\\n")
time.sleep(float(os.environ.get("LINGER", "0")))
"""
CONFIG = {"dtype": "fp8", "vocab_size": 129_280, "scale_fmt": "ue8m0"}


class Demo:
    """A group of two nodes of two devices, with an image, weights and prompts in one folder."""

    def __init__(self, root: Path, spec: Spec, *, nodes: int = 2, precision: str = "fp8") -> None:
        self.root = root
        made = by_hand(nodes=nodes, accelerators_per_node=2, precision=precision)
        split = made.parallelism.__class__(tensor=2 * nodes)
        weights = made.weights.__class__(**{**_fields(made.weights), "path": str(root / "weights")})
        made = made.__class__(**{**_fields(made), "parallelism": split, "weights": weights})
        self.launch = launched(made, spec)
        moved = {"/opt/DeepSeek-V3/inference": "image", "/prompts/": "prompts/", "/answers/": "answers/"}
        script = self.launch.script
        for before, after in moved.items():
            script = script.replace(before, str(root / after) + ("/" if after.endswith("/") else ""))
        self.launch = self.launch.__class__(**{**_fields(self.launch), "script": script})
        self.world = 2 * nodes
        for folder in ("image/configs", "weights", "prompts", "answers", "told", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "image" / "generate.py").write_text(GENERATE)
        for name in ("config_671B", "config_v3.1"):
            (root / "image" / "configs" / f"{name}.json").write_text(json.dumps(CONFIG))
        for rank in range(self.world):
            (root / "weights" / f"model{rank}-mp{self.world}.safetensors").touch()
        (root / "prompts" / "prompts.txt").write_text('how many $(stars)?\nand "moons"?')
        runner = root / "bin" / "torchrun"
        runner.write_text(STAND_IN)
        runner.chmod(0o755)
        self.group = Group(self.launch, root / "ranks", size=nodes)

    def rank(self, rank: int, **env: str) -> Rank:
        path = self.group.environment(rank)["PATH"]
        told = {"TOLD": str(self.root / "told"), "PATH": f"{self.root / 'bin'}:{path}", "ACCELERATORS": "2"}
        return self.group.rank(rank, **told, **env)

    def told(self) -> list[dict[str, Any]]:
        """What each rank saw from inside."""
        found = [json.loads(each.read_text()) for each in (self.root / "told").iterdir()]
        return sorted(found, key=lambda each: each["rank"])

    @property
    def answers(self) -> Path:
        return self.root / "answers" / ANSWERS["path"]


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


@pytest.fixture
def once(tmp_path: Path) -> Demo:
    return Demo(tmp_path, wanted(batch=batch(answers=ANSWERS, maxNewTokens=7)))


def test_a_batch_over_two_nodes_meets_answers_and_ends(once: Demo) -> None:
    with once.rank(0) as leader, once.rank(1) as worker:
        assert (leader.exit_code(), worker.exit_code()) == (0, 0)
        commands = [json.loads(rank.record.read_text()) for rank in (leader, worker)]
    assert [(each["rank"], each["world"]) for each in once.told()] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    address = once.group.address
    assert {(each["master"], each["leader"], each["group"]) for each in once.told()} == {
        (f"{address}:20000", address, "0")
    }
    for number, outcome in enumerate(torchrun.check([each["argv"] for each in commands])):
        assert outcome.error is None
        assert outcome.values["rdzv_configs"]["rank"] == number
    assert deepseek_infer.parse(commands[0]["argv"][commands[0]["argv"].index("generate.py") :]).error is None
    assert {each["cwd"] for each in commands} == {str(once.root / "image")}
    assert once.answers.read_text() == (
        'Prompt: how many $(stars)?\nCompletion: of 7 at 0.2\n\nPrompt: and "moons"?\nCompletion: of 7 at 0.2\n\n'
    )
    assert not once.answers.with_name("answers.txt.partial").exists()


@pytest.mark.parametrize("precision", ["fp8", "bf16"])
def test_the_demo_reads_its_configuration_with_the_plans_values(tmp_path: Path, precision: str) -> None:
    demo = Demo(tmp_path, wanted(batch=batch()), nodes=1, precision=precision)
    with demo.rank(0) as rank:
        assert rank.exit_code() == 0
    expected = {**CONFIG, "dtype": precision, "max_batch_size": 8, "max_seq_len": 16_384}
    assert [each["config"] for each in demo.told()] == [expected] * 2


def test_a_failed_rank_fails_its_node_and_leaves_no_answers(once: Demo) -> None:
    with once.rank(0, FAILING="0") as leader, once.rank(1):
        leader.says("CUDA error")
        assert leader.exit_code() == 9
    assert not once.answers.exists()


def test_a_batch_that_runs_again_replaces_the_older_answers(once: Demo) -> None:
    once.answers.parent.mkdir()
    once.answers.write_text("old")
    with once.rank(0) as leader, once.rank(1) as worker:
        assert (leader.exit_code(), worker.exit_code()) == (0, 0)
    assert "old" not in once.answers.read_text()


def test_the_terminal_hears_what_is_typed_on_rank_0(tmp_path: Path) -> None:
    demo = Demo(tmp_path, wanted(), nodes=1)
    with demo.rank(0) as rank:
        rank.type("hello")
        assert rank.prints("you said") == ">>> you said hello"


def test_a_running_batch_is_ended_with_its_pod(once: Demo) -> None:
    with once.rank(0, LINGER="60") as leader, once.rank(1, LINGER="60") as worker:
        leader.engine()
        worker.engine()
        assert leader.stop(signal.SIGTERM) == 143
    assert not once.answers.exists()


BROKEN = {
    "no code in the image": ("image/generate.py", None, "spec.engine.image: the image has no"),
    "no file for a rank": ("weights/model1-mp2.safetensors", None, "weights shard --model-parallel 2"),
    "no configuration": ("image/configs/config_671B.json", None, "spec.engine.image: the image has no readable"),
    "no prompts": ("prompts/prompts.txt", None, "spec.batch.prompts: there is no file"),
    "empty prompts": ("prompts/prompts.txt", "", "is empty"),
    "too many prompts": ("prompts/prompts.txt", "x\n" * 9, "has 9 prompts, and 8 are answered together"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_would_fail_after_loading_fails_at_once_by_its_field(case: str, tmp_path: Path) -> None:
    file, content, words = BROKEN[case]
    demo = Demo(tmp_path, wanted(batch=batch()), nodes=1)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with demo.rank(0) as rank:
        assert rank.exit_code() == 1
        assert words in rank.says("spec."), rank.lines
        assert not rank.started_engine()


def test_hostile_values_reach_the_demo_as_they_are(tmp_path: Path) -> None:
    hostile = "$(touch injected) 'it' \"is\" `x` \\ *"
    engine = {"name": "deepseek-infer", "image": "i", "args": [f"--max-new-tokens={hostile}"]}
    demo = Demo(tmp_path, wanted(engine=engine), nodes=1)
    with demo.rank(0) as rank:
        assert rank.engine()["argv"][-1] == f"--max-new-tokens={hostile}"
    assert not (tmp_path / "image" / "injected").exists()


def test_the_probe_counts_the_ranks_and_not_what_starts_them(tmp_path: Path) -> None:
    start = Start(plan=by_hand(), spec=wanted(), catalog=None, leader="")  # type: ignore[arg-type]  # not asked for
    health = DeepSeekInfer().health(start)
    lines = {
        1: "/bin/bash -c …python3 -u generate.py --ckpt-path …",
        2: "/opt/conda/bin/python /opt/conda/bin/torchrun --nnodes 2 generate.py --ckpt-path /m",
        3: "/opt/conda/bin/python -u generate.py --ckpt-path /m",
        4: "/opt/conda/bin/python3.11 -u generate.py --ckpt-path /m",
        5: "ptxas -v generate.py ",
    }
    for number, line in lines.items():
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes(re.sub(" ", "\0", line).encode())
    assert processes(tmp_path, health.processes) == 2
    assert health.path == ""
