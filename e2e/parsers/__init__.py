"""The engines' own parsers, for tests and generators: what an engine makes of a command line.

One function an engine: `parse(command, version)` with a complete command, program included, answers with an `Outcome`.
``check`` takes many commands at once, since each call starts an interpreter. Sources come from the package registry
and are kept in the cache (`sources`); the parsers run in a child process under stubs (`e2e.under_stubs`).

- ``vllm``: ``vllm serve`` (vLLM's argparse and its checks of the parsed arguments)
- ``lmdeploy``: ``lmdeploy serve api_server`` and ``lmdeploy serve proxy``
- ``ray``: ``ray start`` and ``ray symmetric-run``
- ``torchrun``: ``torchrun``, and the launch configuration that it makes
- ``sglang``: ``python3 -m sglang.launch_server``, its argument resolution and validation
- ``tensorrt_llm``, ``deepseek_infer``: not their own parsers, which no package registry has; click and argparse with
  the options that the catalogue took from their sources
"""
