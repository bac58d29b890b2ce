"""The gateway when others are away, in this order: each test leaves its mark on the world."""

import hashlib
import http.client
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import (  # noqa: E402, F401
    Listener, WebSocket, api, contract, example, nats, submit, tell, user, world,
)
from nats_client import Nats  # noqa: E402
from services import Client  # noqa: E402


def test_gateway__without_redis_all_works_and_the_limit_still_holds(world, api, user, contract):
    world.servers.kill("redis")
    try:
        assert user.call("GET", "/api/v1/session").status == 200
        assert api.call("GET", "/api/v1/jobs").status == 200
        submit(api, name="without redis")
        client = Client(world.url)
        answers = [client.sign_in(world.ADMIN, "wrong password").status for _ in range(11)]
        assert answers[0] == 401 and answers[-1] == 429 and set(answers) == {401, 429}
        refused = client.sign_in(world.ADMIN, world.password)
        contract.problem(refused, 429, "rate-limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 61
        made = user.call("POST", "/api/v1/api-keys", {"name": "short"}).json
        key = Client(world.url, made["key"])
        assert key.call("GET", "/api/v1/session").status == 200
        user.call("DELETE", f"/api/v1/api-keys/{made['id']}")
        assert key.call("GET", "/api/v1/session").status == 401
    finally:
        world.servers.start("redis")


def test_gateway__a_service_that_is_away_is_503_and_said_so(world, api, contract):
    world.stop("registry")
    try:
        answer = api.call("GET", "/api/v1/nodes")
        problem = contract.problem(answer, 503, "unavailable")
        assert "registry" in problem["detail"] and "cyx.svc" not in problem["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert api.call("GET", "/api/v1/jobs").status == 200
    finally:
        world.start("registry")


def test_gateway__a_data_set_that_comes_later_is_found_and_a_wrong_one_is_not(world, api, contract):
    digest = hashlib.sha256(b"").hexdigest()
    folder = world.data / "mnist"
    folder.mkdir()
    sizes = {"train-images-idx3-ubyte": 47040016, "train-labels-idx1-ubyte": 60008, "t10k-images-idx3-ubyte": 7840016,
             "t10k-labels-idx1-ubyte": 10008}
    for name, size in sizes.items():
        (folder / name).write_bytes(b"\0" * size)  # the right size, the wrong bytes
    problem = contract.problem(api.call("POST", "/api/v1/jobs", example("mnist-mlp")), 422)
    assert problem["pointer"] == "/data/dataset"
    assert "is not the one of the catalogue" in world.log("gateway")
    wrong = hashlib.sha256(b"\0" * 10008).hexdigest()
    assert not (world.folder / "blob" / "objects" / wrong[:2] / wrong).exists()
    assert digest not in world.log("gateway")
    source = world.data / "fashion-mnist"
    moved = world.data / "away"
    source.rename(moved)
    contract.problem(api.call("POST", "/api/v1/jobs", example()), 422)
    moved.rename(source)
    assert api.call("POST", "/api/v1/jobs", example()).status == 201  # looked for again at once


def test_gateway__without_nats_it_says_so_and_goes_on_when_it_is_back(world, api, nats, contract):
    job_id = submit(api, name="nats away")
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "1", "job_id": job_id, "cursor": 0})
    assert client.receive()["type"] == "subscribed"
    world.servers.kill("nats")
    try:
        answer = api.call("GET", f"/api/v1/jobs/{job_id}")
        contract.problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]
        contract.problem(api.call("GET", f"/api/v1/jobs/{job_id}/metrics"), 503)
        assert api.call("GET", "/api/v1/datasets").status == 200
        other = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
        other.send({"type": "subscribe", "id": "1", "job_id": job_id})
        assert other.receive()["problem"]["type"].endswith(":unavailable")
        other.close()
    finally:
        world.servers.start("nats")
    end = time.monotonic() + 30
    while api.call("GET", f"/api/v1/jobs/{job_id}").status != 200:
        assert time.monotonic() < end
    with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as again:
        step, seen = 1000, None
        client.socket.settimeout(0.5)
        while seen is None and time.monotonic() < end:  # the tail comes back by itself
            tell(again, job_id, step)
            step += 1
            try:
                message = client.receive()
                seen = message["data"].get("step") if message["type"] == "event" else None
            except TimeoutError:
                client.file = client.socket.makefile("rb")
    assert seen is not None and seen >= 1000
    client.close()


def test_gateway__without_postgresql_nobody_is_taken_for_a_stranger(world, api, user, contract):
    fresh = user.call("POST", "/api/v1/api-keys", {"name": "fresh"}).json["key"]
    world.servers.kill("postgres")
    try:
        answer = Client(world.url, fresh).call("GET", "/api/v1/session")
        contract.problem(answer, 503, "unavailable")  # not 401: a client would throw its key away
        assert "SQLSTATE" not in answer.body.decode() and answer.headers["Retry-After"]
        elsewhere = http.client.HTTPConnection(world.url[7:], timeout=30, source_address=("127.0.0.2", 0))
        body = json.dumps({"email": "a@example.org", "password": "some password"})  # this address has tried too often
        elsewhere.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
        assert elsewhere.getresponse().status == 503
        elsewhere.close()
    finally:
        world.servers.start("postgres")
    end = time.monotonic() + 20
    while Client(world.url, fresh).call("GET", "/api/v1/session").status != 200:
        assert time.monotonic() < end


def test_gateway__it_stops_at_once_although_pages_are_open(world, api):
    job_id = submit(api, name="drain")
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "1", "job_id": job_id})
    assert client.receive()["type"] == "subscribed"
    listener = Listener(world, api, job_id)
    started = time.monotonic()
    assert world.stop("gateway") == 0
    assert time.monotonic() - started < 8
    while (message := client.receive()) is not None:  # what the job's submission told before the end
        assert message["type"] == "event"
    client.close()
    listener.close()


def test_gateway__without_a_dashboard_it_says_how_to_build_it(world):
    (world.web / "index.html").unlink()
    world.extra = {"CYXWIZ_PUBLIC_URL": "https://cyxwiz.example"}
    world.start("gateway")
    client = Client(world.url)
    page = client.call("GET", "/")
    assert page.status == 404 and b"make web" in page.body
    assert page.headers["Content-Type"].startswith("text/html")
    signed_in = client.sign_in(world.ADMIN, world.password)
    assert signed_in.status == 201 and "Secure" in signed_in.headers["Set-Cookie"]  # behind TLS
