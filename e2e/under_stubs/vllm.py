"""vLLM's own parser of ``vllm serve`` and its checks of what was parsed, without torch and a device.

``python vllm.py SOURCE``: see `answer`. A command is what follows ``vllm serve``.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from e2e.under_stubs.answer import Outcome, flags_of, parsed, quiet, respond
from e2e.under_stubs.stubs import install
from e2e.under_stubs.vllm_parallel import parallel_of

if TYPE_CHECKING:
    from collections.abc import Mapping

EXECUTED = (
    "vllm._version",
    "vllm.config",
    "vllm.engine.arg_utils",
    "vllm.entrypoints.chat_utils",
    "vllm.entrypoints.cli.types",
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.constants",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.launchers.utils.constants",
    "vllm.entrypoints.openai.cli_args",
    "vllm.entrypoints.utils",
    "vllm.envs",
    "vllm.logger",
    "vllm.logging_utils",
    "vllm.model_executor.layers.quantization.utils.quant_utils",
    "vllm.platforms",
    "vllm.plugins",
    "vllm.ray.lazy_utils",
    "vllm.reasoning",
    "vllm.scalar_type",
    "vllm.tasks",
    "vllm.tool_parsers",
    "vllm.utils",
    "vllm.v1.attention.backends.mla.prefill.registry",
    "vllm.v1.attention.backends.registry",
    "vllm.v1.kv_cache_layout",
    "vllm.v1.sample.logits_processor.interface",
    "vllm.version",
)
"""Modules that run for real, with all below them: found by importing each release until its parser was complete."""
PARSERS = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)
"""Where ``make_arg_parser`` is, newest first: 0.33, 0.32, 0.23."""
DEVICES = {"nvidia": ("CUDA", "cuda"), "amd": ("ROCM", "cuda"), "ascend": ("OOT", "npu"), "cpu": ("CPU", "cpu")}


def pretend(vendor: str) -> None:
    """A platform of the vendor: vLLM asks the driver, which is not here."""
    platforms = importlib.import_module("vllm.platforms")
    interface = importlib.import_module("vllm.platforms.interface")
    name, device = DEVICES[vendor]
    kind = {"_enum": interface.PlatformEnum[name], "device_name": device, "device_type": device}
    platforms._current_platform = type("Pretended", (interface.Platform,), kind)()  # type: ignore[attr-defined]  # noqa: SLF001


def make_parser(source: Path) -> tuple[Any, Any]:
    """The release's parser of ``vllm serve``, and the module that made it."""
    name = next(each for each in PARSERS if source.joinpath(*each.split(".")).with_suffix(".py").is_file())
    module = importlib.import_module(name)
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm serve")
    return module.make_arg_parser(parser), module


def main() -> None:
    """Answers the request on standard input."""
    quiet()
    source = Path(sys.argv[1])
    install(source, ("vllm",), EXECUTED)
    # The parser's patterns are plain ones.
    sys.modules["regex"] = re
    pretend("nvidia")
    parser, module = make_parser(source)

    def judge(command: Mapping[str, Any], request: Mapping[str, Any]) -> Outcome:
        def parse() -> Mapping[str, Any]:
            arguments = parser.parse_args(command["argv"])
            return parallel_of(arguments) if request.get("parallel") else vars(arguments)

        return parsed(parse, lambda _: module.validate_parsed_serve_args(parser.parse_args(command["argv"])))

    respond(judge, lambda: flags_of(parser))


if __name__ == "__main__":
    main()
