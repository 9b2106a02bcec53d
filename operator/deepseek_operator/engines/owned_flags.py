"""Flags of each engine that the operator decides, each with what to set instead, by canonical spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RENDEZVOUS: Final = "the operator connects the ranks itself; spec.parallelism and spec.fabric are what can be set"
_PORTS: Final = "the API Service, the probes and the network policies rely on the operator's ports"
_TLS: Final = "the engine speaks plain HTTP inside the cluster; end TLS at an ingress or gateway in front"
_ROLES: Final = "this version of the operator serves prefill and decode from one group"
_DEVICES: Final = "the device plugin assigns devices; spec.hardware.acceleratorsPerNode sets how many"
_MODEL: Final = "set spec.model, or spec.weights.source for weights of your own"
_TOKENIZER: Final = "the tokenizer comes with the weights; set spec.weights.source"
_REVISION: Final = "set spec.revision"
_WEIGHTS: Final = "weights are complete before the engine starts; set spec.weights"
_SERVED_NAME: Final = "set spec.servedName"
_REMOTE_CODE: Final = "set spec.trustRemoteCode"
_LENGTH: Final = "set spec.context.maxLength"
_REQUESTS: Final = "set spec.context.maxRunningRequests"
_CACHE_PRECISION: Final = "set spec.context.kvCachePrecision"
_PRECISION: Final = "set spec.precision"
_METHOD: Final = "set spec.precision; the engine reads the method from the weights"
_TENSOR: Final = "set spec.parallelism.tensor"
_PIPELINE: Final = "set spec.parallelism.pipeline"
_ATTENTION: Final = "set spec.parallelism.attentionData"
_COPIES: Final = "set spec.replicas for more copies of the model, spec.parallelism.attentionData inside one"
_EXPERT: Final = "set spec.parallelism.expert"
_NODES: Final = "set spec.parallelism.nodes"
_MTP: Final = "set spec.engine.features.mtp"
_VENDOR: Final = "set spec.hardware.vendor"
_METRICS: Final = "metrics are always on"
_KEYS: Final = "set spec.access.keys; arguments are no place for secrets"
_TOKEN: Final = "set spec.weights.tokenSecret: only the container that fetches weights may see the token"  # noqa: S105
_FILE: Final = "write the flags into spec.engine.args; a file could carry settings that nobody has checked"

FLAGS: Final[Mapping[str, Mapping[str, str]]] = {
    "sglang": {
        "--model-path": _MODEL,
        "--tokenizer-path": _TOKENIZER,
        "--revision": _REVISION,
        "--download-dir": _WEIGHTS,
        "--served-model-name": _SERVED_NAME,
        "--trust-remote-code": _REMOTE_CODE,
        "--context-length": _LENGTH,
        "--max-running-requests": _REQUESTS,
        "--kv-cache-dtype": _CACHE_PRECISION,
        "--dtype": _PRECISION,
        "--quantization": _METHOD,
        "--tp-size": _TENSOR,
        "--pp-size": _PIPELINE,
        "--attn-dp-size": _ATTENTION,
        "--enable-dp-attention": _ATTENTION,
        "--dp-size": _COPIES,
        "--ep-size": _EXPERT,
        "--nnodes": _NODES,
        "--speculative-algorithm": _MTP,
        "--moe-a2a-backend": "set spec.engine.features.deepep",
        "--enable-eplb": "set spec.engine.features.redundantExperts",
        "--ep-num-redundant-experts": "set spec.engine.features.redundantExperts",
        "--enable-torch-compile": "set spec.engine.features.torchCompile",
        "--device": _VENDOR,
        **dict.fromkeys(("--base-gpu-id", "--gpu-id-step"), _DEVICES),
        **dict.fromkeys(
            ("--node-rank", "--dist-init-addr", "--nccl-port", "--gated-launch-port", "--use-ray"), _RENDEZVOUS
        ),
        **dict.fromkeys(
            ("--host", "--port", "--grpc-port", "--grpc-mode", "--smg-grpc-mode", "--fastapi-root-path"), _PORTS
        ),
        "--enable-metrics": _METRICS,
        **dict.fromkeys(("--api-key", "--admin-api-key"), _KEYS),
        "--config": _FILE,
        **dict.fromkeys(
            ("--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--ssl-keyfile-password", "--enable-ssl-refresh"),
            _TLS,
        ),
        **dict.fromkeys(
            (
                "--disaggregation-mode",
                "--disaggregation-bootstrap-port",
                "--disaggregation-transfer-backend",
            ),
            _ROLES,
        ),
    },
    "vllm": {
        "--model": _MODEL,
        "--model-class-overrides": _MODEL,
        **dict.fromkeys(("--tokenizer", "--tokenizer-revision", "--skip-tokenizer-init"), _TOKENIZER),
        **dict.fromkeys(("--revision", "--code-revision"), _REVISION),
        "--download-dir": _WEIGHTS,
        "--served-model-name": _SERVED_NAME,
        "--trust-remote-code": _REMOTE_CODE,
        "--max-model-len": _LENGTH,
        "--max-num-seqs": _REQUESTS,
        "--kv-cache-dtype": _CACHE_PRECISION,
        "--dtype": _PRECISION,
        "--quantization": _METHOD,
        "--tensor-parallel-size": _TENSOR,
        "--pipeline-parallel-size": _PIPELINE,
        "--enable-expert-parallel": _EXPERT,
        **dict.fromkeys(("--data-parallel-size", "--data-parallel-size-local"), _COPIES),
        "--nnodes": _NODES,
        **dict.fromkeys(("--speculative-config", "--spec-method", "--spec-model", "--spec-tokens"), _MTP),
        **dict.fromkeys(("--device-ids", "--worker-cls"), _DEVICES),
        **dict.fromkeys(
            (
                "--data-parallel-address",
                "--data-parallel-backend",
                "--data-parallel-external-lb",
                "--data-parallel-hybrid-lb",
                "--data-parallel-multi-port-external-lb",
                "--data-parallel-rank",
                "--data-parallel-rpc-port",
                "--data-parallel-start-rank",
                "--data-parallel-supervisor-port",
                "--distributed-executor-backend",
                "--enable-elastic-ep",
                "--enable-fault-tolerance",
                "--headless",
                "--master-addr",
                "--master-port",
                "--node-rank",
            ),
            _RENDEZVOUS,
        ),
        **dict.fromkeys(("--host", "--port", "--uds", "--root-path", "--grpc", "--grpc-port"), _PORTS),
        "--disable-log-stats": _METRICS,
        "--api-key": _KEYS,
        "--hf-token": _TOKEN,
        "--config": _FILE,
        **dict.fromkeys(
            (
                "--ssl-keyfile",
                "--ssl-certfile",
                "--ssl-ca-certs",
                "--ssl-cert-reqs",
                "--ssl-ciphers",
                "--enable-ssl-refresh",
            ),
            _TLS,
        ),
        **dict.fromkeys(("--kv-transfer-config", "--ec-transfer-config"), _ROLES),
    },
    "lmdeploy": {
        "--revision": _REVISION,
        "--download-dir": _WEIGHTS,
        "--model-name": _SERVED_NAME,
        "--trust-remote-code": _REMOTE_CODE,
        "--session-len": _LENGTH,
        "--max-batch-size": _REQUESTS,
        "--quant-policy": "LMDeploy keeps the cache of latent attention in BF16",
        "--dtype": _PRECISION,
        "--model-format": _METHOD,
        "--tp": _TENSOR,
        "--dp": _ATTENTION,
        "--ep": _EXPERT,
        "--nnodes": _NODES,
        "--speculative-algorithm": _MTP,
        "--device": _VENDOR,
        "--backend": "DeepSeek models run on the PyTorch backend only",
        "--empty-init": _WEIGHTS,
        **dict.fromkeys(
            ("--node-rank", "--dist-init-addr", "--distributed-executor-backend", "--proxy-url"), _RENDEZVOUS
        ),
        **dict.fromkeys(("--server-name", "--server-port"), _PORTS),
        "--disable-metrics": _METRICS,
        "--api-keys": _KEYS,
        "--ssl": _TLS,
        **dict.fromkeys(("--role", "--migration-backend", "--kv-transfer-config"), _ROLES),
    },
    "tensorrt-llm": {
        "--tokenizer": _TOKENIZER,
        "--revision": _REVISION,
        "--trust_remote_code": _REMOTE_CODE,
        "--max_seq_len": _LENGTH,
        "--max_batch_size": _REQUESTS,
        "--tensor_parallel_size": _TENSOR,
        "--pipeline_parallel_size": _PIPELINE,
        "--moe_expert_parallel_size": _EXPERT,
        "--gpus_per_node": _DEVICES,
        "--backend": "DeepSeek models run on the PyTorch backend only",
        **dict.fromkeys(("--host", "--port"), _PORTS),
        "--config": _FILE,
        **dict.fromkeys(("--metadata_server_config_file", "--server_role", "--disagg_cluster_uri"), _ROLES),
    },
    "deepseek-infer": {
        "--ckpt-path": _MODEL,
        "--config": "the configuration follows from spec.model and spec.precision",
        **dict.fromkeys(
            ("--input-file", "--interactive"), "the operator starts the batch or the interactive program itself"
        ),
    },
}
"""By engine, then by canonical spelling of any release."""
