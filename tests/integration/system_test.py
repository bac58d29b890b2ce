"""The main job, end to end, on the real stack: REST in, a trained model out, through kills and restarts."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from stack import CYXWIZ, ROOT, Stack, example  # noqa: E402


@pytest.fixture(scope="module")
def stack():
    with tempfile.TemporaryDirectory(prefix="cyx 100%s #2 é' ") as folder:  # any path must do
        with Stack(Path(folder) / "home") as running:
            yield running


def small_spec(name, epochs=1):
    """A real network on the real images, small enough that a test can wait for it."""
    spec = example("fashion-cnn")
    spec["name"] = name
    spec["epochs"] = epochs
    spec["model"] = {"layers": [
        {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1}, {"type": "ReLU"},
        {"type": "MaxPool2d", "kernel_size": 2}, {"type": "Flatten"},
        {"type": "Linear", "out_features": 64}, {"type": "ReLU"}, {"type": "Linear", "out_features": 10}]}
    return spec


def torch_accuracy(spec, model, data_dir):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        done = subprocess.run(["/usr/bin/python3", ROOT / "tests/support/torch_eval.py", file.name, model, data_dir],
                              check=True, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout)


def test_a_job_by_rest_is_trained_paid_stored_and_opens_in_pytorch(stack, tmp_path):
    spec = small_spec("rest-job")
    job_id = stack.submit(spec)
    job = stack.wait_end(job_id)
    assert job["state"] == "completed", job["error"]
    assert job["result"]["test_accuracy"] > 0.80
    assert [t["to"] for t in job["transitions"]] == ["queued", "assigned", "running", "completed"]

    answer = stack.request("GET", f"/jobs/{job_id}/model")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).hexdigest() == job["model"]["sha256"]
    assert answer.headers["ETag"] == f'"{job["model"]["sha256"]}"'
    model = tmp_path / "model.safetensors"
    model.write_bytes(answer.body)
    seen = torch_accuracy(spec, model, stack.home / "data")
    assert seen["test_accuracy"] == pytest.approx(job["result"]["test_accuracy"], abs=2e-4)  # two images of 10,000

    stored = [m for m in stack.get("/models")["models"] if m["job_id"] == job_id]
    assert len(stored) == 1 and stored[0]["sha256"] == job["model"]["sha256"] and stored[0]["visibility"] == "private"

    settled = stack.wait_job(job_id, lambda j: j["escrow"] and j["escrow"]["state"] == "settled", 20)["escrow"]
    units = {key: round(float(settled[key].split()[0]) * 10**9)
             for key in ("held", "released", "refunded", "node_share", "platform_fee")}
    assert units["released"] > 0 and units["released"] + units["refunded"] == units["held"]
    assert units["platform_fee"] == units["released"] // 10
    assert units["node_share"] + units["platform_fee"] == units["released"]
    assert stack.sql("select sum(amount) from payments.entry") == "0"


def test_the_command_line_follows_a_job_and_comes_back_to_one_that_has_ended(stack, tmp_path):
    def cyxwiz(*arguments):
        return subprocess.run([CYXWIZ, *arguments], env=os.environ | {"CYXWIZ_CONFIG": str(stack.home / "client.json")},
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(small_spec("watched")))
    watched = cyxwiz("job", "submit", spec, "--watch", "--json")
    assert watched.returncode == 0, watched.stderr
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    job_id, end = lines[0]["id"], lines[-1]
    assert end["state"] == "completed"
    assert {"metrics", "log", "state"} <= {line["event"] for line in lines[1:-1]}
    again = cyxwiz("job", "watch", job_id, "--json")
    assert (again.returncode, json.loads(again.stdout.splitlines()[-1])["id"]) == (0, job_id)
    logs = cyxwiz("job", "logs", job_id, "--follow")
    assert logs.returncode == 0
    pulled = cyxwiz("model", "pull", "--job", job_id, "-o", tmp_path / "model", "--json")
    assert json.loads(pulled.stdout)["sha256"] == hashlib.sha256((tmp_path / "model").read_bytes()).hexdigest()
    assert job_id in cyxwiz("job", "list").stdout and "completed" in cyxwiz("job", "show", job_id).stdout
    assert "training on" in cyxwiz("job", "logs", job_id).stdout
    assert "online" in cyxwiz("node", "list").stdout and "watched" in cyxwiz("model", "list").stdout
    assert "already-ended" in cyxwiz("job", "cancel", job_id, "--json").stdout
    assert cyxwiz("job", "list", "--token", "cyx_wrong").returncode == 4
    spec.write_text(json.dumps(small_spec("nowhere") | {"resources": {"labels": ["absent"]}}))
    said = cyxwiz("job", "submit", spec, "--array", "2").stdout
    assert "the first of an array of 2, is queued" in said, said
    waiting = json.loads(cyxwiz("job", "list", "--state", "queued", "--json").stdout)
    assert [cyxwiz("job", "cancel", job["id"]).returncode for job in waiting] == [0, 0]


def test_a_worker_killed_midway_goes_on_from_its_checkpoint(stack):
    spec = small_spec("killed-job", epochs=3)
    spec["checkpoint"] = {"every_steps": 50}
    job_id = stack.submit(spec)
    count = "select count(*) from scheduler.job where id = '%s' and checkpoint_step >= 50" % job_id
    stack.wait_job(job_id, lambda _: stack.sql(count) == "1", 60)
    step = int(stack.sql(f"select checkpoint_step from scheduler.job where id = '{job_id}'"))
    stack.kill("worker")
    job = stack.wait_end(job_id)
    assert job["state"] == "completed", job["error"]
    assert job["attempt"] == 2
    states = [t["to"] for t in job["transitions"]]
    assert states == ["queued", "assigned", "running", "queued", "assigned", "running", "completed"], states
    resumed_at = job["transitions"][5]["at"]
    points = stack.get(f"/jobs/{job_id}/metrics")["points"]
    assert min(p["step"] for p in points if p["at"] >= resumed_at) > step, "it began again at the start"
    assert job["result"]["test_accuracy"] > 0.84

    again = stack.wait_end(stack.submit(spec | {"name": "unkilled-job"}))
    assert again["result"]["test_accuracy"] == job["result"]["test_accuracy"], "a kill changed the result"


def test_a_list_of_several_pages_is_shown_whole(stack):
    stack.sql("insert into registry.node (id, boot_id, name, version, status, devices, host_memory_bytes, cpus, "
              "price_per_hour) select gen_random_uuid(), gen_random_uuid(), 'past', version, 'offline', devices, "
              "host_memory_bytes, cpus, price_per_hour from registry.node, generate_series(1, 250)")
    try:
        listed = subprocess.run([CYXWIZ, "node", "list", "--json"], capture_output=True, text=True, check=True, timeout=60,
                                env=os.environ | {"CYXWIZ_CONFIG": str(stack.home / "client.json")})
    finally:
        stack.sql("delete from registry.node where name = 'past'")
    nodes = json.loads(listed.stdout)
    assert len({node["id"] for node in nodes}) == len(nodes) == 251


def test_what_is_killed_is_started_again(stack):
    for name in ("postgres", "redis", "nats", "registry", "scheduler", "payments", "marketplace", "gateway"):
        before = stack.pid(name)
        stack.kill(name)
        stack.wait_status(lambda told: all(row["ready"] for row in told["processes"]) and stack.pid(name) != before)
        assert (stack.home / "log" / f"{name}.log").stat().st_size > 0
    job = stack.wait_end(stack.submit(small_spec("after-kills")))
    assert job["state"] == "completed", job["error"]
    stack.wait_job(job["id"], lambda j: j["escrow"]["state"] == "settled", 20)


def test_the_same_idempotency_key_makes_one_job(stack):
    spec = small_spec("once")
    first = stack.request("POST", "/jobs", spec, {"Idempotency-Key": "once-1"})
    second = stack.request("POST", "/jobs", spec, {"Idempotency-Key": "once-1"})
    assert (first.status, second.status) == (201, 200)
    assert first.json["id"] == second.json["id"]
    other = stack.request("POST", "/jobs", spec | {"epochs": 2}, {"Idempotency-Key": "once-1"})
    assert other.status == 409
    cancelled = stack.request("POST", f"/jobs/{first.json['id']}/cancel")
    assert cancelled.status == 200
    assert stack.wait_end(first.json["id"])["state"] in ("cancelled", "completed")


def bad_specs():
    def change(**keys):
        return small_spec("bad") | keys
    wrong_shape = small_spec("bad")
    wrong_shape["model"]["layers"][4]["in_features"] = 1600
    no_set = small_spec("bad")
    no_set["data"]["dataset"] = "imagenet-in-my-dreams"
    misspelt = small_spec("bad")
    misspelt["model"]["layers"][0]["kernel"] = 3
    return [
        (wrong_shape, "/model/layers/4", "1600"),
        (no_set, "/data/dataset", "imagenet-in-my-dreams"),
        (misspelt, "/model/layers/0/kernel", "kernel_size"),
        (change(epochs="many"), "/epochs", "integer"),
        (change(epochs=0), "/epochs", "1"),
    ]


@pytest.mark.parametrize("spec,pointer,word", bad_specs())
def test_a_bad_spec_is_refused_at_its_place_and_nothing_is_left(stack, spec, pointer, word):
    before = stack.sql("select count(*) from scheduler.job")
    answer = stack.request("POST", "/jobs", spec)
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["pointer"] == pointer
    assert word in answer.json["detail"]
    assert stack.sql("select count(*) from scheduler.job") == before


def test_bad_requests_get_the_right_status(stack, tmp_path):
    json_type = {"Content-Type": "application/json"}
    broken = stack.request("POST", "/jobs", headers=json_type, raw=b'{"name": "x",')
    assert broken.status == 400 and "line 1" in broken.json["detail"]
    assert stack.request("POST", "/jobs", {}, token="cyx_wrong").status == 401
    assert stack.request("GET", "/jobs", token=None).status == 401
    assert stack.request("GET", "/jobs/00000000-0000-7000-8000-000000000000").status == 404
    assert stack.request("DELETE", "/jobs").status == 405
    body = tmp_path / "huge.json"
    body.write_bytes(b'{"name": "' + b"x" * (50 << 20) + b'"}')
    huge = subprocess.run(["curl", "-s", "-H", f"Authorization: Bearer {stack.token}", "-H", "Content-Type: application/json",
                           "--data-binary", f"@{body}", "-w", "\n%{http_code}", f"{stack.url}/api/v1/jobs"],
                          capture_output=True, text=True, timeout=30)
    problem, status = huge.stdout.rsplit("\n", 1)
    assert status == "413" and json.loads(problem)["type"] == "urn:cyxwiz:problem:too-large"


def test_down_and_up_lose_nothing(stack):
    before = stack.get("/jobs")["jobs"]
    balance = stack.get("/account/balance")
    assert before
    stopped = json.loads(stack.command("down", "--json").stdout)
    assert (stopped["running"], {row["state"] for row in stopped["processes"]}) == (False, {"stopped"})
    assert not (stack.home / "run" / "supervisor.sock").exists() or "RUNNING" not in stack.supervisorctl("status")
    stack.up()
    told = json.loads(stack.command("status", "--json").stdout)
    assert told["url"] == stack.url and all(row["ready"] for row in told["processes"])
    assert stack.get("/jobs")["jobs"] == before
    assert stack.get("/account/balance") == balance
    job = stack.wait_end(stack.submit(small_spec("after-restart")))
    assert job["state"] == "completed"


def test_the_command_line_trains_alone(stack, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(small_spec("alone")))
    done = subprocess.run([CYXWIZ, "train", spec, "--data-dir", stack.home / "data", "--output", tmp_path / "out",
                           "--json"], check=True, capture_output=True, text=True, timeout=300)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["test_accuracy"] > 0.80 and result["epochs"] == 1
    assert hashlib.sha256(Path(result["model_path"]).read_bytes()).hexdigest() == result["model_sha256"]
    assert set(result) >= {"test_accuracy", "test_loss", "epochs", "images_per_second", "backend"}
