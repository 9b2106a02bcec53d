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

from e2e.under_stubs.answer import Outcome, asked, flags_of, parsed, quiet, respond
from e2e.under_stubs.stubs import install
from e2e.under_stubs.vllm_checks import check, pretend
from e2e.under_stubs.vllm_parallel import parallel_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

EXECUTED = (
    "vllm._version",
    "vllm.config",
    "vllm.engine.arg_utils",
    "vllm.entrypoints.chat_utils",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.cli.types",
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.constants",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.launchers.launcher",
    "vllm.entrypoints.launchers.utils.constants",
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.openai.cli_args",
    "vllm.entrypoints.utils",
    "vllm.envs",
    "vllm.logger",
    "vllm.logging_utils",
    "vllm.model_executor.layers.quantization.utils.quant_utils",
    "vllm.platforms",
    "vllm.plugins",
    "vllm.ray.lazy_utils",
    "vllm.renderers.chat_utils",
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


def make_parser(source: Path) -> tuple[Any, Any]:
    """The release's parser of ``vllm serve``, and the module that made it."""
    name = next(each for each in PARSERS if source.joinpath(*each.split(".")).with_suffix(".py").is_file())
    module = importlib.import_module(name)
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm serve")
    return module.make_arg_parser(parser), module


def main() -> None:
    """Answers the request on standard input: also ``vendor``, ``devices`` of a node and ``model``, a config.json."""
    quiet()
    request = asked()
    source = Path(sys.argv[1])
    install(source, ("vllm",), EXECUTED)
    # The parser's patterns are plain ones.
    sys.modules["regex"] = re
    pretend(request["vendor"], request["devices"])
    parser, module = make_parser(source)
    # A template is a file of the image, which is not here.
    module.validate_chat_template = lambda _: None

    def complete(arguments: argparse.Namespace) -> None:
        module.validate_parsed_serve_args(arguments)
        check(arguments, request["model"])

    def judge(command: list[str]) -> Outcome:
        # Checks change what was parsed, so they get a parse of their own.
        def parse() -> Mapping[str, Any]:
            arguments = parser.parse_args(command)
            return parallel_of(arguments) if request.get("parallel") else vars(arguments)

        return parsed(parse, lambda _: complete(parser.parse_args(command)))

    respond(request, judge, lambda: flags_of(parser))


if __name__ == "__main__":
    main()
