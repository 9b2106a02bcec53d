"""Arguments and variables that the operator decides, each with what to set instead.

They would contradict the plan, the Services or the policies of the group, or break it in a way that shows late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RENDEZVOUS: Final = "the operator connects the ranks itself; spec.parallelism and spec.fabric are what can be set"
_PORTS: Final = "the API Service, the probes and the network policies rely on the operator's ports"
_TLS: Final = "the engine speaks plain HTTP inside the cluster; end TLS at an ingress or gateway in front"
_ROLES: Final = "this version of the operator serves prefill and decode from one group"
_DEVICES: Final = "the device plugin assigns devices; spec.hardware.acceleratorsPerNode sets how many"

FLAGS: Final[Mapping[str, str]] = {
    "--model-path": "set spec.model, or spec.weights.source for weights of your own",
    "--tokenizer-path": "the tokenizer comes with the weights; set spec.weights.source",
    "--revision": "set spec.revision",
    "--download-dir": "weights are complete before the engine starts; set spec.weights",
    "--served-model-name": "set spec.servedName",
    "--trust-remote-code": "set spec.trustRemoteCode",
    "--context-length": "set spec.context.maxLength",
    "--max-running-requests": "set spec.context.maxRunningRequests",
    "--kv-cache-dtype": "set spec.context.kvCachePrecision",
    "--dtype": "set spec.precision",
    "--quantization": "set spec.precision; the engine reads the method from the weights",
    "--tp-size": "set spec.parallelism.tensor",
    "--pp-size": "set spec.parallelism.pipeline",
    "--attn-dp-size": "set spec.parallelism.attentionData",
    "--enable-dp-attention": "set spec.parallelism.attentionData",
    "--dp-size": "set spec.replicas for more copies of the model, spec.parallelism.attentionData inside one",
    "--ep-size": "set spec.parallelism.expert",
    "--nnodes": "set spec.parallelism.nodes",
    "--speculative-algorithm": "set spec.engine.features.mtp",
    "--enable-torch-compile": "set spec.engine.features.torchCompile",
    "--device": "set spec.hardware.vendor",
    "--base-gpu-id": _DEVICES,
    "--gpu-id-step": _DEVICES,
    "--node-rank": _RENDEZVOUS,
    "--dist-init-addr": _RENDEZVOUS,
    "--nccl-port": _RENDEZVOUS,
    "--gated-launch-port": _RENDEZVOUS,
    "--use-ray": _RENDEZVOUS,
    "--host": _PORTS,
    "--port": _PORTS,
    "--grpc-port": _PORTS,
    "--grpc-mode": _PORTS,
    "--smg-grpc-mode": _PORTS,
    "--fastapi-root-path": _PORTS,
    "--enable-metrics": "metrics are always on",
    "--api-key": "set spec.access.keys; arguments are no place for secrets",
    "--admin-api-key": "set spec.access.keys; arguments are no place for secrets",
    "--config": "write the flags into spec.engine.args; a file could carry settings that nobody has checked",
    "--ssl-keyfile": _TLS,
    "--ssl-certfile": _TLS,
    "--ssl-ca-certs": _TLS,
    "--ssl-keyfile-password": _TLS,
    "--enable-ssl-refresh": _TLS,
    "--disaggregation-mode": _ROLES,
    "--disaggregation-bootstrap-port": _ROLES,
    "--disaggregation-transfer-backend": _ROLES,
}
"""By canonical spelling of any release."""

_CONTRACT: Final = "the launch script and the rank barrier rely on it"
_GROUP: Final = "the operator connects the ranks itself"

VARIABLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("POD_IP", "POD_NAME", "POD_NAMESPACE", "POD_UID", "NODE_NAME"), _CONTRACT),
    **dict.fromkeys(("NODE_RANK", "GROUP", "GROUP_SIZE", "INCARNATION", "LEADER_ADDRESS"), _CONTRACT),
    "IMAGE": "set spec.engine.image",
    "ACCELERATORS": "set spec.hardware.acceleratorsPerNode",
    "API_KEY": "set spec.access.keys",
    "ADMIN_API_KEY": "set spec.access.keys",
    "HF_TOKEN": "set spec.weights.tokenSecret: only the container that fetches weights may see the token",
    "HUGGING_FACE_HUB_TOKEN": "set spec.weights.tokenSecret",
    "HF_HUB_OFFLINE": "weights are complete before the engine starts; set spec.weights",
    **dict.fromkeys(("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"), _GROUP),
    "SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE": _GROUP,
    "SGLANG_BLOCK_NONZERO_RANK_CHILDREN": "workers would end as soon as they have started",
    # CVE-2026-111391: with it set, SGLang 0.5.10 to 0.5.22 runs code sent to /dumper/configure.
    "DUMPER_SERVER_PORT": "it opens a port that runs code sent to it",
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
"""By name. The variables of the vendors that name interfaces and addresses are owned too; the catalogue lists them."""

INTERFACE_REMEDY: Final = "set spec.fabric.interface"
