from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from deepseek_operator.api.problems import InvalidInputError
from deepseek_operator.api.resource import KeysSecret
from deepseek_operator.render.secret import keys_env, keys_secret, ssh_secret
from tests.unit.render.samples import OWNER


def secrets_of(keys: KeysSecret) -> dict[str, tuple[str, str]]:
    references = {env["name"]: env["valueFrom"]["secretKeyRef"] for env in keys_env(OWNER, keys)}
    return {name: (reference["name"], reference["key"]) for name, reference in references.items()}


def test_the_generated_secret_holds_both_keys() -> None:
    secret = keys_secret(OWNER, api_key="client", admin_key="admin")
    assert secret["metadata"]["name"] == "deepseek-fp8-keys"
    decoded = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert decoded == {"api-key": "client", "admin-key": "admin"}


def test_keys_that_are_not_given_are_not_printed() -> None:
    assert "data" not in keys_secret(OWNER, api_key=None, admin_key=None)


def test_the_engine_reads_generated_keys() -> None:
    assert secrets_of(KeysSecret()) == {
        "API_KEY": ("deepseek-fp8-keys", "api-key"),
        "ADMIN_API_KEY": ("deepseek-fp8-keys", "admin-key"),
    }


def test_the_engine_reads_the_users_own_secret() -> None:
    own = secrets_of(KeysSecret.model_validate({"mode": "secret", "secretName": "mine"}))
    assert own == {"API_KEY": ("mine", "api-key"), "ADMIN_API_KEY": ("mine", "admin-key")}


def test_an_open_api_has_no_keys() -> None:
    assert keys_env(OWNER, KeysSecret(mode="none")) == []


def test_a_secret_without_a_name_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidInputError, match=r"spec\.access\.keys\.secretName"):
        keys_env(OWNER, KeysSecret(mode="secret"))


def test_the_key_pair_of_ranks_is_one_that_ssh_reads_and_is_not_printed_without_its_seed() -> None:
    secret = ssh_secret(OWNER, seed=bytes(range(32)))
    private, public = (base64.b64decode(secret["data"][name]) for name in ("id", "id.pub"))
    read = load_ssh_private_key(private, password=None)
    assert read.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) == public.strip()
    assert public.startswith(b"ssh-ed25519 ")
    assert secret["metadata"]["name"] == "deepseek-fp8-ssh"
    assert secret["metadata"]["ownerReferences"]
    assert ssh_secret(OWNER, seed=bytes(32))["data"] != secret["data"]
    assert "data" not in ssh_secret(OWNER, seed=None)
