"""The gateway's live events: kept ones in pages, server-sent events, WebSockets."""

import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import (  # noqa: E402, F401
    Client, Listener, WebSocket, api, contract, flushed, nats, stranger, submit, tell, user, world,
)
from nats_client import Nats  # noqa: E402


def test_gateway__kept_metrics_and_logs_are_given_in_pages(world, api, nats, contract):
    job_id = submit(api, name="kept")
    for step in range(5):
        tell(nats, job_id, step)
    nats.publish(f"cyx.job.{job_id}.metrics.service", b"not JSON")
    tell(nats, job_id, 1, "log")
    flushed(nats)
    path = f"/api/v1/jobs/{job_id}/metrics"
    whole = contract.check(api.call("GET", path), "get", "/jobs/{id}/metrics").json
    assert [point["step"] for point in whole["points"]] == [0, 1, 2, 3, 4] and whole["next_cursor"] is None
    page = contract.check(api.call("GET", path + "?limit=2"), "get", "/jobs/{id}/metrics").json
    assert [point["step"] for point in page["points"]] == [0, 1]
    rest = api.call("GET", f"{path}?cursor={page['next_cursor']}").json
    assert [point["step"] for point in rest["points"]] == [2, 3, 4]
    logs = contract.check(api.call("GET", f"/api/v1/jobs/{job_id}/logs"), "get", "/jobs/{id}/logs").json
    assert [line["message"] for line in logs["lines"]] == ["line 1"]


