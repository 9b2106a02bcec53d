"""What vLLM checks after parsing ``vllm serve``: the engine's configuration, made by its own code without a device.

What runs is vLLM's: ``vllm serve``'s own checks, and ``EngineArgs.create_engine_config`` with the parallel, cache,
scheduler, speculative and all other configurations that it makes and validates, and the model's check of the parallel
one. What stands in: the view of a checkpoint (``model`` of the request is its config.json), the platform, and the
devices of a node. What is left out is the last step, in which ``VllmConfig`` adjusts the parts to one another.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import types
from typing import TYPE_CHECKING, Any

# vLLM reads attributes of it without importing it.
import huggingface_hub.constants  # noqa: F401

from e2e.under_stubs.stubs import Anything

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

FRONTENDS = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.launcher",
    "vllm.entrypoints.openai.api_server",
)
"""Where ``validate_api_server_args`` is, newest first: 0.33, 0.32, 0.23."""
DEVICES = {"nvidia": ("CUDA", "cuda"), "amd": ("ROCM", "cuda"), "ascend": ("OOT", "npu"), "cpu": ("CPU", "cpu")}


class Model:
    """Stands for vLLM's ``ModelConfig``; what is not given is absent."""

    is_attention_free = False
    is_chunked_prefill_supported = True
    is_prefix_caching_supported = True
    runner_type = "generate"
    multimodal_config = None
    is_multimodal_model = False

    def __init__(self, config: Mapping[str, Any], arguments: Any) -> None:
        self.model = self.model_weights = arguments.model
        self.tokenizer = arguments.tokenizer or arguments.model
        self.quantization = arguments.quantization
        self.enforce_eager = arguments.enforce_eager
        self.trust_remote_code = arguments.trust_remote_code
        self.max_model_len = arguments.max_model_len
        if self.max_model_len in {None, -1}:
            self.max_model_len = config["max_position_embeddings"]
        elif self.max_model_len > config["max_position_embeddings"]:
            raise ValueError(f"max_model_len {self.max_model_len} is above {config['max_position_embeddings']}")
        self.hf_config = self.hf_text_config = Checkpoint(config)
        self.architectures = config["architectures"]
        self._model_info = types.SimpleNamespace(architecture=config["architectures"][0])
        self.is_moe = bool(config.get("n_routed_experts"))
        self.use_mla = bool(config.get("kv_lora_rank"))
        self.is_deepseek_mla = self.use_mla
        self.model_arch_config = types.SimpleNamespace(
            total_num_attention_heads=config["num_attention_heads"],
            num_experts=config.get("n_routed_experts", 0),
            total_num_hidden_layers=config["num_hidden_layers"],
        )
        # Of DeepSeek's and Qwen's and Llama's classes all are.
        self.registry = types.SimpleNamespace(
            is_pp_supported_model=lambda *_: True, is_hc_sp_supported_model=lambda *_: False
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Methods that read the checkpoint are vLLM's own.
        own = getattr(importlib.import_module("vllm.config.model").ModelConfig, name, None)
        if callable(own):
            return functools.partial(own, self)
        return False if name.startswith(("is_", "has_", "use_")) else None

    @property
    def architecture(self) -> str:
        """The class that runs the checkpoint."""
        return str(self.hf_config.architectures[0])

    def draft(self, *, hf_overrides: Any = None, **_: object) -> Model:
        """The model that predicts further tokens, out of the same checkpoint."""
        made = object.__new__(Model)
        made.__dict__.update(self.__dict__)
        made.hf_config = Checkpoint(self.hf_config.to_dict())
        if callable(hf_overrides):
            made.hf_config = hf_overrides(made.hf_config)
        made.hf_text_config = made.hf_config
        return made


class Checkpoint(types.SimpleNamespace):
    """Stands for transformers' view of a config.json."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(**config)

    def get_text_config(self) -> Checkpoint:
        """The part about text: all of it."""
        return self

    def update(self, values: Mapping[str, Any]) -> None:
        """As transformers' configurations do."""
        self.__dict__.update(values)

    def to_dict(self) -> dict[str, Any]:
        """As transformers' configurations do."""
        return dict(self.__dict__)


def pretend(vendor: str, devices: int) -> None:
    """A platform of the vendor with so many devices: vLLM asks the driver, which is not here."""
    platforms: Any = importlib.import_module("vllm.platforms")
    interface = importlib.import_module("vllm.platforms.interface")
    kind, device = DEVICES[vendor]
    platforms._current_platform = type(  # noqa: SLF001 - vLLM finds its platform here
        "Pretended",
        (interface.Platform,),
        {
            "_enum": interface.PlatformEnum[kind],
            "device_name": device,
            "device_type": device,
            "supported_quantization": [],
            "device_count": classmethod(lambda _: devices),
            "is_sleep_mode_available": lambda _: False,
            "supports_mx": classmethod(lambda _: False),
            "supports_fp8": classmethod(lambda _: True),
            "get_device_total_memory": classmethod(lambda *_: 80 * 2**30),
            "get_device_name": classmethod(lambda *_: "pretended"),
            "support_static_graph_mode": classmethod(lambda _: True),
            "check_and_update_config": classmethod(lambda *_: None),
        },
    )()


def check(arguments: argparse.Namespace, model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Makes the engine's configuration as ``vllm serve`` does before it starts anything; returns its parts.

    Raises:
        Exception: whatever vLLM refuses the arguments with.
    """
    serve = importlib.import_module("vllm.entrypoints.cli.serve")
    for name in ("run_dp_supervisor", "run_headless", "run_multi_api_server", "uvloop"):
        setattr(serve, name, Anything())
    if arguments.model_tag is not None:
        arguments.model = arguments.model_tag
    serve.ServeSubcommand.cmd(arguments)
    engine: Any = importlib.import_module("vllm.engine.arg_utils")
    speculation: Any = importlib.import_module("vllm.config.speculative")
    made = engine.AsyncEngineArgs.from_cli_args(arguments)
    standing = Model(model, made)
    engine.maybe_override_with_speculators = lambda *, model, tokenizer, vllm_speculative_config, **_: (
        model,
        tokenizer,
        vllm_speculative_config,
    )
    engine.AsyncEngineArgs.create_model_config = lambda _: standing
    engine.VllmConfig = types.SimpleNamespace
    speculation.ModelConfig = standing.draft
    parts: Mapping[str, Any] = vars(made.create_engine_config(headless=arguments.headless))
    importlib.import_module("vllm.config.model").ModelConfig.verify_with_parallel_config(
        standing, parts["parallel_config"]
    )
    if not arguments.headless:
        _frontend(arguments)
    return parts


def _frontend(arguments: argparse.Namespace) -> None:
    """The server's check of parser names; the engine's configuration has put them where it looks for them."""
    modules = (importlib.import_module(name) for name in FRONTENDS if importlib.util.find_spec(name))
    function = next(found for module in modules if callable(found := vars(module).get("validate_api_server_args")))
    function(arguments)
