"""Arguments and variables that the operator decides, each with what to set instead.

They would contradict the plan, the Services or the policies of the group, or break it in a way that shows late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deepseek_operator.engines.owned_flags import FLAGS

_CONTRACT: Final = "the launch script and the rank barrier rely on it"
_GROUP: Final = "the operator connects the ranks itself"
_KEYS: Final = "set spec.access.keys"
_PORTS: Final = "the API Service, the probes and the network policies rely on the operator's ports"
_DEVICES: Final = "the device plugin assigns devices; spec.hardware.acceleratorsPerNode sets how many"

_OF_ALL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("POD_IP", "POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME"), _CONTRACT),
    **dict.fromkeys(("NODE_RANK", "GROUP", "GROUP_SIZE", "INCARNATION", "LEADER_ADDRESS"), _CONTRACT),
    "IMAGE": "set spec.engine.image",
    "ACCELERATORS": "set spec.hardware.acceleratorsPerNode",
    "API_KEY": _KEYS,
    "ADMIN_API_KEY": _KEYS,
    "HF_TOKEN": "set spec.weights.tokenSecret: only the container that fetches weights may see the token",
    "HUGGING_FACE_HUB_TOKEN": "set spec.weights.tokenSecret",
    "HF_HUB_OFFLINE": "weights are complete before the engine starts; set spec.weights",
    **dict.fromkeys(("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"), _GROUP),
    **dict.fromkeys(
        (
            "CUDA_VISIBLE_DEVICES",
            "HIP_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES",
            "ASCEND_RT_VISIBLE_DEVICES",
            "ASCEND_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
        ),
        _DEVICES,
    ),
}
_RAY: Final[Mapping[str, str]] = dict.fromkeys(("RAY_ADDRESS", "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT"), _GROUP)

_OF_ENGINES: Final[Mapping[str, Mapping[str, str]]] = {
    "sglang": {
        "SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE": _GROUP,
        "SGLANG_BLOCK_NONZERO_RANK_CHILDREN": "workers would end as soon as they have started",
        # CVE-2026-111391: with it set, SGLang 0.5.10 to 0.5.22 runs code sent to /dumper/configure.
        "DUMPER_SERVER_PORT": "it opens a port that runs code sent to it",
    },
    "vllm": {
        **_RAY,
        **dict.fromkeys(
            (
                "VLLM_DP_MASTER_IP",
                "VLLM_DP_MASTER_PORT",
                "VLLM_DP_RANK",
                "VLLM_DP_RANK_LOCAL",
                "VLLM_DP_SIZE",
                "VLLM_HOST_IP",
                "VLLM_PORT",
            ),
            _GROUP,
        ),
        "VLLM_API_KEY": _KEYS,
        "VLLM_ENGINE_READY_TIMEOUT_S": "set spec.startup.deadlineSeconds",
        "VLLM_PROCESS_NAME_PREFIX": "the probes know the workers by their names",
        # entrypoints/serve/rpc: with it set, /collective_rpc runs any method of the workers.
        "VLLM_SERVER_DEV_MODE": "it opens routes that run methods of the engine",
    },
    "lmdeploy": {
        **_RAY,
        **dict.fromkeys(
            (
                "LMDEPLOY_DIST_MASTER_ADDR",
                "LMDEPLOY_DIST_MASTER_PORT",
                "LMDEPLOY_DP_MASTER_ADDR",
                "LMDEPLOY_DP_MASTER_PORT",
                "LMDEPLOY_EXECUTOR_BACKEND",
            ),
            _GROUP,
        ),
    },
}

INTERFACE_REMEDY: Final = "set spec.fabric.interface"


def owned_flags(engine: str) -> Mapping[str, str]:
    """What to set instead of each flag that the operator decides, by canonical spelling of any release."""
    return FLAGS.get(engine, {})


def owned_variables(engine: str) -> Mapping[str, str]:
    """What to set instead of each environment variable that the operator decides.

    The variables of the vendors that name interfaces and addresses are owned too; the catalogue lists them.
    """
    return {**_OF_ALL, **_OF_ENGINES.get(engine, {})}
