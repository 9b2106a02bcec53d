from __future__ import annotations

from deepseek_operator.render.owner import group_labels, pod_selector
from deepseek_operator.render.services import api_service, headless_service
from tests.unit.render.samples import OWNER


def test_ranks_find_their_leader_before_anyone_is_ready() -> None:
    service = headless_service(OWNER, 2)
    assert service["metadata"]["name"] == "deepseek-fp8-g2"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == pod_selector(OWNER, 2)


def test_clients_reach_the_ready_leaders_of_all_groups_on_port_8000() -> None:
    service = api_service(OWNER)
    assert service["metadata"]["name"] == "deepseek-fp8"
    assert "publishNotReadyAddresses" not in service["spec"]
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 8000, 8000)
    for group in (0, 7):
        leader = {**group_labels(OWNER, group), "apps.kubernetes.io/pod-index": "0"}
        worker = {**group_labels(OWNER, group), "apps.kubernetes.io/pod-index": "1"}
        assert service["spec"]["selector"].items() <= leader.items()
        assert not service["spec"]["selector"].items() <= worker.items()


def test_protocols_are_written_since_server_side_apply_merges_ports_by_them() -> None:
    for service in (api_service(OWNER), headless_service(OWNER, 0)):
        assert [port["protocol"] for port in service["spec"]["ports"]] == ["TCP"]
