"""The API client: errors by kind, pages, headers and preconditions, over real HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_operator.control import client as client_module
from deepseek_operator.control import kinds
from deepseek_operator.control.client import (
    METADATA_ONLY,
    ApiError,
    ConflictError,
    KubeClient,
    NotFoundError,
    UnreachableError,
)
from tests.unit.control import bodies
from tests.unit.control.stand_in import StandIn, connected, serving

ERRORS = {
    (400, "BadRequest"): ApiError,
    (403, "Forbidden"): ApiError,
    (404, "NotFound"): NotFoundError,
    (409, "AlreadyExists"): ConflictError,
    (409, "Conflict"): ConflictError,
    (410, "Expired"): ApiError,
    (422, "Invalid"): ApiError,
    (429, "TooManyRequests"): ApiError,
    (500, "InternalError"): ApiError,
    (503, "ServiceUnavailable"): ApiError,
}


@pytest.mark.parametrize("answer", ERRORS, ids=lambda answer: f"{answer[0]} {answer[1]}")
async def test_an_error_has_its_kind_status_reason_and_words(
    server: StandIn, client: KubeClient, answer: tuple[int, str]
) -> None:
    status, reason = answer
    server.fail_next("GET", status, reason)
    with pytest.raises(ApiError) as caught:
        await client.get(kinds.SERVICE, "default", "x")
    assert type(caught.value) is ERRORS[answer]
    assert (caught.value.status, caught.value.reason, caught.value.retry_after) == (status, reason, None)
    assert str(caught.value) == f"{status} {reason}: as the test wants it"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("", None)])
async def test_a_server_that_asks_to_wait_is_heard(
    server: StandIn, client: KubeClient, header: str, seconds: float | None
) -> None:
    server.fail_next("GET", 429, "TooManyRequests", Retry_After=header)
    with pytest.raises(ApiError) as caught:
        await client.get(kinds.SERVICE, "default", "x")
    assert caught.value.retry_after == seconds


async def test_an_answer_that_is_no_json_is_told_as_it_is(client: KubeClient) -> None:
    strange = kinds.Kind(kind="Strange", group="", version="v1", plural="Strange things")
    with pytest.raises(NotFoundError, match="404 page not found"):
        await client.get(strange, None, "x")


async def test_no_answer_at_all_is_another_error_than_a_refusal() -> None:
    async with serving() as gone:
        url = gone.url
    async with connected(url) as client:
        with pytest.raises(UnreachableError, match="GET /api/v1/namespaces/default/services/x"):
            await client.get(kinds.SERVICE, "default", "x")


async def test_a_list_comes_in_pages(server: StandIn, client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE_SIZE", 2)
    for number in range(5):
        server.add(kinds.SERVICE, bodies.service(name=f"s{number}", uid=f"u{number}"))
    pages = [page async for page in client.pages(kinds.SERVICE, namespace="default")]
    assert [[item["metadata"]["name"] for item in page["items"]] for page in pages] == [
        ["s0", "s1"],
        ["s2", "s3"],
        ["s4"],
    ]
    assert [request.query.get("continue") for request in server.requests] == [None, "2", "4"]
    assert {request.query["limit"] for request in server.requests} == {"2"}


async def test_lists_carry_only_our_own_objects(server: StandIn, client: KubeClient) -> None:
    server.add(kinds.SERVICE, bodies.service())
    foreign = bodies.service(name="theirs", uid="theirs")
    foreign["metadata"]["labels"] = {}
    server.add(kinds.SERVICE, foreign)
    (page,) = [page async for page in client.pages(kinds.SERVICE)]
    assert [item["metadata"]["name"] for item in page["items"]] == ["x"]
    assert server.requests[0].path == "/api/v1/services"
    (page,) = [page async for page in client.pages(kinds.SERVICE, selector="a=b")]
    assert page["items"] == []


async def test_metadata_is_asked_for_alone(server: StandIn, client: KubeClient) -> None:
    server.add(kinds.POD, bodies.pod())
    (page,) = [page async for page in client.pages(kinds.POD, metadata_only=True)]
    assert server.requests[0].accept == METADATA_ONLY
    assert list(page["items"][0]) == ["metadata"]
    (empty,) = [page async for page in client.pages(kinds.SERVICE, metadata_only=True)]
    assert empty["items"] == []


async def test_writes_name_their_manager_and_are_validated_strictly(server: StandIn, client: KubeClient) -> None:
    made = await client.create(kinds.SERVICE, bodies.service())
    await client.apply(kinds.SERVICE, {**bodies.service(), "metadata": {"name": "x", "namespace": "default"}})
    await client.patch(kinds.SERVICE, "default", "x", {"spec": {}}, content_type=client_module.MERGE_PATCH)
    for request in server.requests:
        assert request.query["fieldManager"] == "deepseek-operator"
        assert request.query["fieldValidation"] == "Strict"
    assert server.asked("PATCH services/x")[0].query["force"] == "true"
    assert [request.content_type for request in server.requests] == [
        "application/json",
        "application/apply-patch+yaml",
        "application/merge-patch+json",
    ]
    assert made["metadata"]["uid"]


async def test_a_delete_names_the_object_it_means(server: StandIn, client: KubeClient) -> None:
    stored = server.add(kinds.POD, bodies.pod())
    with pytest.raises(ConflictError):
        await client.delete(kinds.POD, "default", "x-g0-0", uid="another")
    await client.delete(kinds.POD, "default", "x-g0-0", uid=stored["metadata"]["uid"], grace_seconds=0)
    assert server.requests[-1].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": stored["metadata"]["uid"]},
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
    }
    await client.delete(kinds.POD, "default", "x-g0-0", uid="gone")


async def test_a_missing_object_is_asked_for_where_it_would_be(server: StandIn, client: KubeClient) -> None:
    with pytest.raises(NotFoundError):
        await client.get(kinds.LEASE, "default", "x")
    assert server.requests[0].path == "/apis/coordination.k8s.io/v1/namespaces/default/leases/x"


@pytest.mark.parametrize(
    ("kind", "arguments", "path"),
    [
        (kinds.NODE, (None, "n"), "/api/v1/nodes/n"),
        (kinds.NODE, ("default", "n"), "/api/v1/nodes/n"),
        (kinds.POD, (None, None), "/api/v1/pods"),
        (kinds.POD, ("a", None), "/api/v1/namespaces/a/pods"),
        (kinds.STATEFUL_SET, ("a", "b"), "/apis/apps/v1/namespaces/a/statefulsets/b"),
    ],
)
def test_paths(kind: kinds.Kind, arguments: tuple[str | None, str | None], path: str) -> None:
    assert kind.path(*arguments) == path
    assert kind.path(*arguments, subresource="status") == f"{path}/status"


@pytest.mark.parametrize("command", [["run"], ["rollout", "history", "x"]], ids=lambda command: command[0])
def test_a_command_without_any_cluster_says_so_and_ends_with_4(command: list[str], tmp_path: Path) -> None:
    inside = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
    environment = {key: value for key, value in os.environ.items() if key not in inside}
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("deepseek-operator")), *command],
        env={**environment, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 4, ended.stderr
    assert "no cluster is configured" in ended.stderr
    assert "set KUBECONFIG" in ended.stderr
    assert "Traceback" not in ended.stderr
