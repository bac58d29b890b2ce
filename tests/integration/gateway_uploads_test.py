"""Data sets and models that accounts bring: sent in parts, counted against a quota, listed, theirs alone."""

import hashlib
import os
import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import contract, open_world, stranger, user  # noqa: E402, F401
from services import Client  # noqa: E402

QUOTA = 20_000_000


@pytest.fixture(scope="module")
def world():
    with open_world(CYXWIZ_UPLOAD_QUOTA_BYTES=str(QUOTA)) as running:
        yield running


@pytest.fixture(scope="module")
def api(user):
    return Client(user.url, user.call("POST", "/api/v1/api-keys", {"name": "tests"}).json["key"])


def announce(client, data, name="photos", kind="dataset"):
    return client.call("POST", "/api/v1/uploads", {"kind": kind, "name": name, "bytes": len(data),
                                                   "sha256": hashlib.sha256(data).hexdigest()})


def send(client, upload, data, first=None, total=None):
    headers = {"Content-Type": "application/octet-stream"}
    if first is not None:
        headers["Content-Range"] = f"bytes {first}-{first + len(data) - 1}/{total}"
    return client.call("PUT", f"/api/v1/uploads/{upload['id']}/content", raw=data, headers=headers)


def offset(client, upload):
    answer = client.call("HEAD", f"/api/v1/uploads/{upload['id']}/content")
    assert answer.status == 404
    return int(answer.headers["Upload-Offset"])


def test_uploads__go_up_in_parts_and_after_a_break(world, api, stranger, contract):
    data = os.urandom(3_000_000)
    made = announce(api, data)
    assert made.status == 201 and made.headers["Location"] == f"/api/v1/uploads/{made.json['id']}"
    upload, path = made.json, f"/api/v1/uploads/{made.json['id']}"
    assert (upload["received"], upload["complete"], offset(api, upload)) == (0, False, 0)
    first = send(api, upload, data[:1_000_000], 0, len(data))
    assert first.status == 202 and first.headers["Upload-Offset"] == "1000000"
    assert api.call("GET", path).json["received"] == 1_000_000
    assert announce(api, data, "the same").json["id"] == upload["id"]

    host, port = world.url[7:].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as broken:  # breaks in the middle of a body
        broken.sendall((f"PUT {path}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
                        f"Content-Range: bytes 1000000-2999999/3000000\r\nContent-Length: 2000000\r\n\r\n").encode()
                       + data[1_000_000:2_000_000])
    end = time.monotonic() + 15
    while (at := offset(api, upload)) <= 1_000_000 and time.monotonic() < end:
        pass
    assert 1_000_000 < at <= 2_000_000
    contract.problem(send(api, upload, data[2_500_000:], 2_500_000, len(data)), 409)
    last = send(api, upload, data[at:], at, len(data))
    assert last.status == 201, last.body
    shown = api.call("GET", path).json
    assert shown["complete"] and shown["received"] == len(data) and shown["completed_at"]
    content = api.call("GET", f"{path}/content")
    assert content.body == data and content.headers["ETag"] == f'"{upload["sha256"]}"'
    assert api.call("GET", f"{path}/content", headers={"Range": "bytes=5-9"}).body == data[5:10]
    contract.problem(send(api, upload, data), 409)
    for method, where in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
        contract.problem(stranger.call(method, where), 404)


def test_uploads__nobody_reads_by_a_hash_what_they_do_not_have(api, stranger, contract):
    data = os.urandom(500_000)
    mine = announce(api, data, kind="model").json
    assert send(api, mine, data[:300_000], 0, len(data)).status == 202
    theirs = announce(stranger, data, kind="model").json
    assert offset(stranger, theirs) == 0 and offset(api, mine) == 300_000
    contract.problem(send(stranger, theirs, data[300_000:], 300_000, len(data)), 409)
    assert send(api, mine, data[300_000:], 300_000, len(data)).status == 201
    contract.problem(send(stranger, theirs, data[300_000:], 300_000, len(data)), 409)
    contract.problem(send(stranger, theirs, os.urandom(500_000)), 422, "corrupt")
    contract.problem(stranger.call("GET", f"/api/v1/uploads/{theirs['id']}/content"), 404)
    assert send(stranger, theirs, data).status == 200
    assert stranger.call("GET", f"/api/v1/uploads/{theirs['id']}/content").body == data
    # Who deletes first does not take the other's away.
    assert api.call("DELETE", f"/api/v1/uploads/{mine['id']}").status == 204
    assert stranger.call("GET", f"/api/v1/uploads/{theirs['id']}/content").body == data


