from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_operator.weights.errors import CorruptError, InputError, NoRoomError, TransferError
from deepseek_operator.weights.patience import Patience
from deepseek_operator.weights.workspace import MARKER, WORK, read_marker
from tests.unit.weights.conftest import QUICK, Fetcher, content_of, expected_of
from tests.unit.weights.hub import COMMIT, SIGNATURE, Fault, Hub

SHARD = "model-00001-of-000003.safetensors"
MEGABYTE = 2**20
TOKEN = "hf_" + "x1y2" * 8


def make_large(hub: Hub, size: int = 24 * MEGABYTE) -> str:
    """A file of several of the client's chunks (10 MiB), beside a checkpoint that stays valid."""
    (hub.directory / "large.dat").write_bytes(bytes(range(256)) * (size // 256))
    return "large.dat"


@pytest.mark.parametrize("source", ["hf", "modelscope"])
def test_a_repository_arrives_whole_without_pickles_and_with_a_marker(
    fetched: Fetcher, hub: Hub, origin: Path, source: str
) -> None:
    result = fetched(source=f"{source}://{hub.repository}")

    assert content_of(fetched.target) == expected_of(origin)
    marker = read_marker(fetched.target)
    assert marker == result.marker
    assert marker is not None
    assert set(marker.files) == set(expected_of(origin))
    assert marker.about["repository"] == hub.repository


def test_a_complete_directory_contacts_nobody(fetched: Fetcher, hub: Hub) -> None:
    fetched()
    hub.requests.clear()

    assert fetched().received == 0
    assert fetched(revision=COMMIT).received == 0
    assert hub.requests == []


def test_the_commit_that_a_branch_named_is_kept(fetched: Fetcher) -> None:
    assert fetched(revision="main").marker.about["commit"] == COMMIT


def test_the_token_goes_to_the_hub_and_not_to_its_store(
    fetched: Fetcher, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    fetched()

    assert {request.authorization for request in hub.requests if request.host == "hub"} == {f"Bearer {TOKEN}"}
    assert {request.authorization for request in hub.requests if request.host == "store"} == {None}


def test_a_cut_connection_goes_on_at_its_last_byte(fetched: Fetcher, hub: Hub) -> None:
    large = make_large(hub)
    hub.fail(large, Fault("cut", after=12 * MEGABYTE))

    fetched()

    assert [request.offset for request in hub.received(large)] == [0, 10 * MEGABYTE]


def test_a_silent_connection_is_given_up_and_resumed(fetched: Fetcher, hub: Hub) -> None:
    large = make_large(hub)
    hub.fail(large, Fault("stall", after=12 * MEGABYTE))

    fetched()

    assert [request.offset for request in hub.received(large)] == [0, 10 * MEGABYTE]


def test_what_an_earlier_run_received_is_not_received_again(fetched: Fetcher, hub: Hub) -> None:
    large = make_large(hub)
    hub.fail(large, Fault("cut", times=100, after=12 * MEGABYTE), Fault("status", times=100, status=400, only="hub"))
    hub.faults[large][1].times = 0
    hub.fail(SHARD, Fault("status", times=100, status=404))
    with pytest.raises(InputError):
        fetched(workers=1)
    hub.faults.clear()
    hub.requests.clear()

    fetched()

    assert hub.received(large) == []


def test_a_store_that_ignores_ranges_starts_the_file_anew(fetched: Fetcher, hub: Hub, origin: Path) -> None:
    large = make_large(hub)
    hub.fail(large, Fault("cut", after=12 * MEGABYTE), Fault("ignore-range"))

    fetched()

    assert (fetched.target / large).read_bytes() == (origin / large).read_bytes()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["hub", "store", "list"])
def test_passing_errors_are_survived(fetched: Fetcher, hub: Hub, origin: Path, status: int, where: str) -> None:
    fault = Fault("status", times=2, status=status, only=where)  # type: ignore[arg-type]
    hub.fail("*" if where == "list" else SHARD, fault)

    fetched(workers=2)

    assert content_of(fetched.target) == expected_of(origin)


def test_a_server_that_names_a_wait_is_obeyed(fetched: Fetcher, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.fail("*", Fault("status", status=429, retry_after="1", only="list"))

    fetched()

    assert "trying again in 1 s" in capsys.readouterr().err


def test_patience_ends_with_the_cause_and_what_was_received_stays(fetched: Fetcher, hub: Hub) -> None:
    hub.fail(SHARD, Fault("status", times=1000, status=503))

    with pytest.raises(TransferError, match=rf"{SHARD}: failed 4 times in a row.*503.*goes on where") as caught:
        fetched()

    assert SIGNATURE not in str(caught.value)
    assert not (fetched.target / MARKER).exists()
    hub.faults.clear()
    hub.requests.clear()
    fetched()
    assert {request.path for request in hub.requests if request.host == "store"} == {SHARD}


def test_a_corrupted_file_is_received_once_more(fetched: Fetcher, hub: Hub, origin: Path) -> None:
    hub.fail(SHARD, Fault("corrupt"))

    fetched()

    assert len(hub.received(SHARD)) == 2
    assert content_of(fetched.target) == expected_of(origin)


@pytest.mark.parametrize("name", [SHARD, "config.json"])
def test_a_file_that_stays_corrupted_is_named_and_the_others_arrive(fetched: Fetcher, hub: Hub, name: str) -> None:
    hub.fail(name, Fault("corrupt", times=1000))

    with pytest.raises(CorruptError, match=f"{name}.*delivered it twice"):
        fetched()

    assert not (fetched.target / MARKER).exists()
    assert not (fetched.target / name).exists()
    assert set(content_of(fetched.target)) == set(expected_of(hub.directory)) - {name}


def test_files_that_lie_there_already_are_checked_and_kept(fetched: Fetcher, hub: Hub, origin: Path) -> None:
    fetched.target.mkdir()
    (fetched.target / SHARD).write_bytes((origin / SHARD).read_bytes())
    damaged = bytearray((origin / "tokenizer.json").read_bytes())
    damaged[0] ^= 1
    (fetched.target / "tokenizer.json").write_bytes(damaged)

    fetched()

    assert hub.received(SHARD) == []
    assert content_of(fetched.target) == expected_of(origin)


def test_another_revision_receives_only_what_differs_and_removes_what_is_gone(
    fetched: Fetcher, hub: Hub, origin: Path
) -> None:
    (origin / "old.txt").write_text("old")
    fetched(revision="main")
    (origin / "old.txt").unlink()
    (origin / "config.json").write_text(json.dumps({"model_type": "deepseek_v3"}))
    hub.revisions += ("v2",)
    hub.requests.clear()

    fetched(revision="v2")

    assert [request.path for request in hub.requests if request.host == "store"] == ["config.json"]
    assert content_of(fetched.target) == expected_of(origin)


def test_an_index_that_names_a_missing_file_leaves_no_marker(fetched: Fetcher, origin: Path) -> None:
    (origin / SHARD).unlink()

    with pytest.raises(CorruptError, match=f"{SHARD}: .*index.json names it"):
        fetched()

    assert not (fetched.target / MARKER).exists()


def test_a_missing_revision_is_named(fetched: Fetcher, hub: Hub) -> None:
    with pytest.raises(InputError, match=r"--revision v9: .* has no such revision; name a commit"):
        fetched(revision="v9")
    with pytest.raises(InputError, match=r"--revision v9: .*lists no files there"):
        fetched(source=f"modelscope://{hub.repository}", revision="v9")


def test_an_unknown_repository_is_named(fetched: Fetcher) -> None:
    with pytest.raises(InputError, match=r"hf://org/none: .*no such repository, or it is private .*none was given"):
        fetched(source="hf://org/none")


def test_a_wrong_token_is_told_from_a_missing_one_and_never_shown(
    fetched: Fetcher, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = TOKEN
    with pytest.raises(InputError, match="none was given; HF_TOKEN or --token-file"):
        fetched()
    with pytest.raises(InputError, match="the one given was refused") as caught:
        fetched(token=TOKEN[::-1])

    assert TOKEN[::-1] not in str(caught.value) + capsys.readouterr().err
    fetched(token=TOKEN)


def test_a_gated_model_names_the_remedy(fetched: Fetcher, hub: Hub) -> None:
    hub.gated = True

    with pytest.raises(InputError, match=r"forbids it to this token .*accept the model's conditions"):
        fetched(token=TOKEN)


def test_too_small_a_volume_is_refused_before_anything_is_received(fetched: Fetcher, hub: Hub) -> None:
    hub.sizes[SHARD] = 10**15

    with pytest.raises(
        NoRoomError, match=r"GiB are still to be written.*the volume has .* GiB are missing; free space"
    ):
        fetched()

    assert [request for request in hub.requests if request.host == "store"] == []


def test_a_repository_without_safetensors_is_refused(fetched: Fetcher, origin: Path) -> None:
    for path in origin.glob("*.safetensors"):
        path.unlink()

    with pytest.raises(InputError, match="it has no safetensors file"):
        fetched()


def test_a_repository_that_leads_out_of_the_directory_is_refused(fetched: Fetcher, hub: Hub) -> None:
    real = hub.siblings()
    hub.siblings = lambda: [*real, {**real[0], "rfilename": "../escape.json"}]  # type: ignore[method-assign]

    with pytest.raises(InputError, match=r"\.\./escape\.json, which leads out"):
        fetched()


def test_progress_counts_bytes_files_and_retries(fetched: Fetcher, hub: Hub, origin: Path) -> None:
    hub.fail(SHARD, Fault("corrupt"))

    fetched()

    now = fetched.progress.snapshot()
    total = sum(map(len, expected_of(origin).values()))
    assert (now["bytesDone"], now["bytesTotal"]) == (total, total)
    assert now["filesDone"] == now["filesTotal"] == len(expected_of(origin))
    assert now["retries"] == 1


def test_a_damaged_marker_is_no_marker(fetched: Fetcher, hub: Hub) -> None:
    fetched()
    for content in ("", "[]", "{", '{"version": 1}', '{"version": 1, "files": {"a": {"size": "1"}}}'):
        (fetched.target / MARKER).write_text(content)
        hub.requests.clear()
        fetched()
        assert [request for request in hub.requests if request.host == "store"] == []
        assert read_marker(fetched.target) is not None


def test_nothing_of_the_work_is_left_behind(fetched: Fetcher) -> None:
    fetched()

    assert [path.name.partition(".")[0] for path in (fetched.target / WORK).iterdir()] == ["lease"]


def test_waits_grow_and_stay_below_the_longest() -> None:
    patience = Patience(first_seconds=1, longest_seconds=8)

    assert all(0.5 <= patience.wait(1) <= 1 for _ in range(100))
    assert all(4 <= patience.wait(9) <= 8 for _ in range(100))
    assert QUICK.attempts == 4


def test_a_change_of_revision_that_fails_leaves_no_marker(fetched: Fetcher, hub: Hub, origin: Path) -> None:
    fetched(revision="main")
    (origin / "config.json").write_text(json.dumps({"model_type": "deepseek_v3"}))
    hub.revisions += ("v2",)
    hub.fail("config.json", Fault("corrupt", times=1000))

    with pytest.raises(CorruptError):
        fetched(revision="v2")

    assert not (fetched.target / MARKER).exists()
