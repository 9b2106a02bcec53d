"""One question through the Service, from a pod of the user's own."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.nodes.site import Site, wait_for

CLIENT = """
import json, os, urllib.error, urllib.request
body = {"model": os.environ["MODEL"], "max_tokens": 16, "messages": [{"role": "user", "content": "good morning"}]}
request = urllib.request.Request("http://x:8000/v1/chat/completions", data=json.dumps(body).encode(),
    headers={"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"})
try:
    with urllib.request.urlopen(request, timeout=float(os.environ["SECONDS_PATIENT"])) as answer:
        text = json.load(answer)["choices"][0]["message"]["content"]
        print(json.dumps({"status": answer.status, "text": text}))
except urllib.error.HTTPError as error:
    print(json.dumps({"status": error.code, "text": ""}))
"""


OWN_KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "x-keys", "key": "api-key"}}}


def chat(site: Site) -> str:
    """What a pod in the deployment's namespace hears, with the generated key and the Service's name."""
    found = ask_for(site)
    assert found["status"] == 200
    return str(found["text"])


def ask(site: Site, *, key: str) -> int:
    """The HTTP status of a question with a key."""
    return int(ask_for(site, key={"name": "KEY", "value": key})["status"])


def ask_for(
    site: Site, *, model: str = "DeepSeek-V3-0324", key: dict[str, Any] = OWN_KEY, seconds: float = 60
) -> dict[str, Any]:
    """The HTTP status and the words of one answer."""
    name = f"client-{uuid.uuid4().hex[:6]}"
    told = [{"name": "MODEL", "value": model}, {"name": "SECONDS_PATIENT", "value": str(seconds)}]
    container = {"name": "client", "image": site.image, "command": ["python3", "-c", CLIENT], "env": [key, *told]}
    site.run_pod(name, {"containers": [container]})
    ended = wait_for(
        lambda: (phase := site.get("pod", name)["status"]["phase"]) in {"Succeeded", "Failed"} and phase,
        seconds=seconds + 30,
        what="the client pod ends",
    )
    log = site.kubectl("-n", site.namespace, "logs", name)
    assert ended == "Succeeded", log
    found: dict[str, Any] = json.loads(log)
    return found
