"""OpenAI's chat completions in front of all ranks, as every engine serves them."""

from __future__ import annotations

import json
import time
import uuid
from http import HTTPStatus
from typing import Final

from e2e.engine.front import Front
from e2e.engine.http import Handler

DEFAULT_TOKENS: Final = 64


class ChatHandler(Handler):
    """A handler with a front behind it."""

    front: Front
    model: str

    def chat(self, body: bytes) -> None:
        """Answer one request, whole or as a stream."""
        try:
            asked = json.loads(body)
            messages = list(asked["messages"])
            text, reason, prompt, generated = self.front.complete(
                messages, tokens=int(asked.get("max_tokens") or DEFAULT_TOKENS)
            )
        except (ValueError, LookupError, TypeError) as error:
            self.answer({"object": "error", "message": f"{error!r}", "code": 400}, HTTPStatus.BAD_REQUEST)
            return
        answer = {
            "id": uuid.uuid4().hex,
            "created": int(time.time()),
            "model": asked.get("model", self.model),
            "usage": {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated},
        }
        message = {"role": "assistant", "content": text}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            self.answer({**answer, "object": "chat.completion", "choices": [choice]})
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        choice = {"index": 0, "delta": message, "finish_reason": reason}
        event = json.dumps({**answer, "object": "chat.completion.chunk", "choices": [choice]})
        self.wfile.write(f"data: {event}\n\ndata: [DONE]\n\n".encode())
