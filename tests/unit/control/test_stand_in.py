"""The stand-in answers as the contract says; ``tests/api/test_api_contract.py`` asks the real API server the same."""

from __future__ import annotations

from deepseek_operator.control.client import KubeClient
from tests.api_contract import EXPECTED, answers


async def test_the_stand_in_answers_like_the_api_server(client: KubeClient) -> None:
    assert await answers(client, "default") == EXPECTED