def test_gateway__server_sent_events_resume_behind_the_last_one(world, api, nats, contract):
    job_id = submit(api, name="sse")
    listener = Listener(world, api, job_id)
    assert listener.status == 200
    assert listener.next()[0] == ""  # subscribed
    tell(nats, job_id, 1)
    tell(nats, job_id, 2)
    events = [listener.next_event("metrics") for _ in range(2)]
    assert [(event, data["step"]) for event, _, data in events] == [("metrics", 1), ("metrics", 2)]
    listener.close()
    tell(nats, job_id, 3)
    tell(nats, job_id, 4, "log")
    flushed(nats)
    again = Listener(world, api, job_id, events[0][1])
    got = [again.next_event("metrics", "log") for _ in range(3)]
    assert [(event, data.get("step", data.get("message"))) for event, _, data in got] == [
        ("metrics", 2), ("metrics", 3), ("log", "line 4")]
    tell(nats, job_id, 5)
    assert again.next_event("metrics")[2]["step"] == 5
    again.close()
    whole = Listener(world, api, job_id, 0)
    kinds = [whole.next_event() for _ in range(6)]
    assert sorted(data["step"] for event, _, data in kinds if event == "metrics") == [1, 2, 3, 5]
    assert "state" in [event for event, _, _ in kinds]
    whole.close()
    answer = api.call("GET", f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
    contract.problem(answer, 422, "invalid")


def test_gateway__the_event_stream_of_a_job_that_has_ended_ends(world, api, nats):
    job_id = submit(api, name="ended")
    tell(nats, job_id, 1)
    flushed(nats)
    assert api.call("POST", f"/api/v1/jobs/{job_id}/cancel").json["job"]["state"] == "cancelled"
    fresh = Listener(world, api, job_id)
    assert (fresh.status, fresh.next()[0]) == (200, "")  # subscribed
    fresh.to_end()
    fresh.close()
    whole = Listener(world, api, job_id, 0)
    assert whole.next_event("metrics")[2]["step"] == 1
    whole.to_end()
    whole.close()


def message_checker(contract):
    schema = {"$ref": "#/components/schemas/WsServerMessage", "components": contract.document["components"]}
    return jsonschema.Draft202012Validator(schema).validate


def test_gateway__websocket_replays_from_a_cursor_and_goes_on_live(world, api, nats, contract):
    check = message_checker(contract)
    job_id = submit(api, name="ws")
    for step in range(1000):
        tell(nats, job_id, step)
    flushed(nats)
    key = {"Authorization": f"Bearer {api.token}"}
    client, live = WebSocket(world, key), WebSocket(world, key)
    assert client.status == 101
    live.send({"type": "subscribe", "id": "live", "job_id": job_id})
    assert live.receive() == {"type": "subscribed", "id": "live"}
    stop = threading.Event()

    def chatter():  # while the replay runs
        with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as other:
            step = 1000
            while not stop.is_set() or step < 1200:
                tell(other, job_id, step)
                step += 1
                if step >= 4000:
                    break

    thread = threading.Thread(target=chatter)
    thread.start()
    client.send({"type": "subscribe", "id": "1", "job_id": job_id, "cursor": 0})
    first = client.receive()
    check(first)
    assert first == {"type": "subscribed", "id": "1"}
    steps, cursors = [], []
    while len(steps) < 1200:
        message = client.receive()
        if len(steps) < 20:
            check(message)
        assert (message["type"], message["id"], message["job_id"]) == ("event", "1", job_id)
        if message["event"] == "metrics":
            steps.append(message["data"]["step"])
        cursors.append(message["cursor"])
    stop.set()
    thread.join()
    assert steps == list(range(1200))  # no gap, no repeat, in order
    assert cursors == sorted(set(cursors))
    first_live = live.receive_metrics()
    assert first_live["id"] == "live" and first_live["data"]["step"] >= 1000
    client.send({"type": "ping"})
    while (message := client.receive())["type"] == "event":
        pass
    assert message == {"type": "pong"}
    client.send({"type": "unsubscribe", "id": "1"})
    while (message := client.receive())["type"] == "event":
        pass
    assert message == {"type": "unsubscribed", "id": "1"}
    client.close()
    live.close()


def test_gateway__one_tail_serves_all_who_watch_a_job(world, api, nats):
    job_id = submit(api, name="shared")
    clients = [WebSocket(world, {"Authorization": f"Bearer {api.token}"}) for _ in range(8)]
    for client in clients:
        client.send({"type": "subscribe", "id": "a", "job_id": job_id})
        assert client.receive()["type"] == "subscribed"
    tell(nats, job_id, 42)
    assert [client.receive_metrics()["data"]["step"] for client in clients] == [42] * 8
    metrics = world.metrics("gateway")
    watched = float(next(line for line in metrics.splitlines() if line.startswith("cyx_live_subscriptions ")).split()[1])
    tails = float(next(line for line in metrics.splitlines() if line.startswith("cyx_live_jobs ")).split()[1])
    assert watched >= 8 and tails <= 4
    for client in clients:
        client.close()


def test_gateway__the_jobs_topic_tells_of_own_jobs_alone(world, api, stranger, contract):
    check = message_checker(contract)
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "2", "topic": "jobs"})
    assert client.receive() == {"type": "subscribed", "id": "2"}
    foreign = submit(stranger, name="foreign")
    own = submit(api, name="own")
    seen = client.receive()
    check(seen)
    assert (seen["event"], seen["job_id"], seen["data"]["to"]) == ("state", own, "queued")
    assert seen["data"]["job"]["name"] == "own" and foreign not in json.dumps(seen)
    api.call("POST", f"/api/v1/jobs/{own}/cancel")
    while (seen := client.receive())["data"]["to"] != "cancelled":
        assert seen["job_id"] == own
    client.close()


def until_closed(socket):
    while socket.receive():
        pass


