"""What is told of a failed rank: what its last words are known to mean, with the remedy."""

from __future__ import annotations

import pytest

from deepseek_operator.catalog.operations.load import load_operations
from deepseek_operator.lifecycle.exits import told_exit

LAST_WORDS = {
    "Float8NotSupported": "ValueError: type fp8e4nv not supported in this architecture. The supported fp8 dtypes are",
    "BlockShape": "ValueError: output_partition_size = 576 is not divisible by weight quantization block_n = 128.",
    "UnknownArgument": "launch_server.py: error: unrecognized arguments: --no-such-flag",
    "HubRefused": "huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url",
    "RevisionNotFound": "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error",
    "CredentialsRefused": "error: s3://b/v3: the store refuses these credentials (401 or 403); set AWS_ACCESS_KEY_ID",
    "VolumeReadOnly": "error: /models: cannot be written (Read-only file system); mount the volume writable",
    "SourceUnreachable": "error: model-1.safetensors: failed 8 times in a row, last with ConnectError; check proxy",
    "RemoteCode": "ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
    "OtherWeightsThere": "error: --output /models/converted/bf16: it holds the result of another input; empty it",
    "DiskFull": "OSError: [Errno 28] No space left on device",
    "WeightsMissing": "RuntimeError: Cannot find any model weights with `/models/x`",
    "CorruptWeights": "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
    "DeviceOutOfMemory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "MemoryUnbalanced": "ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes.",
    "LoopbackAddress": "RuntimeError: Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc] 127.0.0.1:33445",
    "LockedMemory": "NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory",
    "SharedMemory": "NCCL WARN Error while creating shared memory segment /dev/shm/nccl-x",
    "FabricError": "ncclSystemError: System call (e.g. socket, malloc) failed; unhandled system error",
    "CollectiveTimeout": "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1)",
    "LoadBarrier": "TP rank 1 could finish the model loading, but there are other ranks that didn't finish",
    "HCCLConnectTimeout": "EI0006: Getting socket times out. Reason: Remote Rank did not send the data in time.",
    "ServiceLinks": "ValueError: VLLM_PORT 'tcp://10.0.0.1:8000' appears to be a URI.",
    "EngineWatchdog": "Scheduler watchdog timeout (self.watchdog_timeout=600) Watchdog timeout (600 s)",
    "AddressInUse": "OSError: [Errno 98] Address already in use",
    "CollectiveMismatch": "RuntimeError: Detected mismatch between collectives on ranks.",
}


@pytest.mark.parametrize("name", LAST_WORDS)
def test_known_last_words_get_their_diagnosis_and_a_remedy(name: str) -> None:
    found = load_operations().diagnose(LAST_WORDS[name])
    assert found is not None
    assert found.name == name
    assert found.remedy


def test_every_diagnosis_has_a_sample_and_a_source() -> None:
    known = load_operations().diagnoses
    assert {each.name for each in known} == LAST_WORDS.keys()
    assert all(each.source.startswith("https://") for each in known)


def test_words_that_are_not_known_get_no_diagnosis() -> None:
    assert load_operations().diagnose("Killed") is None


def test_a_signal_is_told_by_its_name() -> None:
    assert told_exit(137) == " with exit code 137 (SIGKILL)"
    assert told_exit(1) == " with exit code 1"
    assert told_exit(None) == ""
