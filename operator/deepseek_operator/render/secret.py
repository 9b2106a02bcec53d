"""The Secrets that the operator makes: posted once, never applied, hashed or printed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deepseek_operator.api.names import keys_name, ssh_name
from deepseek_operator.api.problems import InvalidInputError, Problem
from deepseek_operator.render.owner import Owner, child, labels

if TYPE_CHECKING:
    from deepseek_operator.api.resource import KeysSecret

API_KEY: Final = "api-key"
ADMIN_KEY: Final = "admin-key"
"""The engine guards weights, profiling and cache calls with it; a client's key must not open them."""


SSH_PRIVATE: Final = "id"
SSH_PUBLIC: Final = "id.pub"
SSH_VOLUME: Final = "deepseek-ssh"


def keys_secret(owner: Owner, *, api_key: str | None, admin_key: str | None) -> dict[str, Any]:
    """The generated keys. Without keys the object has no data: that is what ``render`` prints."""
    secret = child(owner, api_version="v1", kind="Secret", name=keys_name(owner.name), labels=labels(owner))
    secret["type"] = "Opaque"
    values = {ADMIN_KEY: admin_key, API_KEY: api_key}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items() if value}
    if data:
        secret["data"] = data
    return secret


def ssh_secret(owner: Owner, *, seed: bytes | None) -> dict[str, Any]:
    """The key pair of ranks that are started over ssh: the same for hosts and for the user, so that both are pinned.

    ``seed`` are 32 random bytes; without them the object has no data: that is what ``render`` prints.
    """
    secret = child(owner, api_version="v1", kind="Secret", name=ssh_name(owner.name), labels=labels(owner))
    secret["type"] = "Opaque"
    if seed is not None:
        key = Ed25519PrivateKey.from_private_bytes(seed)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        pair = {SSH_PRIVATE: private, SSH_PUBLIC: public + b"\n"}
        secret["data"] = {name: base64.b64encode(value).decode() for name, value in pair.items()}
    return secret


def ssh_volume(owner: Owner) -> dict[str, Any]:
    """The key pair for a pod; ssh takes no private key that others may read."""
    return {"name": SSH_VOLUME, "secret": {"secretName": ssh_name(owner.name), "defaultMode": 0o400}}


def needs_ssh(template: Mapping[str, Any]) -> bool:
    """Whether the pods of a template wait for the key pair."""
    return any(volume["name"] == SSH_VOLUME for volume in template["spec"].get("volumes", ()))


def keys_env(owner: Owner, keys: KeysSecret) -> list[dict[str, Any]]:
    """API_KEY and ADMIN_API_KEY of the engine, from the generated Secret or the user's; none with mode none.

    Raises InvalidInputError where the user's Secret is meant and not named.
    """
    if keys.mode == "none":
        return []
    name = keys.secret_name if keys.mode == "secret" else keys_name(owner.name)
    if name is None:
        raise InvalidInputError(
            Problem(
                field="spec.access.keys.secretName",
                reason="SecretNameMissing",
                message=f"mode secret needs the name of a Secret with the keys {API_KEY} and {ADMIN_KEY}",
            )
        )
    variables = {"API_KEY": API_KEY, "ADMIN_API_KEY": ADMIN_KEY}
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, key in variables.items()
    ]
