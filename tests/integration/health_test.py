"""Nodes in good and in bad health: drained, in maintenance, silent and why, missed soon or waited for."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import api, contract, stranger, submit, user  # noqa: E402, F401
from nodes import SERVICES, Fleet, Node, need_programs, short_job, shown, token, wait  # noqa: E402
from services import binary  # noqa: E402

PERIOD_S = 1.0


@pytest.fixture(scope="module")
def world():
    need_programs()
    with Fleet(*SERVICES, trust=True, CYXWIZ_HEARTBEAT_MS=str(int(PERIOD_S * 1000))) as running:
        yield running


@pytest.fixture
def worker(world, api):
    """A real worker that is online; its id."""
    node_id = world.begin(f"worker {uuid.uuid4()}", token(api))
    wait(lambda: shown(api, node_id)["status"] == "online", "the node online")
    yield node_id
    if "worker" in world.running:
        process = world.running["worker"]
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            world.stop("worker")
        else:
            world.running.pop("worker")


@pytest.fixture(scope="module")
def events(world):
    """What the registry tells of nodes, as it comes."""
    with world.nats(world.creds("tools")) as nats:
        subscription = nats.subscribe("cyx.evt.node.*")

        def heard(node_id, kind):
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                try:
                    subject, data = nats.next(subscription, 0.05)
                except TimeoutError:
                    break
                heard.all.append((subject.rsplit(".", 1)[1], json.loads(data)))
            return [event for told, event in heard.all
                    if told == kind and event.get("node_id", event.get("node", {}).get("id")) == node_id]
        heard.all = []
        yield heard


def at(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(api, node_id, what, **body):
    answer = api.call("POST", f"/api/v1/nodes/{node_id}/{what}", body)
    assert answer.status == 200, answer.body
    return answer


# ---- drain and maintenance ----------------------------------------------------------------------


def test_health__nothing_new_goes_to_a_drained_node(world, api, contract, events):
    node, boot = Node(world), str(uuid.uuid4())
    assert node.join(token(api)).status == 201
    with node.connect() as nats:
        offers = nats.subscribe(f"cyx.node.{node.id}.offer")
        nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(boot))
        contract.check(order(api, node.id, "drain", reason="new fan"), "post", "/nodes/{id}/drain")
        told = contract.check(api.call("GET", f"/api/v1/nodes/{node.id}"), "get", "/nodes/{id}").json
        assert (told["status"], told["closed"], told["drain"]["reason"]) == ("draining", "draining", "new fan")
        assert node.id in [n["id"] for n in api.call("GET", "/api/v1/nodes?status=draining").json["nodes"]]
        wait(lambda: events(node.id, "online")[-1]["node"]["closed"] == "draining", "the event")
        job = submit(api, **short_job("waits for a drained node"))

        def pending():
            node.beat(nats, boot)
            why = api.call("GET", f"/api/v1/jobs/{job}").json["pending"]
            return why if why and why["code"] == "no-node-fits" else None
        why = wait(pending, "the reason")
        assert "drains it" in why["message"] and "undrain" in why["remedy"]
        contract.check(order(api, node.id, "undrain"), "post", "/nodes/{id}/undrain")

        def offered():
            node.beat(nats, boot)
            try:
                return json.loads(nats.next(offers, 0.2)[1])
            except TimeoutError:
                return None
        claim = {"node_id": node.id, "boot_id": boot, **wait(offered, "the offer")}
        assert claim["job_id"] == job
        assert "grant" in nats.request(f"cyx.svc.scheduler.accept.{node.id}", claim)
        ended = nats.request(f"cyx.svc.scheduler.finish.{node.id}", claim | {
            "outcome": "failed", "error": {"status": "io", "pointer": "", "message": "the disk is full"}})
        assert "job" in ended, ended
        record = shown(api, node.id)["record"]
        assert record["outcomes"] == {"failed": 1} and record["bad"] == 1
        assert record["reputation"] == pytest.approx(1 / 3)  # (good + 1) / (good + bad + 2)
    api.call("POST", f"/api/v1/jobs/{job}/cancel")


def test_health__a_drained_node_stays_so_when_it_starts_anew(world, api, worker):
    order(api, worker, "drain")
    world.stop("worker")
    wait(lambda: shown(api, worker)["status"] == "offline", "the node offline")
    world.start("worker")
    assert wait(lambda: shown(api, worker)["status"] != "offline", "the node back")
    assert shown(api, worker)["status"] == "draining"
    order(api, worker, "undrain")


def test_health__a_node_drains_itself_and_takes_back_its_own_order_alone(world, api, contract):
    node, other = Node(world), Node(world)
    assert node.join(token(api)).status == 201 and other.join(token(api)).status == 201
    with node.connect() as nats:
        nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(str(uuid.uuid4())))

        def ask(what, **body):
            return nats.request(f"cyx.svc.registry.{what}.{node.id}", {"node_id": node.id} | body)
        told = ask("drain", reason="the cleaner comes")["node"]
        assert (told["closed"], told["drain"]["by"], told["drain"]["reason"]) == ("draining", "node", "the cleaner comes")
        contract.check(api.call("GET", f"/api/v1/nodes/{node.id}"), "get", "/nodes/{id}")
        assert ask("drain", drain=False)["node"]["closed"] is None
        assert order(api, node.id, "drain", reason="bad fan").json["node"]["drain"]["by"] == "operator"
        told = ask("drain", reason="mine")["node"]
        assert (told["drain"]["by"], told["drain"]["reason"]) == ("operator", "bad fan")
        assert ask("drain", drain=False)["error"]["status"] == "denied"
        assert ask("get")["node"]["closed"] == "draining"
        order(api, node.id, "undrain")
        ask("drain")
        assert order(api, node.id, "undrain").json["node"]["closed"] is None  # operators open any
        for what in ("drain", "get"):
            foreign = nats.request(f"cyx.svc.registry.{what}.{node.id}", {"node_id": other.id})
            assert foreign["error"]["status"] == "denied"


def test_health__a_window_opens_and_closes_by_itself(world, api, contract, worker):
    answer = order(api, worker, "maintenance", starts_at=at(-1), ends_at=at(3), reason="new disk")
    contract.check(answer, "post", "/nodes/{id}/maintenance")
    window = answer.json["node"]["maintenance"][0]
    assert window["reason"] == "new disk" and answer.json["node"]["status"] == "draining"
    assert answer.json["node"]["closed"] == "maintenance"
    wait(lambda: shown(api, worker)["status"] == "online", "the window's end")
    kinds = [event["kind"] for event in shown(api, worker)["events"]]
    assert kinds[:3] == ["opened", "closed", "enrolled"]
    later = order(api, worker, "maintenance", starts_at=at(3600), ends_at=at(7200)).json["node"]
    assert later["status"] == "online"
    answer = api.call("DELETE", f"/api/v1/nodes/{worker}/maintenance/{later['maintenance'][0]['id']}")
    contract.check(answer, "delete", "/nodes/{id}/maintenance/{window}")
    assert answer.json["node"]["maintenance"] == []


def test_health__orders_are_checked(world, api, stranger, contract, worker):
    for what in ("drain", "undrain", "maintenance"):
        contract.problem(stranger.call("POST", f"/api/v1/nodes/{worker}/{what}", {}), 403, "denied")
        contract.problem(api.call("POST", f"/api/v1/nodes/{uuid.uuid4()}/{what}", {"ends_at": at(60)}
                                  if what == "maintenance" else {}), 404)
    for body in ({}, {"ends_at": "tomorrow"}, {"ends_at": at(-5)}, {"starts_at": at(60), "ends_at": at(30)}):
        problem = contract.problem(api.call("POST", f"/api/v1/nodes/{worker}/maintenance", body), 422)
        assert problem["pointer"] == "/ends_at"


# ---- silence ------------------------------------------------------------------------------------


def test_health__a_killed_worker_is_missed_with_the_reason(world, api, worker, events):
    world.running["worker"].send_signal(signal.SIGKILL)
    alert = wait(lambda: events(worker, "silent"), "the alert")[0]
    assert alert["code"] == "connection-closed" and "process ended" in alert["message"]
    node = shown(api, worker)
    assert node["status"] == "offline" and node["silent"]["code"] == "connection-closed"
    assert node["events"][0]["kind"] == "silent"
    shown_text = world_cyxwiz(world, api, "node", "show", worker)
    assert "SILENT" in shown_text and "process ended" in shown_text
    world.running.pop("worker").wait()
    world.start("worker")
    wait(lambda: shown(api, worker)["status"] == "online", "the node back")
    assert shown(api, worker)["silent"] is None
    assert 0 < shown(api, worker)["uptime"]["part"] < 1


def test_health__a_worker_that_hangs_is_told_from_one_that_died(world, api, worker, events):
    os.kill(world.running["worker"].pid, signal.SIGSTOP)
    alert = wait(lambda: events(worker, "silent"), "the alert")[0]
    assert alert["code"] == "hangs" and "still connected" in alert["message"]
    os.kill(world.running["worker"].pid, signal.SIGCONT)
    wait(lambda: shown(api, worker)["status"] == "online", "the node back")


def test_health__a_worker_that_was_stopped_alarms_nobody(world, api, worker, events):
    world.stop("worker")
    wait(lambda: shown(api, worker)["status"] == "offline", "the node offline", 10)
    told = wait(lambda: events(worker, "offline"), "the event")[0]
    assert told["reason"] == "stopped" and shown(api, worker)["silent"] is None
    assert not events(worker, "silent")


def test_health__silence_in_maintenance_alarms_nobody(world, api, worker, events):
    order(api, worker, "maintenance", ends_at=at(600))
    world.running["worker"].send_signal(signal.SIGKILL)
    wait(lambda: shown(api, worker)["status"] == "offline", "the node offline")
    assert wait(lambda: events(worker, "offline"), "the event")[0]["reason"] == "missed-heartbeats"
    assert not events(worker, "silent")
    assert shown(api, worker)["silent"]["code"] == "connection-closed"  # for who asks


# ---- deadlines ----------------------------------------------------------------------------------


def beat_for(node, nats, boot, pauses):
    for pause in pauses:
        node.beat(nats, boot)
        time.sleep(pause)


def test_health__a_deadline_follows_how_a_node_beats(world, api):
    steady, ragged = Node(world), Node(world)
    for node in (steady, ragged):
        assert node.join(token(api)).status == 201
    boots = {node.id: str(uuid.uuid4()) for node in (steady, ragged)}
    with steady.connect() as first, ragged.connect() as second:
        for node, nats in ((steady, first), (ragged, second)):
            nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(boots[node.id]))
        for step in range(24):  # the ragged one speaks at uneven times, four periods apart at most
            steady.beat(first, boots[steady.id])
            if step % 8 in (0, 1, 2, 4):
                ragged.beat(second, boots[ragged.id])
            time.sleep(PERIOD_S)
        of_steady, of_ragged = (shown(api, node.id)["heartbeat"] for node in (steady, ragged))
        assert of_steady["deadline_ms"] < of_ragged["deadline_ms"]
        assert of_steady["deadline_ms"] >= 4 * PERIOD_S * 1000
        assert of_ragged["deadline_ms"] <= 15 * PERIOD_S * 1000
        assert of_ragged["deadline_ms"] > of_ragged["gap_ms"] + 4 * of_ragged["deviation_ms"]
        for node in (steady, ragged):
            assert all(event["kind"] != "silent" for event in shown(api, node.id)["events"])
        started = time.monotonic()
        wait(lambda: shown(api, steady.id)["status"] == "offline", "the steady one is missed")
        soon = time.monotonic() - started
        wait(lambda: shown(api, ragged.id)["status"] == "offline", "the ragged one is missed")
        assert soon < time.monotonic() - started


def world_cyxwiz(world, api, *words):
    done = subprocess.run([binary("cyxwiz"), *words, "--url", world.url, "--token", api.token], capture_output=True,
                          text=True, timeout=60, cwd=world.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout
