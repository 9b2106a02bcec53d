"""The real API server answers as the unit tests' stand-in does (tests/unit/control/stand_in.py)."""

from __future__ import annotations

import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from deepseek_operator.control.client import KubeClient
from tests.api.conftest import World
from tests.api_contract import EXPECTED, answers

pytestmark = pytest.mark.cluster


async def test_the_api_server_answers_as_the_stand_in_does(world: World) -> None:
    configuration = kubernetes_client.Configuration()
    await kubernetes_config.load_kube_config(str(world.cluster.kubeconfig), client_configuration=configuration)
    client = KubeClient(kubernetes_client.ApiClient(configuration))
    try:
        assert await answers(client, world.namespace) == EXPECTED
    finally:
        await client.close()
