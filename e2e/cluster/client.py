"""The few questions the tool itself asks an API server, over HTTPS with the administrator's certificate."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path

REQUEST_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """An API server on this machine and the files needed to talk to it."""

    port: int
    keys: Path

    @property
    def url(self) -> str:
        """The address for kubeconfig files."""
        return f"https://127.0.0.1:{self.port}"

    def answers(self, path: str) -> bool:
        """Whether a GET of ``path`` is answered with 200; anything else, no answer included, is no."""
        context = ssl.create_default_context(cafile=str(self.keys / "ca.crt"))
        context.load_cert_chain(self.keys / "admin.crt", self.keys / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def ready(self) -> bool:
        """Whether the server says it is ready."""
        return self.answers("/readyz")
