"""A client under way: asks through the Service again and again, and writes down what came back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.nodes.site import Site, wait_for

PERIOD_SECONDS = 0.5
ANSWER_SECONDS = 10
"""A user's patience; longer than a token of any rank that works."""

CLIENT = """
import json, os, sys, threading, time, urllib.request
model, period, patience, count = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
body = json.dumps({"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": "good morning"}]}).encode()
headers = {"Content-Type": "application/json"}
if key := os.environ.get("KEY"):
    headers["Authorization"] = "Bearer " + key
def ask():
    begun = time.time()
    request = urllib.request.Request("http://x:8000/v1/chat/completions", data=body, headers=headers)
    try:
        with opener.open(request, timeout=patience) as answer:
            why = "" if json.load(answer)["choices"][0]["message"]["content"] else "no words"
    except Exception as error:
        why = repr(error)[:200]
    took = round(time.time() - begun, 3)
    # One write a line, or two threads share one.
    os.write(1, (json.dumps({"begun": begun, "seconds": took, "why": why}) + "\\n").encode())
due = time.monotonic()
for _ in range(count):
    threading.Thread(target=ask, daemon=True).start()
    due += period
    time.sleep(max(due - time.monotonic(), 0))
time.sleep(patience)
"""


@dataclass(frozen=True)
class Answer:
    """One request: when it began (seconds of the epoch), how long it took, and why it failed."""

    begun: float
    seconds: float
    why: str


@dataclass(frozen=True)
class Load:
    """A pod that asks."""

    site: Site
    name: str

    def answers(self) -> list[Answer]:
        text = self.site.kubectl("-n", self.site.namespace, "logs", self.name)
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [Answer(begun=each["begun"], seconds=each["seconds"], why=each["why"]) for each in found]

    def between(self, begin: float, end: float) -> list[Answer]:
        """Requests that began in a span of the epoch's seconds, when all of them are answered."""
        wait_for(
            lambda: any(each.begun > end for each in self.answers()),
            seconds=ANSWER_SECONDS + 20,
            what="requests after the span are answered",
        )
        return [each for each in self.answers() if begin <= each.begun <= end]


def start(site: Site, *, keys: str | None = "x-keys", name: str = "load", count: int = 2000) -> Load:
    """Start a client and return when its first request was answered well."""
    arguments = ["DeepSeek-V3-0324", str(PERIOD_SECONDS), str(ANSWER_SECONDS), str(count)]
    container: dict[str, Any] = {
        "name": "client",
        "image": site.image,
        "command": ["python3", "-c", CLIENT, *arguments],
    }
    if keys is not None:
        container["env"] = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": keys, "key": "api-key"}}}]
    site.run_pod(name, {"containers": [container]})
    load = Load(site=site, name=name)
    wait_for(lambda: site.get("pod", name)["status"]["phase"] == "Running", seconds=60, what="the client runs")
    wait_for(lambda: any(not each.why for each in load.answers()), seconds=60, what="a request is answered well")
    return load
