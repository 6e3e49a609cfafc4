"""Checkpoints over plain HTTP, as a client in any language sends and reads them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.connect import open_store
from evolvent.store.tokens import RoleName
from tests.service.served import until
from tests.service.threaded import Service, service
from tests.settings import study_record

WEIGHTS, STATE = b"w" * 300_000, b"state of the optimizer"
FILES = {"optimizer/state.bin": STATE, "weights.pt": WEIGHTS}
MB = 1 << 20


class Client:
    """Sends requests to one service with one token, each over a connection of its own."""

    def __init__(self, url: str, token: str) -> None:
        self._host = urlsplit(url).netloc
        self._token = token

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as bytes, anything else as JSON; return status, headers and content."""
        given = {"Authorization": f"Bearer {self._token}"}
        if isinstance(body, bytes):
            given["Content-Type"] = "application/octet-stream"
        elif body is not None:
            body, given["Content-Type"] = json.dumps(body).encode(), "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self._host, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/api/v1/studies/1{path}", body, given)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return response.status, told, response.read()

    def told(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return status and JSON."""
        status, _, content = self.ask(method, path, body, **headers)
        return status, json.loads(content) if content else None

    def begin(self, files: dict[str, bytes] = FILES, key: str = "one") -> str:
        """Begin an upload that must begin; return its path."""
        status, told = self.told("POST", "/uploads", {"files": listed(files), "key": key})
        assert status == 200, told
        assert not told["sealed"]
        return f"/uploads/{told['upload']}"

    def upload(self, files: dict[str, bytes] = FILES, key: str = "one") -> str:
        """Send files and seal them; return the address."""
        upload = self.begin(files, key)
        for index, content in enumerate(files.values()):
            assert self.told("PUT", f"{upload}/files/{index}", content)[0] == 200
        status, told = self.told("POST", f"{upload}/seal")
        assert status == 200, told
        return str(told["address"])


def listed(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"name": e.name, "size": e.size, "sha256": e.sha256} for e in entries(files)]


def entries(files: dict[str, bytes]) -> list[FileEntry]:
    return [FileEntry(n, len(b), hashlib.sha256(b).hexdigest()) for n, b in sorted(files.items())]


@contextlib.contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Service]:
    """Serve a store with one study, `digits`, in `folder`."""
    url = f"sqlite:///{folder / 'log.db'}"
    with contextlib.closing(open_store(url)) as store, service(store, **settings) as running:
        store.create_study(study_record())
        yield running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def client(served: Service) -> Client:
    return Client(served.url, served.token("worker"))


@pytest.fixture
def home(served: Service) -> LocalCheckpoints:
    return home_of(served)


def home_of(served: Service) -> LocalCheckpoints:
    found = served.store.checkpoints(1)
    assert isinstance(found, LocalCheckpoints)
    return found


def under_way(home: LocalCheckpoints) -> list[Path]:
    return sorted(home.root.glob("staging/*"))


# --- sending ------------------------------------------------------------------------------------


def test_files_that_were_sent_and_sealed_are_a_checkpoint(client: Client, home: LocalCheckpoints):
    address = client.upload()
    assert address == manifest.address_of(entries(FILES))
    path = home.verify(address)
    assert (path / "optimizer/state.bin").read_bytes() == STATE
    assert (path / "weights.pt").read_bytes() == WEIGHTS
    assert under_way(home) == []


def test_empty_files_and_folders_arrive_with_the_list(client: Client, home: LocalCheckpoints):
    status, told = client.told(
        "POST", "/uploads", {"files": [*listed({"a/empty": b""}), *listed({"folder/": b""})]}
    )
    assert (status, [file["offset"] for file in told["files"]]) == (200, [0, 0])
    status, told = client.told("POST", f"/uploads/{told['upload']}/seal")
    path = home.verify(told["address"])
    assert (path / "a/empty").read_bytes() == b""
    assert (path / "folder").is_dir()


def test_checkpoint_that_is_there_needs_no_bytes(client: Client):
    address = client.upload()
    status, told = client.told("POST", "/uploads", {"files": listed(FILES), "key": "two"})
    assert (status, told["sealed"], told["upload"]) == (200, True, None)
    assert told["address"] == address
    assert [file["offset"] for file in told["files"]] == [len(STATE), len(WEIGHTS)]


def test_damaged_checkpoint_is_replaced_by_the_sound_one(client: Client, home: LocalCheckpoints):
    address = client.upload()
    damaged = home.path(address) / "weights.pt"
    damaged.chmod(0o644)
    damaged.write_bytes(b"x" + WEIGHTS[1:])
    assert client.upload(key="two") == address
    home.verify(address)


def test_bytes_may_come_in_pieces_and_go_on_where_they_ended(
    client: Client, home: LocalCheckpoints
):
    upload = client.begin()
    assert client.told("PUT", f"{upload}/files/1", WEIGHTS[:1000]) == (200, {"offset": 1000})
    _, told = client.told("POST", "/uploads", {"files": listed(FILES), "key": "one"})
    assert (f"/uploads/{told['upload']}", told["sealed"]) == (upload, False)
    assert [(f["name"], f["offset"]) for f in told["files"]] == [
        ("optimizer/state.bin", 0),
        ("weights.pt", 1000),
    ]
    assert client.told("GET", upload) == (200, told)
    path = f"{upload}/files/1?offset=1000"
    assert client.told("PUT", path, WEIGHTS[1000:]) == (200, {"offset": len(WEIGHTS)})
    assert client.told("PUT", f"{upload}/files/0", STATE)[0] == 200
    assert client.told("POST", f"{upload}/seal")[0] == 200
    home.verify(told["address"])


@pytest.mark.parametrize("offset", [0, 999, 1001, 10**11])
def test_wrong_offset_is_answered_with_the_right_one(client: Client, offset: int):
    upload = client.begin()
    client.told("PUT", f"{upload}/files/1", WEIGHTS[:1000])
    status, told = client.told("PUT", f"{upload}/files/1?offset={offset}", WEIGHTS[1000:])
    assert (status, told["error"]["type"]) == (409, "UploadConflict")
    assert "1000 bytes of 'weights.pt' are here" in told["error"]["message"]
    assert client.told("GET", upload)[1]["files"][1]["offset"] == 1000


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", "1e3", "9" * 20, "%D9%A3"])
def test_offset_that_is_no_number_is_refused(client: Client, offset: str):
    upload = client.begin()
    status, told = client.told("PUT", f"{upload}/files/1?offset={offset}", b"bytes")
    assert (status, told["error"]["field"]) == (422, "offset")


def test_more_bytes_than_were_promised_are_refused(client: Client):
    upload = client.begin()
    status, told = client.told("PUT", f"{upload}/files/0", STATE + b"!")
    assert (status, told["error"]["type"]) == (413, "CheckpointTooLarge")
    assert "'optimizer/state.bin' is to have 22 bytes" in told["error"]["message"]
    assert client.told("GET", upload)[1]["files"][0]["offset"] == 0


def test_more_bytes_than_were_promised_are_refused_while_they_come(served: Service, client: Client):
    upload = client.begin()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (MB, b"x" * MB)
    status = raw(served, f"{upload}/files/1", chunked, "Transfer-Encoding: chunked")
    assert status == 413
    assert client.told("GET", upload)[1]["files"][1]["offset"] < len(WEIGHTS)


def test_other_bytes_than_the_hash_promised_are_refused_by_name_and_can_be_sent_again(
    client: Client, home: LocalCheckpoints
):
    upload = client.begin()
    status, told = client.told("PUT", f"{upload}/files/1", b"x" * len(WEIGHTS))
    assert (status, told["error"]["type"]) == (422, "CheckpointDamaged")
    assert "'weights.pt'" in told["error"]["message"]
    assert client.told("PUT", f"{upload}/files/1", WEIGHTS)[0] == 200
    assert client.told("PUT", f"{upload}/files/0", STATE)[0] == 200
    assert client.told("POST", f"{upload}/seal")[0] == 200
    home.verify(manifest.address_of(entries(FILES)))


def test_seal_looks_at_what_is_on_the_disk(client: Client, home: LocalCheckpoints):
    upload = client.begin()
    client.told("PUT", f"{upload}/files/0", STATE)
    client.told("PUT", f"{upload}/files/1", WEIGHTS)
    (spoiled,) = home.root.glob("staging/*/tree/weights.pt")
    spoiled.write_bytes(b"x" + WEIGHTS[1:])
    status, told = client.told("POST", f"{upload}/seal")
    assert (status, told["error"]["type"]) == (422, "CheckpointDamaged")
    assert "'weights.pt' has other bytes" in told["error"]["message"]
    assert client.told("PUT", f"{upload}/files/1", WEIGHTS)[0] == 200
    assert client.told("POST", f"{upload}/seal")[0] == 200


def test_seal_refuses_what_is_not_whole(client: Client, home: LocalCheckpoints):
    upload = client.begin()
    client.told("PUT", f"{upload}/files/1", WEIGHTS[:1000])
    client.told("PUT", f"{upload}/files/0", STATE)
    status, told = client.told("POST", f"{upload}/seal")
    assert (status, told["error"]["type"]) == (409, "UploadConflict")
    assert "'weights.pt' has 1000 of 300000 bytes" in told["error"]["message"]
    assert home.addresses() == []


def test_upload_that_was_sealed_or_given_up_is_there_no_more(
    client: Client, home: LocalCheckpoints
):
    client.upload(key="sealed")
    given_up = client.begin({"a": b"1"}, key="given up")
    assert client.ask("DELETE", given_up)[0] == 204
    assert under_way(home) == []
    for upload in (given_up, "/uploads/" + "0" * 32, "/uploads/%2e%2e", "/uploads/" + "x" * 999):
        for method, path in (("POST", "/seal"), ("PUT", "/files/0"), ("GET", ""), ("DELETE", "")):
            status, told = client.told(method, upload + path, b"1" if method == "PUT" else None)
            assert (status, told["error"]["type"]) == (409, "UploadConflict")


@pytest.mark.parametrize("index", ["2", "99999"])
def test_file_that_is_not_in_the_list_is_refused(client: Client, index: str):
    assert client.told("PUT", f"{client.begin()}/files/{index}", b"1")[0] == 409


@pytest.mark.parametrize("index", ["-1", "x", "1" * 9, "..%2f..%2fetc"])
def test_number_of_a_file_that_is_none_is_refused(client: Client, index: str):
    assert client.told("PUT", f"{client.begin()}/files/{index}", b"1")[0] == 404


def test_key_of_other_files_is_refused(client: Client):
    client.begin(key="mine")
    status, told = client.told(
        "POST", "/uploads", {"files": listed({"other": b"1"}), "key": "mine"}
    )
    assert (status, told["error"]["type"]) == (409, "UploadConflict")


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/cron.d/x", "a\\b", "a\0b", "a//b", "..", "x" * 300]
)
def test_name_that_could_leave_the_directory_is_refused_before_anything_is_made(
    client: Client, home: LocalCheckpoints, name: str
):
    files = [*listed(FILES), {**listed({"x": b"1"})[0], "name": name}]
    status, told = client.told("POST", "/uploads", {"files": files})
    assert status == 422
    assert told["error"]["field"].startswith("files[2]")
    assert "name" in told["error"]["message"]
    assert under_way(home) == []


LINK = {"name": "latest", "size": 0, "sha256": hashlib.sha256().hexdigest()}


def test_link_is_made_when_all_files_are_there_and_nothing_is_sent_through_it(
    client: Client, home: LocalCheckpoints
):
    body = {"key": "one", "files": [*listed({"z": b"weights"}), {**LINK, "link": "z"}]}
    upload = f"/uploads/{client.told('POST', '/uploads', body)[1]['upload']}"
    assert client.told("PUT", f"{upload}/files/0", b"")[0] == 409
    assert client.told("POST", f"{upload}/seal")[0] == 409
    assert [p for p in home.root.rglob("*") if p.is_symlink()] == []
    client.told("PUT", f"{upload}/files/1", b"weights")
    status, told = client.told("POST", f"{upload}/seal")
    assert status == 200
    path = home.verify(told["address"])
    assert os.readlink(path / "latest") == "z"
    files = client.told("GET", f"/checkpoints/{told['address']}")[1]["files"]
    assert files == [{**LINK, "link": "z"}, *listed({"z": b"weights"})]
    assert client.told("GET", f"/checkpoints/{told['address']}/files/0")[0] == 404


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../log.db", "z/../../up", ""])
def test_link_that_may_lead_out_is_refused_before_anything_is_made(
    client: Client, home: LocalCheckpoints, link: str
):
    status, told = client.told("POST", "/uploads", {"files": [{**LINK, "link": link}]})
    assert (status, told["error"]["field"]) == (422, "files[0]")
    assert under_way(home) == []


@pytest.mark.parametrize(
    "files",
    [None, {}, "x", [7], [[]], [{"name": "a"}], listed({"a": b"1"}) * 2, [[[[[[]]]]]]],
)
def test_list_that_is_none_is_refused(client: Client, home: LocalCheckpoints, files: Any):
    status, told = client.told("POST", "/uploads", {"files": files})
    assert (status, told["error"]["field"].partition("[")[0]) == (422, "files")
    assert under_way(home) == []


def test_too_many_files_are_refused(client: Client):
    files = [{**item, "name": str(n)} for n in range(10_001) for item in listed({"a": b"1"})]
    status, told = client.told("POST", "/uploads", {"files": files})
    assert (status, told["error"]["field"]) == (422, "files")
    assert "10000" in told["error"]["message"]


def test_checkpoint_above_the_limit_is_refused_before_any_byte(tmp_path: Path):
    with serving(tmp_path, max_checkpoint_bytes=300_000) as served:
        client = Client(served.url, served.token("worker"))
        status, told = client.told("POST", "/uploads", {"files": listed(FILES)})
        assert (status, told["error"]["type"]) == (413, "CheckpointTooLarge")
        assert "300022 bytes together, above the limit" in told["error"]["message"]
        assert "300000 bytes" in told["error"]["message"]
        assert under_way(home_of(served)) == []
        client.upload({"fits": b"w" * 300_000})


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""]
)
def test_bytes_of_another_type_are_refused(client: Client, kind: str):
    upload = client.begin()
    status, told = client.told("PUT", f"{upload}/files/0", STATE, Content_Type=kind)
    assert (status, told["error"]["field"]) == (415, "Content-Type")
    assert "application/octet-stream" in told["error"]["message"]


def test_two_connections_cannot_write_one_file(served: Service, client: Client):
    upload = client.begin()
    head = request_head(served, "PUT", f"{upload}/files/1", f"Content-Length: {len(WEIGHTS)}")
    told = None
    while told is None:
        with connected(served) as slow:
            slow.sendall(head + WEIGHTS[:1000])
            told = until_busy(client, f"{upload}/files/1", slow)
            if told is not None:
                slow.sendall(WEIGHTS[1000:])
                assert b" 200 " in slow.recv(1 << 16)
    assert "'weights.pt' is being sent on another connection" in told["error"]["message"]
    client.told("PUT", f"{upload}/files/0", STATE)
    assert client.told("POST", f"{upload}/seal")[0] == 200


def test_what_was_written_before_the_connection_ended_is_kept(served: Service, client: Client):
    upload = client.begin({"weights.pt": bytes(2 * MB)})
    head = request_head(served, "PUT", f"{upload}/files/0", f"Content-Length: {2 * MB}")
    with connected(served) as broken:
        broken.sendall(head + bytes(MB))  # more than is taken at once
        until(lambda: client.told("GET", upload)[1]["files"][0]["offset"], what="the first block")
        broken.shutdown(socket.SHUT_WR)
        broken.recv(1 << 16)
    # What the service had not taken off the connection yet is sent again.
    assert 0 < client.told("GET", upload)[1]["files"][0]["offset"] <= MB


def test_slow_sender_is_given_up_and_what_came_is_kept(tmp_path: Path):
    with serving(tmp_path, upload_stall_s=0.1) as served:
        client = Client(served.url, served.token("worker"))
        upload = client.begin()
        head = request_head(served, "PUT", f"{upload}/files/1", f"Content-Length: {len(WEIGHTS)}")
        with connected(served) as slow:
            slow.sendall(head + WEIGHTS[:1000])
            answer = answered(slow)
        assert b" 408 " in answer
        assert b"send faster" in answer
        assert client.told("GET", upload)[1]["files"][1]["offset"] == 1000


def test_slow_senders_keep_nobody_waiting(served: Service, client: Client):
    files = {str(n): WEIGHTS + b"%d" % n for n in range(40)}
    upload = client.begin(files, key="slow")
    with contextlib.ExitStack() as open_ones:
        for index, content in enumerate(files.values()):
            slow = open_ones.enter_context(connected(served))
            length = f"Content-Length: {len(content)}"
            head = request_head(served, "PUT", f"{upload}/files/{index}", length)
            slow.sendall(head + content[:1000])
        client.upload()


def test_upload_that_nobody_goes_on_with_is_collected(tmp_path: Path):
    with serving(tmp_path, upload_idle_s=0.0) as served:
        client = Client(served.url, served.token("worker"))
        client.begin(key="abandoned")
        assert len(under_way(home_of(served))) == 1
        served.store.collect(1)
        assert under_way(home_of(served)) == []


def test_upload_that_nobody_goes_on_with_goes_when_another_begins(tmp_path: Path):
    with serving(tmp_path, upload_idle_s=0.0) as served:
        client = Client(served.url, served.token("worker"))
        client.begin({"old": b"1"}, key="abandoned")
        client.begin({"new": b"1"}, key="new")
        assert len(under_way(home_of(served))) == 1


def test_upload_under_way_is_spared_by_a_collection(client: Client, served: Service):
    upload = client.begin()
    client.told("PUT", f"{upload}/files/0", STATE)
    served.store.collect(1)
    assert client.told("PUT", f"{upload}/files/1", WEIGHTS)[0] == 200
    assert client.told("POST", f"{upload}/seal")[0] == 200


def test_study_that_is_gone_takes_nothing(client: Client, served: Service, home: LocalCheckpoints):
    upload = client.begin()
    served.store.delete_study(1)
    assert client.told("POST", "/uploads", {"files": listed(FILES)})[0] == 404
    assert client.told("PUT", f"{upload}/files/0", STATE)[0] in {404, 409}
    assert not home.root.exists()


# --- reading ------------------------------------------------------------------------------------


def test_list_and_files_can_be_read(client: Client):
    address = client.upload()
    status, told = client.told("GET", f"/checkpoints/{address}")
    assert (status, told) == (200, {"address": address, "files": listed(FILES)})
    status, headers, content = client.ask("GET", f"/checkpoints/{address}/files/1")
    assert (status, content) == (200, WEIGHTS)
    assert headers["content-length"] == "300000"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["accept-ranges"] == "bytes"
    assert headers["etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert "weights.pt" in headers["content-disposition"]


def test_list_is_made_anew_when_it_is_lost(client: Client, home: LocalCheckpoints):
    address = client.upload()
    home.path(address).with_suffix(".json").unlink()
    assert client.told("GET", f"/checkpoints/{address}")[1]["files"] == listed(FILES)


def test_head_tells_what_a_get_would(client: Client):
    address = client.upload()
    assert client.ask("HEAD", f"/checkpoints/{address}")[0] == 200
    status, headers, content = client.ask("HEAD", f"/checkpoints/{address}/files/1")
    assert (status, headers["content-length"], content) == (200, "300000", b"")
    assert client.ask("HEAD", f"/checkpoints/{'0' * 64}")[0] == 404


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("bytes=299000-", WEIGHTS[299_000:]),
        ("bytes=0-0", b"w"),
        ("bytes=10-19", b"w" * 10),
        ("bytes=299990-999999", b"w" * 10),
        ("bytes=-5", b"w" * 5),
    ],
)
def test_range_of_a_file_can_be_read(client: Client, wanted: str, got: bytes):
    path = f"/checkpoints/{client.upload()}/files/1"
    status, headers, content = client.ask("GET", path, Range=wanted)
    assert (status, content) == (206, got)
    assert headers["content-range"].endswith("/300000")
    etag = headers["etag"]
    assert client.ask("GET", path, Range=wanted, If_Range=etag)[0] == 206
    assert client.ask("GET", path, Range=wanted, If_Range='"other"')[0] == 200


@pytest.mark.parametrize("wanted", ["bytes=300000-", "bytes=5-4", "bytes=-", "bytes=-0"])
def test_range_that_is_not_there_is_refused(client: Client, wanted: str):
    status, _, content = client.ask("GET", f"/checkpoints/{client.upload()}/files/1", Range=wanted)
    assert (status, b"300000 bytes" in content) == (416, True)


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=0-1,5-6", "bytes=a-b", "x" * 500])
def test_range_that_is_none_gives_the_whole_file(client: Client, wanted: str):
    path = f"/checkpoints/{client.upload()}/files/1"
    assert client.ask("GET", path, Range=wanted)[0] == 200


def test_checkpoint_that_is_not_there_is_told_so(client: Client):
    for path in (f"/checkpoints/{'0' * 64}", f"/checkpoints/{'0' * 64}/files/0"):
        status, told = client.told("GET", path)
        assert (status, told["error"]["type"]) == (404, "CheckpointMissing")


@pytest.mark.parametrize("address", ["..%2f..", "%2e%2e", "A" * 64, "0" * 63, "x", "%00"])
def test_address_that_is_none_is_not_there(client: Client, address: str):
    assert client.ask("GET", f"/checkpoints/{address}")[0] == 404
    assert client.ask("GET", f"/checkpoints/{address}/files/0")[0] == 404


@pytest.mark.parametrize("index", ["2", "-1", "x", "0" * 9])
def test_file_that_is_not_there_is_told_so(client: Client, index: str):
    assert client.ask("GET", f"/checkpoints/{client.upload()}/files/{index}")[0] == 404


def test_file_that_was_damaged_is_named(client: Client, home: LocalCheckpoints):
    address = client.upload()
    spoiled = home.path(address) / "weights.pt"
    spoiled.chmod(0o644)
    spoiled.write_bytes(b"short")
    status, told = client.told("GET", f"/checkpoints/{address}/files/1")
    assert (status, told["error"]["type"]) == (409, "CheckpointDamaged")
    assert "'weights.pt' has 5 bytes instead of 300000" in told["error"]["message"]
    (home.path(address) / "optimizer/state.bin").unlink()
    status, told = client.told("GET", f"/checkpoints/{address}/files/0")
    assert "'optimizer/state.bin' is missing" in told["error"]["message"]


def test_file_that_is_being_read_can_be_read_to_its_end_though_it_is_collected(
    served: Service, client: Client, home: LocalCheckpoints
):
    content = bytes(range(256)) * (32 * MB // 256)
    address = client.upload({"a": content, "b": b"1"})
    with connected(served) as reader:
        reader.sendall(request_head(served, "GET", f"/checkpoints/{address}/files/0", end=True))
        got = reader.recv(1 << 16)
        home.discard([address])
        home.empty_trash()
        while block := reader.recv(1 << 20):
            got += block
    assert got.partition(b"\r\n\r\n")[2] == content
    assert client.told("GET", f"/checkpoints/{address}/files/1")[0] == 404


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "study", "reading", "sending"),
    [
        ("viewer", None, 200, 403),
        ("viewer", "digits", 200, 403),
        ("worker", "digits", 200, 200),
        ("worker", "other", 404, 404),
        ("admin", "other", 404, 404),
    ],
)
def test_only_who_may_see_the_study_gets_in(
    client: Client, served: Service, role: RoleName, study: str, reading: int, sending: int
):
    address = client.upload()
    upload = client.begin({"a": b"1"}, key="another")
    other = Client(served.url, served.token(role, study))
    for path in (f"/checkpoints/{address}", f"/checkpoints/{address}/files/0"):
        assert other.ask("GET", path)[0] == reading
    body = {"files": listed({"b": b"1"}), "key": "third"}
    assert other.ask("POST", "/uploads", body)[0] == sending
    assert other.ask("PUT", f"{upload}/files/0", b"1")[0] == sending
    assert other.ask("POST", f"{upload}/seal")[0] == sending


def test_nobody_gets_in_without_a_token(client: Client, served: Service):
    address, stranger = client.upload(), Client(served.url, "evt_none")
    for method, path in (
        ("GET", f"/checkpoints/{address}"),
        ("GET", f"/checkpoints/{address}/files/0"),
        ("POST", "/uploads"),
        ("PUT", "/uploads/0/files/0"),
        ("DELETE", "/uploads/0"),
    ):
        assert stranger.ask(method, path)[0] == 401


# --- plain sockets ------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(served: Service) -> Iterator[socket.socket]:
    parts = urlsplit(served.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        yield connection


def request_head(
    served: Service, method: str, path: str, *headers: str, end: bool = False
) -> bytes:
    lines = [
        f"{method} /api/v1/studies/1{path} HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {served.token('worker')}",
        "Content-Type: application/octet-stream",
        *headers,
        *(["Connection: close"] if end else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def raw(served: Service, path: str, body: bytes, *headers: str) -> int:
    """Send bytes as they are to be seen on the wire; return the status."""
    with connected(served) as connection:
        connection.sendall(request_head(served, "PUT", path, *headers) + body)
        return int(connection.recv(1 << 16).split()[1])


def answered(connection: socket.socket) -> bytes:
    """Return an answer to its end."""
    got = b""
    while b"}}" not in got and (block := connection.recv(1 << 16)):
        got += block
    return got


def until_busy(client: Client, path: str, slow: socket.socket) -> Any:
    """Ask until another connection is writing; return what was answered then.

    None if a question had the file open when the other came, which was refused for that.
    """
    until = time.monotonic() + 60
    while time.monotonic() < until:
        told = client.told("PUT", f"{path}?offset=5", b"1")[1]
        if "another connection" in told["error"]["message"]:
            return told
        if select.select([slow], [], [], 0)[0]:
            assert b" 409 " in slow.recv(1 << 16)
            return None
    raise AssertionError("never busy")
