"""Secrets never reach status, events or the operator's log, and what is no secret stays readable."""

from __future__ import annotations

import time

import pytest

from deepseek_operator.lifecycle.masking import masked

SECRETS = {
    "token hf_abcdefGHIJKL0123 rejected": "token *** rejected",
    "--api-key sk-123456 --port 1": "--api-key *** --port 1",
    "--admin-api-key=topsecret x": "--admin-api-key=*** x",
    "Args(api_key='s3cr3t', admin_api_key='t0p', port=1)": "Args(api_key='***', admin_api_key='***', port=1)",
    "{'api_key': 's3cr3t'}": "{'api_key': '***'}",
    "['sglang', '--api-key', 's3cr3t', '--port', '1']": "['sglang', '--api-key', '***', '--port', '1']",
    "Authorization: Bearer abcdefgh12345": "Authorization: Bearer ***",
    "authorization: basic dXNlcjpwYXNzd29yZA==": "authorization: basic ***",
    "http://user:pass@proxy:3128 refused": "http://***@proxy:3128 refused",
    "HF_TOKEN=short HUGGING_FACE_HUB_TOKEN='x9'": "HF_TOKEN=*** HUGGING_FACE_HUB_TOKEN='***'",
    '{"access_token": "0123456789abcdef0123"}': '{"access_token": "***"}',
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG": "AWS_SECRET_ACCESS_KEY=***",
    "key AKIAIOSFODNN7EXAMPLE denied": "key *** denied",
    "https://s3/x?X-Amz-Signature=deadbeef&X-Amz-Expires=60": "https://s3/x?X-Amz-Signature=***&X-Amz-Expires=60",
    "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc": "jwt ***",
    "password: hunter2, user: me": "password: ***, user: me",
    "-----BEGIN PRIVATE KEY-----\nMIIE\nvQ==\n-----END PRIVATE KEY-----": "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----",  # noqa: E501
    "openai sk-proj-0123456789abcdefXYZ": "openai ***",
}


@pytest.mark.parametrize("words", SECRETS)
def test_a_secret_is_masked(words: str) -> None:
    assert masked(words) == SECRETS[words]


@pytest.mark.parametrize(
    "words",
    [
        "nothing to hide: port 8000, rank 1",
        "Decode batch, #running-req: 3, #token: 51200, token usage: 0.05, cuda graph: True",
        "max_total_num_tokens=433000, chunked_prefill_size=8192, eos_token_id=1, pad_token_id=None",
        "ServerArgs(api_key=None, admin_api_key=None, skip_tokenizer_init=False)",
        "NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory",
        "--served-model-name DeepSeek-V3 --max-running-requests 64",
        "huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url: https://hf.co/a/b",
    ],
)
def test_what_is_no_secret_stays(words: str) -> None:
    assert masked(words) == words


@pytest.mark.parametrize("letter", ["a", "-", "=", "token=", "api_key"])
def test_a_long_line_without_a_space_takes_no_time(letter: str) -> None:
    begun = time.process_time()
    masked(letter * (2**17 // len(letter)))
    assert time.process_time() - begun < 2