def test_gateway__what_a_key_or_session_opened_ends_with_it(world, api, user):
    made = user.call("POST", "/api/v1/api-keys", {"name": "live"}).json
    holder = Client(world.url, made["key"])
    job_id = submit(holder, name="watched by a key that ends")
    sockets = [WebSocket(world, {"Authorization": f"Bearer {holder.token}"}) for _ in range(2)]
    other = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    for socket in sockets:
        socket.send({"type": "subscribe", "id": "1", "job_id": job_id})
        assert socket.receive()["type"] == "subscribed"
    listener = Listener(world, holder, job_id)
    assert listener.next()[0] == ""  # subscribed
    assert user.call("DELETE", f"/api/v1/api-keys/{made['id']}").status == 204
    began = time.monotonic()
    for socket in sockets:
        until_closed(socket)
    listener.to_end()
    assert time.monotonic() - began < 10
    other.send({"type": "ping"})
    assert other.receive() == {"type": "pong"}

    email = f"{uuid.uuid4()}@example.org"
    assert user.call("POST", "/api/v1/accounts", {"email": email, "name": "New", "role": "user",
                                                  "password": "long enough"}).status == 201
    client = Client(world.url)
    assert client.sign_in(email, "long enough").status == 201
    page = WebSocket(world, {"Cookie": client.cookie, "Origin": world.url})
    page.send({"type": "ping"})
    assert page.receive() == {"type": "pong"}
    assert client.call("DELETE", "/api/v1/session").status == 204
    began = time.monotonic()
    until_closed(page)
    assert time.monotonic() - began < 10
    other.send({"type": "ping"})
    assert other.receive() == {"type": "pong"}


def test_gateway__websocket_refusals(world, api, user, stranger, contract):
    check = message_checker(contract)
    own = {"Origin": world.url}
    assert WebSocket(world, {}).status == 401
    assert WebSocket(world, {"Cookie": user.cookie}).status == 403
    assert WebSocket(world, {"Cookie": user.cookie, "Origin": "https://evil.example"}).status == 403
    client = WebSocket(world, {"Cookie": stranger.cookie} | own)
    assert client.status == 101
    table = [
        ({"type": "subscribe", "id": "1", "job_id": submit(api, name="mine")}, "not-found", "/job_id"),
        ({"type": "subscribe", "id": "1", "job_id": str(uuid.uuid4())}, "not-found", "/job_id"),
        ({"type": "subscribe", "id": "1", "job_id": "*"}, "invalid", "/job_id"),
        ({"type": "subscribe", "id": "1", "topic": "nodes"}, "invalid", "/topic"),
        ({"type": "subscribe", "id": "x" * 65, "topic": "jobs"}, "invalid", "/id"),
        ({"type": "subscribe", "topic": "jobs"}, "invalid", "/id"),
        ({"type": "unsubscribe", "id": "9"}, "not-found", "/id"),
        ({"type": "dance"}, "invalid", "/type"),
        (b"[]", "invalid", None),
        (b"{", "invalid", None),
    ]
    for message, status, pointer in table:
        client.send(message)
        answer = client.receive()
        check(answer)
        assert answer["type"] == "error", answer
        assert answer["problem"]["type"] == f"urn:cyxwiz:problem:{status}", (message, answer)
        assert answer["problem"].get("pointer") == pointer, (message, answer)
    client.send({"type": "subscribe", "id": "1", "topic": "jobs"})
    assert client.receive()["type"] == "subscribed"
    client.send({"type": "subscribe", "id": "1", "topic": "jobs"})
    assert client.receive()["problem"]["type"].endswith(":conflict")
    client.send(b'"' + b"x" * 5000 + b'"')
    assert client.receive() is None  # too large: closed
    client.close()


