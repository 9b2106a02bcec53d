"""The cluster's own certificate authority and the certificates and kubeconfig files of its programs.

Elliptic-curve keys (P-256) are made in milliseconds, where RSA would take a good part of the start.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.cluster.errors import ClusterError

VALID_DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

# Strict verifiers (Python 3.13's default) refuse certificates without key identifiers and critical key usage.
AUTHORITY_EXTENSIONS = """\
[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
LEAF_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


def create_authority(folder: Path) -> KeyPair:
    """Create a certificate authority in ``folder`` (``ca.crt``, ``ca.key``).

    Raises ``ClusterError`` when the ``openssl`` program is missing or fails.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = KeyPair(certificate=folder / "ca.crt", key=folder / "ca.key")
    settings = folder / "ca.cnf"
    settings.write_text(AUTHORITY_EXTENSIONS, encoding="utf-8")
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    subject = ("-subj", "/CN=e2e-cluster-ca", "-config", str(settings))
    _openssl("req", "-x509", *NEW_KEY, "-days", VALID_DAYS, *subject, *files)
    return pair


def issue(authority: KeyPair, *, name: str, subject: str, server_names: tuple[str, ...] = (), serial: int) -> KeyPair:
    """Issue ``name.crt`` and ``name.key`` beside the authority's.

    With ``server_names`` (``DNS:…``, ``IP:…``) the certificate is a server's, without a client's, whose
    subject (``/O=group/CN=user``) is its identity in Kubernetes.
    """
    folder = authority.certificate.parent
    pair = KeyPair(certificate=folder / f"{name}.crt", key=folder / f"{name}.key")
    request, extensions, settings = (folder / f"{name}{suffix}" for suffix in (".csr", ".ext", ".cnf"))
    text = LEAF_EXTENSIONS.format(usage="serverAuth" if server_names else "clientAuth")
    if server_names:
        text += f"subjectAltName = {', '.join(server_names)}\n"
    extensions.write_text(text, encoding="utf-8")
    # Without a file of its own, openssl reads the machine's, which may be missing.
    settings.write_text("[req]\ndistinguished_name = name\n[name]\n", encoding="utf-8")
    asked = ("-config", str(settings), "-subj", subject, "-keyout", str(pair.key), "-out", str(request))
    _openssl("req", "-new", *NEW_KEY, *asked)
    signer = ("-CA", str(authority.certificate), "-CAkey", str(authority.key), "-set_serial", str(serial))
    signed = ("-days", VALID_DAYS, "-extfile", str(extensions), "-out", str(pair.certificate))
    _openssl("x509", "-req", "-in", str(request), *signer, *signed)
    for leftover in (request, extensions, settings):
        leftover.unlink()
    return pair


def create_signing_key(folder: Path, *, name: str) -> None:
    """Create ``name.key`` and its public half ``name.pub``: what service-account tokens are signed with."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    curve = ("-pkeyopt", "ec_paramgen_curve:prime256v1")
    _openssl("genpkey", "-algorithm", "EC", *curve, "-out", str(private))
    _openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))


def write_kubeconfig(
    path: Path, *, server: str, authority: Path, client: KeyPair | None = None, token: str = ""
) -> Path:
    """Write a kubeconfig that carries its certificates within and names one cluster, user and context.

    The user is ``client``'s certificate or the bearer of ``token``. The file is readable by its owner only.
    """
    user: dict[str, str] = {"token": token}
    if client is not None:
        user = {
            "client-certificate-data": _embedded(client.certificate),
            "client-key-data": _embedded(client.key),
        }
    cluster = {"server": server, "certificate-authority-data": _embedded(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": "e2e", "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ClusterError("openssl is not on PATH; install it (Debian: apt-get install openssl)")
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"openssl {arguments[0]} failed: {result.stderr.strip()}")
