"""Jobs of several nodes: real workers behind a NATS that believes keys alone, trained together, lost, cancelled, paid."""

import json
import signal
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import api, contract, submit, user  # noqa: E402, F401
from nodes import SERVICES, Fleet, ended_job, need_programs, shown, token, wait  # noqa: E402
from services import binary  # noqa: E402


class Gang(Fleet):
    """Several workers at once, each with a key, folders and a log of its own: worker-a, worker-b …"""

    def environment(self, name):
        if not name.startswith("worker-"):
            return super().environment(name)
        self.identity = self.folder / name
        return super().environment("worker") | {
            "CYXWIZ_WORK_DIR": str(self.folder / f"work {name}"), "CYXWIZ_NODE_NAME": name, "CYXWIZ_PAGE": "off",
            "CYXWIZ_HEALTH_PORT_FILE": str(self.folder / f"{name}.health"), "OMP_NUM_THREADS": "1"}

    def program(self, name):
        return binary("cyxwiz-worker") if name.startswith("worker-") else super().program(name)

    def enter(self, api, *names):
        """Starts these workers and gives their nodes' ids, once the scheduler knows them."""
        for name in names:
            self.token = "used up" if (self.folder / name / "node.id").exists() else token(api)
            self.start(name)
        ids = [(self.folder / name / "node.id").read_text() for name in names]
        for node_id in ids:
            wait(lambda node_id=node_id: shown(api, node_id)["status"] == "online", "the node online")
        return ids


@pytest.fixture(scope="module")
def world():
    need_programs()
    with Gang(*SERVICES, trust=True, CYXWIZ_HEARTBEAT_MS="500") as running:
        yield running


@pytest.fixture
def workers(world, api):
    started = []

    def start(*names):
        started.extend(name for name in names if name not in started)
        return world.enter(api, *names)

    yield start
    for name in started:
        if name in world.running:
            world.stop(name)


def gang_spec(nodes=3, every=4, **changes):
    """A small network with all that members may have apart: BatchNorm, momentum."""
    return {"data": {"dataset": "fashion-mnist", "batch_size": 100}, "epochs": 1, "seed": 3,
            "loss": {"type": "CrossEntropyLoss"}, "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
            "model": {"layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 32}, {"type": "BatchNorm1d"},
                                 {"type": "ReLU"}, {"type": "Linear", "out_features": 10}]},
            "resources": {"nodes": nodes, "threads": 1, "backend": "cpu"}, "sync": {"every_steps": every},
            "checkpoint": {"every_steps": 40}, "schedule": {"retries": 2}} | changes


def get(api, job_id):
    return api.call("GET", f"/api/v1/jobs/{job_id}").json


def members(job):
    return [member["node_id"] for member in job["gang"]["members"]]


def units(amount):
    whole, _, part = amount.split()[0].partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0") or 0)


def ended(api, job_id, seconds=120):
    return wait(lambda: ended_job(api, job_id), "the job's end", seconds)