def test_gateway__a_reader_that_sleeps_loses_detail_and_is_told(world, api, nats, contract):
    check = message_checker(contract)
    job_id = submit(api, name="sleeper")
    key = {"Authorization": f"Bearer {api.token}"}
    sleeper, awake = WebSocket(world, key), WebSocket(world, key)
    for client in (sleeper, awake):
        client.send({"type": "subscribe", "id": "1", "job_id": job_id})
        assert client.receive()["type"] == "subscribed"
    count = 40_000  # about 12 MB: more than a socket and the queue hold
    seen = []

    def read_all():
        while len(seen) < count:
            message = awake.receive()
            if message["type"] == "event" and message["event"] == "metrics":
                seen.append(message["data"]["step"])
            elif message["type"] == "lost":
                seen.extend([None] * message["count"])

    reader = threading.Thread(target=read_all)
    reader.start()
    for step in range(count):
        tell(nats, job_id, step)
        if step % 500 == 0:
            flushed(nats)  # as fast as the stream takes it
    reader.join(timeout=60)
    assert not reader.is_alive()
    lost, got = 0, 0
    while lost == 0 or got + lost < count:
        message = sleeper.receive()
        if message["type"] == "lost":
            check(message)
            lost += message["count"]
        elif message["event"] == "metrics":
            got += 1
    assert lost > 0 and got + lost >= count
    status = Path(f"/proc/{world.running['gateway'].pid}/status").read_text()
    resident_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    sanitized = "asan" in os.readlink(f"/proc/{world.running['gateway'].pid}/exe")
    assert resident_kib < (800 if sanitized else 300) * 1024  # the 128 MiB of two Argon2id at once included
    sleeper.close()
    awake.close()


def test_gateway__an_ended_jobs_metrics_and_log_outlive_the_stream(world, api, stranger, nats, contract):
    job_id = submit(api, name="kept")
    path = f"/api/v1/jobs/{job_id}"
    for step in range(2500):
        tell(nats, job_id, step)
    nats.publish(f"cyx.job.{job_id}.metrics.service", {"kind": "epoch", "epoch": 1, "epochs": 1, "step": 2500, "loss": 0.1,
                                               "accuracy": 0.9, "images_per_second": 1.0, "eval_loss": 0.2,
                                               "eval_accuracy": 0.8, "at": "2026-11-24T02:25:00.125Z"})
    for line in range(300):
        tell(nats, job_id, line, "log")
    flushed(nats)
    whole = contract.check(api.call("GET", f"{path}/metrics"), "get", "/jobs/{id}/metrics").json
    lines = contract.check(api.call("GET", f"{path}/logs"), "get", "/jobs/{id}/logs").json["lines"]
    assert (len(whole["points"]), len(lines), whole["source"]) == (2501, 300, "stream")
    assert api.call("GET", path).json["record"] is None
    api.call("POST", f"{path}/cancel")
    end, record = time.monotonic() + 30, None
    while not record and time.monotonic() < end:
        record = api.call("GET", path).json["record"]
    assert (record["points"], record["points_seen"], record["log"]["lines"]) == (1001, 2501, 300)
    assert api.call("GET", f"{path}/metrics").json == whole  # as long as the stream has it

    purged = nats.request("$JS.API.STREAM.PURGE.CYX_JOB", {"filter": f"cyx.job.{job_id}.>"})
    assert purged["success"] and purged["purged"] >= 2801
    kept = contract.check(api.call("GET", f"{path}/metrics"), "get", "/jobs/{id}/metrics").json
    assert kept["source"] == "record" and kept["next_cursor"] is None and len(kept["points"]) == 1001
    assert kept["points"][0] == whole["points"][0] and kept["points"][-1] == whole["points"][-1]
    assert all(point in whole["points"] for point in kept["points"][::100])
    pages, cursor = [], ""
    while cursor is not None:
        page = api.call("GET", f"{path}/metrics?limit=400{f'&cursor={cursor}' if cursor else ''}").json
        pages, cursor = pages + page["points"], page["next_cursor"]
    assert pages == kept["points"]

    told = contract.check(api.call("GET", f"{path}/logs?limit=200"), "get", "/jobs/{id}/logs").json
    rest = api.call("GET", f"{path}/logs?cursor={told['next_cursor']}").json
    assert told["source"] == rest["source"] == "record" and told["lines"] + rest["lines"] == lines
    artifact = f"/api/v1/artifacts/{record['log']['sha256']}"
    assert [json.loads(line) for line in api.call("GET", artifact).body.splitlines()] == lines
    contract.problem(stranger.call("GET", artifact), 404)
    contract.problem(stranger.call("GET", f"{path}/metrics"), 404)