def test_uploads__what_is_sent_must_be_what_was_announced(api, contract):
    data = os.urandom(10_000)
    upload = announce(api, data).json
    contract.problem(send(api, upload, data + b"x"), 422)
    contract.problem(send(api, upload, data[:10], 0, 9_999), 422)
    contract.problem(send(api, upload, os.urandom(10_000)), 422, "corrupt")
    assert offset(api, upload) == 0
    assert send(api, upload, data).status == 201


def test_uploads__a_quota_counts_what_was_announced(world, stranger, contract):
    huge = {"kind": "dataset", "name": "huge", "sha256": "ab" * 32, "bytes": QUOTA - 600_000}
    made = stranger.call("POST", "/api/v1/uploads", huge)
    assert made.status == 201
    refused = contract.problem(stranger.call("POST", "/api/v1/uploads", huge | {"sha256": "cd" * 32}), 413, "too-large")
    assert refused["pointer"] == "/bytes" and "delete an upload first" in refused["detail"]
    assert stranger.call("DELETE", f"/api/v1/uploads/{made.json['id']}").status == 204
    assert stranger.call("POST", "/api/v1/uploads", huge | {"sha256": "cd" * 32}).status == 201


def test_uploads__are_listed_sorted_filtered_and_in_pages(user, contract):
    made = user.call("POST", "/api/v1/accounts", {"email": "lister@example.org", "name": "L", "role": "user",
                                                  "password": "long enough"})
    assert made.status == 201
    client = Client(user.url)
    client.sign_in("lister@example.org", "long enough")
    sizes = {"delta": 4, "alpha": 9, "carol": 2, "bravo": 7}
    for name, size in sizes.items():
        upload = announce(client, os.urandom(size), name, "model" if size > 5 else "dataset").json
        if size == 9:
            assert client.call("PUT", f"/api/v1/uploads/{upload['id']}/content", raw=b"123456789",
                               headers={"Content-Type": "application/octet-stream"}).status == 422

    def names(query, limit=3):
        seen, cursor = [], None
        while True:
            page = client.call("GET", f"/api/v1/uploads?{query}&limit={limit}{f'&cursor={cursor}' if cursor else ''}").json
            seen += [entry["name"] for entry in page["uploads"]]
            if not (cursor := page["next_cursor"]):
                return seen

    assert names("sort=name") == ["alpha", "bravo", "carol", "delta"]
    assert names("sort=-bytes", 1) == ["alpha", "bravo", "delta", "carol"] == names("sort=bytes", 2)[::-1]
    assert names("sort=-name", 1) == ["delta", "carol", "bravo", "alpha"]
    # The row where a page ended may be gone.
    page = client.call("GET", "/api/v1/uploads?sort=-bytes&limit=2").json
    made = page["uploads"][-1]
    assert client.call("DELETE", f"/api/v1/uploads/{made['id']}").status == 204
    rest = client.call("GET", f"/api/v1/uploads?sort=-bytes&limit=2&cursor={page['next_cursor']}").json
    assert [entry["name"] for entry in rest["uploads"]] == ["delta", "carol"]
    announce(client, os.urandom(7), "bravo", "model")
    sizes = {name: sizes[name] for name in ("delta", "alpha", "carol", "bravo")}
    assert names("sort=created_at", 2) == list(sizes) and names("", 2) == list(sizes)[::-1]
    assert names("kind=model&sort=name") == ["alpha", "bravo"]
    assert names("complete=true") == [] and len(names("complete=false")) == 4
    for query in ("sort=size", "kind=song", "complete=maybe", "cursor=x", "limit=0",
                  f"sort=bytes&cursor=bytes.{made['id']}.61"):
        contract.problem(client.call("GET", f"/api/v1/uploads?{query}"), 422)
    for change, place in (({"kind": "song"}, "/kind"), ({"sha256": "AB" * 32}, "/sha256"), ({"bytes": 0}, "/bytes"),
                          ({"bytes": 2**33}, "/bytes"), ({"name": ""}, "/name"), ({"x": 1}, "/x")):
        body = {"kind": "model", "name": "n", "sha256": "ab" * 32, "bytes": 1} | change
        assert contract.problem(client.call("POST", "/api/v1/uploads", body), 422)["pointer"] == place