def test_gang__three_nodes_train_one_model_and_share_its_price(world, api, workers):
    ids = workers("worker-a", "worker-b")
    job_id = submit(api, name="three", **gang_spec(epochs=2))
    pending = wait(lambda: (get(api, job_id)["pending"] or {}).get("code") == "too-few-nodes" and
                   get(api, job_id)["pending"], "the reason")
    assert pending["message"].startswith("needs 3 nodes at once; 2 fit"), pending
    assert "1 more node" in pending["remedy"]
    assert world.sql(f"select count(*) from scheduler.assignment where job_id = '{job_id}'") == "0"
    ids += workers("worker-c")
    job = ended(api, job_id)
    assert job["state"] == "completed", (job["error"], world.log("worker-a")[-2000:])
    assert sorted(members(job)) == sorted(ids)
    assert job["result"]["test_accuracy"] > 0.8 and job["result"]["steps"] == 2 * 200
    assigned = next(step for step in job["transitions"] if step["to"] == "assigned")
    assert assigned["members"] == members(job) and job["node_id"] == members(job)[0]
    tokens = [member["token"] for member in job["gang"]["members"]]
    assert tokens == [job["token"], job["token"] - 1, job["token"] - 2]
    first, *others = [member["ended_cause"] for member in job["gang"]["members"]]
    assert first == "completed" and set(others) <= {"done", "worker-completed"}, job["gang"]  # or the first was quicker

    def told(*starts):
        lines = [line["message"] for line in api.call("GET", f"/api/v1/jobs/{job_id}/logs").json["lines"]]
        return all(any(line.startswith(start) for line in lines) for start in starts)

    wait(lambda: told("training on", "node 2 of 3: training on", "node 3 of 3: training on"), "what each node told")
    points = api.call("GET", f"/api/v1/jobs/{job_id}/metrics").json["points"]
    assert len([point for point in points if point["kind"] == "epoch"]) == 2  # the first node's alone

    settled = wait(lambda: (get(api, job_id)["escrow"] or {}).get("state") == "settled" and get(api, job_id)["escrow"],
                   "the settlement")
    paid = {work["node_id"]: work for work in job["gang"]["paid"]}
    assert sorted(paid) == sorted(ids)
    cost = sum(units(work["price_per_hour"]) * work["device_ms"] // 3_600_000 for work in paid.values())
    assert units(settled["released"]) == cost > 0
    assert units(settled["platform_fee"]) == cost // 10
    assert sum(units(share["amount"]) for share in settled["shares"]) == units(settled["node_share"]) == cost - cost // 10
    assert sorted(share["node_id"] for share in settled["shares"]) == sorted(ids)
    assert world.sql("select sum(amount) from payments.entry") == "0"
    assert job["device_ms"] == sum(work["device_ms"] for work in paid.values())

    key = api.token
    shown_by_cli = world.cyxwiz("job", "show", job_id, token=key)
    print(shown_by_cli)
    assert "3 at once" in shown_by_cli and all(node_id in shown_by_cli for node_id in ids)


def test_gang__a_member_that_is_killed_costs_one_attempt_and_no_more_than_a_checkpoint(world, api, workers):
    workers("worker-a", "worker-b", "worker-c")
    job_id = submit(api, name="killed", **gang_spec(nodes=2, every=2, epochs=6))
    step = f"select coalesce(checkpoint_step, 0) from scheduler.job where id = '{job_id}'"
    wait(lambda: int(world.sql(step)) >= 80, "checkpoints", 60)
    job = get(api, job_id)
    assert job["state"] == "running"
    second = members(job)[1]
    victim = next(name for name in ("worker-a", "worker-b", "worker-c")
                  if (world.folder / name / "node.id").read_text() == second)
    saved = int(world.sql(step))
    world.running.pop(victim).send_signal(signal.SIGKILL)
    job = ended(api, job_id, 120)
    assert job["state"] == "completed", job["error"]
    states = [transition["to"] for transition in job["transitions"]]
    assert states == ["queued", "assigned", "running", "queued", "assigned", "running", "completed"], job["transitions"]
    lost = job["transitions"][3]
    assert lost["cause"] in ("node-offline", "lease-expired") and lost["node_id"] == second
    assert second not in members(job) and len(members(job)) == 2
    again = job["transitions"][5]["at"]
    points = api.call("GET", f"/api/v1/jobs/{job_id}/metrics").json["points"]
    assert min(point["step"] for point in points if point["at"] >= again) > saved, "it began again at the start"
    assert job["result"]["steps"] == 6 * 300
    left = world.sql("select count(*) from scheduler.assignment where ended_at is null")
    assert left == "0"


def test_gang__cancel_and_drain_are_for_all(world, api, workers):
    workers("worker-a", "worker-b")
    job_id = submit(api, name="cancelled", **gang_spec(nodes=2, epochs=1000))
    wait(lambda: (get(api, job_id)["progress"] or {}).get("step", 0) > 8, "steps", 60)
    assert api.call("POST", f"/api/v1/jobs/{job_id}/cancel").json["outcome"] == "cancelling"
    assert ended(api, job_id, 60)["state"] == "cancelled"
    wait(lambda: world.sql("select count(*) from scheduler.assignment where ended_at is null") == "0", "both free")

    job_id = submit(api, name="drained", **gang_spec(nodes=2, epochs=1000, checkpoint={"every_steps": 1_000_000}))
    wait(lambda: (get(api, job_id)["progress"] or {}).get("step", 0) > 20, "steps", 60)
    first = members(get(api, job_id))[0]
    name = next(n for n in ("worker-a", "worker-b") if (world.folder / n / "node.id").read_text() == first)
    assert world.stop(name) == 0
    job = get(api, job_id)
    assert (job["state"], job["transitions"][-1]["cause"]) == ("queued", "handed-back"), job["transitions"]
    assert int(world.sql(f"select checkpoint_step from scheduler.job where id = '{job_id}'")) >= 20  # behind a meeting
    assert int(world.sql(f"select checkpoint_step % 4 from scheduler.job where id = '{job_id}'")) == 0
    assert api.call("POST", f"/api/v1/jobs/{job_id}/cancel").json["outcome"] == "cancelled"
    wait(lambda: world.sql("select count(*) from scheduler.assignment where ended_at is null") == "0", "all free")


def test_gang__one_node_with_the_batch_of_both_learns_the_same(world, api, workers):
    workers("worker-a", "worker-b")
    plain = {"layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 32}, {"type": "Tanh"},
                        {"type": "Linear", "out_features": 10}]}
    data = {"dataset": "fashion-mnist", "batch_size": 250}
    together = submit(api, name="together", **gang_spec(nodes=2, every=1, model=plain, data=data))
    first = ended(api, together)
    alone = gang_spec(model=plain, data=data | {"batch_size": 500}, resources={"threads": 1, "backend": "cpu"})
    del alone["sync"]
    second = ended(api, submit(api, name="alone", **alone))
    assert (first["state"], second["state"]) == ("completed", "completed"), (first["error"], second["error"])
    assert first["result"]["steps"] == second["result"]["steps"] == 120
    assert first["result"]["test_loss"] == pytest.approx(second["result"]["test_loss"], rel=1e-4)
    assert first["result"]["test_accuracy"] == pytest.approx(second["result"]["test_accuracy"], abs=5e-4)


