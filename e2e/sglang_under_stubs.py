"""Runs inside a child interpreter: SGLang's own argument parser and validation, without its dependencies.

``python sglang_under_stubs.py SOURCE`` reads a JSON object from standard input, ``{"model": {…}, "commands": [{"argv":
[…], "vendor": "nvidia"}]}``, and writes one outcome for each command to standard output: ``{"error": null | "…",
"values": {…}}``. ``SOURCE`` is the directory that holds the package ``sglang`` of one release.

What runs is SGLang's own code: its argument parser, the whole resolution of the arguments for the given model and
vendor, and its final check. What cannot run without its dependencies: reading a checkpoint's config.json (``model``
stands for it), asking the device for memory and capability (constants stand for them), and anything in kernels.

Only the modules that parse and check arguments are executed; every other module of SGLang, and every package
that is not installed (torch, transformers …), is replaced by an object that answers anything.

A process of its own for each release: the releases share module names.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import logging
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.under_stubs.stubs import install

if TYPE_CHECKING:
    from collections.abc import Sequence

EXECUTED = (
    "sglang.srt.arg_groups",
    "sglang.srt.connector",
    "sglang.srt.environ",
    "sglang.srt.function_call",
    "sglang.srt.lora.lora_registry",
    "sglang.srt.model_executor.cuda_graph_config",
    "sglang.srt.parser.reasoning_parser",
    "sglang.srt.parser.reasoning_parser_names",
    "sglang.srt.platforms",
    "sglang.srt.runtime_context",
    "sglang.srt.sampling.watermarking.config",
    "sglang.srt.server_args",
    "sglang.srt.speculative.decoupled_spec_io",
    "sglang.srt.speculative.spec_info",
    "sglang.srt.speculative.spec_registry",
    "sglang.srt.utils.common",
    "sglang.srt.utils.network",
    "sglang.srt.utils.runai_utils",
    "sglang.jit_kernel.kv_canary.consts",
    "sglang.kernels.ops.kv_canary.consts",
)
"""Modules that run for real, with all below them: found by importing each release until its parser was complete."""

MEMORY_MIB = {"nvidia": 81_559, "amd": 196_592, "ascend": 65_536}
"""What stands for the device's own answer: an H100, a MI300X and a 910B with 64 GiB."""
PROBES = ("is_cuda", "is_hip", "is_npu", "is_xpu", "is_cpu", "is_hpu", "is_musa", "is_mps")
PROBE_OF_VENDOR = {"nvidia": "is_cuda", "amd": "is_hip", "ascend": "is_npu"}


class ModelConfig(types.SimpleNamespace):
    """Stands for SGLang's view of a checkpoint; what is not given is absent."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return False if name.startswith(("is_", "has_")) else None


def model_config(config: dict[str, Any]) -> ModelConfig:
    """What SGLang would make of a config.json with these keys."""
    hugging_face = types.SimpleNamespace(**config)
    # Grouped-query models (the distilled ones) have one head size for queries, keys and values.
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    if "qk_nope_head_dim" in config:
        head_dim = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    return ModelConfig(
        hf_config=hugging_face,
        hf_text_config=hugging_face,
        context_len=config["max_position_embeddings"],
        num_attention_heads=config["num_attention_heads"],
        num_hidden_layers=config["num_hidden_layers"],
        quantization=config.get("quantization_config", {}).get("quant_method"),
        is_generation=True,
        head_dim=head_dim,
        v_head_dim=config.get("v_head_dim", head_dim),
        model_path="/models",
    )


def pretend(vendor: str, *, modules: Sequence[types.ModuleType]) -> None:
    """Answers the questions that SGLang asks the machine about its accelerator."""
    for module in modules:
        for probe in PROBES:
            if hasattr(module, probe):
                setattr(module, probe, lambda answer=probe == PROBE_OF_VENDOR[vendor]: answer)
        if hasattr(module, "get_device_memory_capacity"):
            module.get_device_memory_capacity = lambda *_: MEMORY_MIB[vendor]  # type: ignore[attr-defined] # replaced on purpose


def resolve(server: Any, arguments: argparse.Namespace, config: ModelConfig) -> None:
    """Runs SGLang's own resolution and check; raises what SGLang raises."""
    if hasattr(server.ServerArgs, "resolve_once"):
        record = server.ServerArgs.from_cli_args(arguments)
        record._model_config = config  # noqa: SLF001 - where SGLang's own tests put it
        record.resolve_once()
        importlib.import_module("sglang.srt.arg_groups.validation_hook").check_server_args(record)
        return
    # Older releases resolve while the record is made, and ask it for this attribute.
    server.ServerArgs.model_config = config
    server.ServerArgs.from_cli_args(arguments).check_server_args()


def judge(server: Any, parser: argparse.ArgumentParser, command: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """The outcome of one command."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            arguments = parser.parse_args(command["argv"])
    except SystemExit:
        return {"error": complaint.getvalue().strip().splitlines()[-1], "values": {}}
    values = {
        key: value for key, value in vars(arguments).items() if isinstance(value, (str, int, float, list, type(None)))
    }
    pretend(command["vendor"], modules=[server, importlib.import_module("sglang.srt.utils.common")])
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            resolve(server, arguments, config)
    except Exception as error:  # noqa: BLE001 - SGLang refuses with asserts and with every kind of exception
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {
            "error": f"{type(error).__name__}: {error} ({Path(where.filename).name}: {where.line})",
            "values": values,
        }
    return {"error": None, "values": values}


def flags(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Every flag by its canonical spelling: aliases, how many values it takes, and its choices."""
    found: dict[str, dict[str, Any]] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list
        if action.dest == "help" or not action.option_strings:
            continue
        name, *aliases = action.option_strings
        values = "1" if action.nargs is None else str(action.nargs)
        number = action.type.__name__ if action.type in {int, float} else ""
        choices = sorted(map(str, action.choices or ()))
        entry = {"aliases": aliases, "values": values, "type": number, "choices": choices}
        found[name] = {key: value for key, value in entry.items() if value}
    return dict(sorted(found.items()))


def main() -> None:
    """Parses and checks every command given on standard input."""
    warnings.simplefilter("ignore")
    install(Path(sys.argv[1]), ("sglang",), EXECUTED)
    request = json.load(sys.stdin)
    # An answer where a stub's would be taken for a version or a path.
    torch = importlib.import_module("torch")
    torch.version = types.SimpleNamespace(cuda="12.9", hip=None)  # type: ignore[attr-defined] # a stub module
    checkpoints = importlib.import_module("sglang.srt.utils.hf_transformers_utils")
    checkpoints.resolve_hf_gguf_reference = lambda *_, **__: None  # type: ignore[attr-defined] # a stub module
    server = importlib.import_module("sglang.srt.server_args")
    parser = argparse.ArgumentParser(prog="sglang")
    server.ServerArgs.add_cli_args(parser)
    logging.disable(logging.CRITICAL)
    answer = {
        "flags": flags(parser),
        "outcomes": [judge(server, parser, command, model_config(request["model"])) for command in request["commands"]],
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
