"""vLLM's own reading of the arguments that spread its ranks: what ``create_engine_config`` makes of them.

`parallel_of` runs it up to the ParallelConfig, with a model that is only known to have experts.
"""

from __future__ import annotations

import importlib
import types
from typing import Any


class _MadeError(Exception):
    """Ends the reading; has the configuration that was made."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made


class _Maker:
    """Stands for the class ParallelConfig, defaults included, and ends the reading with the first one made."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __call__(self, **given: Any) -> None:
        raise _MadeError(self._real(**given))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


MODEL = types.SimpleNamespace(
    model="/weights",
    model_weights="",
    tokenizer="/weights",
    hf_text_config=types.SimpleNamespace(layer_types=None),
    hf_config=None,
    is_moe=True,
    is_attention_free=False,
    skip_tokenizer_init=False,
    get_sliding_window=lambda: None,
)
SHOWN = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "data_parallel_size_local",
    "data_parallel_rank",
    "data_parallel_master_ip",
    "data_parallel_external_lb",
    "data_parallel_hybrid_lb",
    "data_parallel_rpc_port",
    "distributed_executor_backend",
    "enable_expert_parallel",
    "nnodes_within_dp",
    "node_rank_within_dp",
    "local_world_size",
    "world_size_across_dp",
)


def parallel_of(arguments: Any) -> dict[str, Any]:
    """The ParallelConfig of parsed arguments; raises as vLLM does when it refuses them."""
    # Looked up as an attribute of its package, which imports it only when asked.
    importlib.import_module("huggingface_hub.constants")
    module: Any = importlib.import_module("vllm.engine.arg_utils")
    real = module.ParallelConfig

    replaced = {
        "ParallelConfig": _Maker(real),
        "maybe_override_with_speculators": lambda **each: (each["model"], each["tokenizer"], None),
        "resolve_kv_cache_dtype_string": lambda dtype, _: dtype,
        "is_ray_initialized": lambda: False,
        "is_in_ray_actor": lambda: False,
        "is_cloud_storage": lambda _: False,
        "configure_logging_if_needed": lambda _: None,
    }
    kept = {name: getattr(module, name) for name in replaced if hasattr(module, name)}
    for name in kept:
        setattr(module, name, replaced[name])
    made = module.AsyncEngineArgs.from_cli_args(arguments)
    made.enable_prefix_caching = True
    for name in ("_set_default_chunked_prefill_and_prefix_caching_args", "_check_feature_supported"):
        setattr(made, name, lambda *_: None)
    made.create_model_config = lambda: MODEL
    try:
        made.create_engine_config(headless=arguments.headless)
    except _MadeError as end:
        return {name: getattr(end.made, name) for name in SHOWN}
    finally:
        for name, value in kept.items():
            setattr(module, name, value)
    raise RuntimeError("vLLM made no ParallelConfig")