def test_gang__many_parts_arrive_whole_also_through_a_message_server_that_dies(world, api, workers):
    """Twelve megabytes at each meeting, and NATS gone for a moment in the midst of them: the same attempt goes on."""
    workers("worker-a", "worker-b")
    large = {"layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 2000}, {"type": "ReLU"},
                        {"type": "Linear", "out_features": 10}]}
    job_id = submit(api, name="large", **gang_spec(nodes=2, every=3, model=large))
    wait(lambda: (get(api, job_id)["progress"] or {}).get("step", 0) > 20, "steps", 60)
    world.servers.kill("nats")
    world.servers.start("nats")
    # Asked now and then while the services find it: 503 until then.
    wait(lambda: get(api, job_id).get("state") in ("completed", "failed"), "the job's end", 150)
    job = get(api, job_id)
    assert job["state"] == "completed", (job["error"], job["transitions"])
    assert job["attempt"] == 1 and job["result"]["test_accuracy"] > 0.7, job["result"]


def refused(nats, act):
    with pytest.raises(ConnectionError) as told:
        act(nats)
        nats._send(b"PING\r\n")
        nats._until(lambda line: line == b"PONG")
    assert "Permissions Violation" in str(told.value), told.value


def test_gang__nats_itself_keeps_others_out(world, api, workers):
    """A node that is no member, and a member with its usual credential: neither speaks nor hears; a member only as itself."""
    workers("worker-a", "worker-b", "worker-c")
    job_id = submit(api, name="private", **gang_spec(nodes=2, epochs=1000))
    wait(lambda: (get(api, job_id)["progress"] or {}).get("step", 0) > 4, "steps", 60)
    job = get(api, job_id)
    attempt, inside = job["token"], members(job)
    folders = {(world.folder / name / "node.id").read_text(): world.folder / name
               for name in ("worker-a", "worker-b", "worker-c")}
    for node_id, folder in folders.items():  # their own credentials
        for subject in (f"cyx.gang.{job_id}.{attempt}.0.1", f"cyx.gang.{job_id}.{attempt}.1.0"):
            with world.nats(folder / "node.creds", f"_INBOX_{node_id}") as nats:
                refused(nats, lambda n, s=subject: n.publish(s, {}))
        for subject in (f"cyx.gang.{job_id}.{attempt}.*.0", f"cyx.gang.{job_id}.>", "cyx.gang.>"):
            with world.nats(folder / "node.creds", f"_INBOX_{node_id}") as nats:
                refused(nats, lambda n, s=subject: n.subscribe(s))
    outsider = next(node_id for node_id in folders if node_id not in inside)
    with world.nats(folders[outsider] / "node.creds", f"_INBOX_{outsider}") as nats:  # nor does the scheduler let it in
        answer = nats.request(f"cyx.svc.scheduler.gang.{outsider}", {"node_id": outsider, "job_id": job_id, "token": attempt})
        assert answer["error"]["status"] == "conflict", answer
        refused(nats, lambda n: n.publish("cyx.svc.registry.gang", {}))
    member = folders[inside[1]] / "member-0.creds"
    assert oct(member.stat().st_mode)[-3:] == "600"
    for subject in (f"cyx.gang.{job_id}.{attempt}.0.1", f"cyx.gang.{job_id}.{attempt + 1}.1.0", f"cyx.gang.{uuid.uuid4()}.{attempt}.1.0",
                    f"cyx.node.{inside[1]}.heartbeat", f"cyx.svc.scheduler.finish.{inside[1]}"):
        with world.nats(member, None) as nats:
            refused(nats, lambda n, s=subject: n.publish(s, {}))
    for subject in (f"cyx.gang.{job_id}.{attempt}.*.0", f"cyx.gang.{job_id}.>", f"cyx.node.{inside[1]}.>"):
        with world.nats(member, None) as nats:
            refused(nats, lambda n, s=subject: n.subscribe(s))
    with world.nats(member, None) as nats:  # what it may; and a stale member's words are passed over
        nats.subscribe(f"cyx.gang.{job_id}.{attempt}.*.1")
        for stale in ({"token": attempt + 7}, {"token": attempt}, {}):  # its own is attempt - 1
            nats.publish(f"cyx.gang.{job_id}.{attempt}.1.0",
                         json.dumps({"kind": "have", "round": 10**9, "bytes": 4, "sha256": "0" * 64} | stale).encode() + b"\n")
        nats._send(b"PING\r\n")
        nats._until(lambda line: line == b"PONG")
    at = get(api, job_id)["progress"]["step"]
    job = wait(lambda: (job := get(api, job_id))["progress"]["step"] > at + 8 and job, "it to go on")
    assert job["state"] == "running" and job["token"] == attempt
    assert api.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    assert ended(api, job_id, 60)["state"] == "cancelled"
    wait(lambda: not member.exists(), "the credential's end")
    print(json.dumps(job["gang"], indent=1))
