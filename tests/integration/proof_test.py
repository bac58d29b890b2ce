"""A real worker proves to a real registry what it claims: docs/decisions/0018."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from nodes import SERVICES, Fleet, token, wait  # noqa: E402
from nodes import shown as shown_by  # noqa: E402
from services import Client  # noqa: E402
from worker import PLATFORM, Jobs, WorkerWorld, descendants, read  # noqa: E402

SETTINGS = {"CYXWIZ_PROOF": "required", "CYXWIZ_PROOF_INTERVAL_MS": "3600000", "CYXWIZ_PROOF_RETRY_MS": "1000",
            "CYXWIZ_PROOF_DEADLINE_MS": "20000"}


@pytest.fixture
def world(request):
    with WorkerWorld(*PLATFORM, **SETTINGS | getattr(request, "param", {})) as running:
        running.jobs = Jobs(running)
        yield running


def shown(world):
    return world.jobs.client.call("GET", f"/api/v1/nodes/{world.node_id}").json


def prover(world):
    """The process id of the benchmark in progress, below the worker and whatever wraps it."""
    for pid in descendants(world.running["worker"].pid):
        words = read(f"/proc/{pid}/cmdline").split("\0")
        if words[0].endswith("cyxwiz-worker") and words[1:2] == ["--bench"]:
            return pid
    return None


def proofs(world, end):
    found = re.search(rf'cyx_registry_proofs_total{{end="{end}"}} (\d+)', world.metrics("registry"))
    return int(found[1]) if found else 0


def test_an_honest_worker_is_proved_in_seconds_and_gets_work(world):
    jobs = world.jobs
    waiting = jobs.submit()
    began = time.monotonic()
    world.start_worker()
    node = wait(lambda: (got := shown(world)).get("closed", "?") is None and got, "an open node", 60)
    print(f"open after {time.monotonic() - began:.1f} s")
    assert node["status"] == "online" and node["unproven"] is None and node["outdated"] is None
    [device] = node["devices"]
    proof = device["proof"]
    assert proof["state"] == "proved" and proof["at"] and not proof["code"]
    assert proof["memory_bytes"] == proof["memory_tried_bytes"] > 0
    for speed in ("flops_per_second", "products_flops_per_second", "convolutions_flops_per_second"):
        assert proof[speed] > 1e8, proof
    assert proof["bandwidth_bytes_per_second"] > 1e8
    assert "due_ms" not in proof
    job = jobs.end(waiting)
    assert job["state"] == "completed" and job["placement"]["speed_by"] == "benchmark"
    text = world.cyxwiz("node", "show", world.node_id, token=jobs.key)
    assert "proved" in text and "GFLOP/s" in text, text
    # What it claims is known: the same worker is open at once when it comes again.
    world.start_worker()
    assert wait(lambda: shown(world).get("boot_id", "") not in ("", node["boot_id"]) and shown(world), "its next start")["closed"] is None


def test_a_benchmark_that_dies_or_hangs_takes_the_agent_nowhere(world):
    world.start_worker()
    os.kill(wait(lambda: prover(world), "a benchmark", 20), signal.SIGKILL)
    node = wait(lambda: (got := shown(world)).get("closed", "?") == "unproven" and got, "the verdict")
    assert node["unproven"]["code"] == "benchmark-failed" and "signal 9" in node["unproven"]["message"], node["unproven"]
    jobs = world.jobs
    waiting = jobs.submit()
    pending = jobs.wait(waiting, lambda job: job["pending"] and job["pending"]["code"] == "no-node-fits")["pending"]
    assert "benchmark" in pending["message"], pending
    # It is tried again by itself.
    wait(lambda: shown(world).get("closed", "?") is None, "a proof", 60)
    assert jobs.end(waiting)["state"] == "completed"


@pytest.mark.parametrize("world", [{"CYXWIZ_PROOF_DEADLINE_MS": "6000"}], indirect=True)
def test_a_benchmark_that_hangs_is_no_answer(world):
    world.start_worker()
    hung = wait(lambda: prover(world), "a benchmark", 20)
    os.kill(hung, signal.SIGSTOP)
    node = wait(lambda: (got := shown(world)).get("closed", "?") == "unproven" and got, "the verdict")
    assert node["unproven"]["code"] == "no-answer" and "within 6 s" in node["unproven"]["message"]
    assert world.running["worker"].poll() is None  # and its heartbeats are heard
    os.kill(hung, signal.SIGKILL)
    wait(lambda: shown(world).get("closed", "?") is None, "a proof", 60)


@pytest.mark.parametrize("world", [{"CYXWIZ_PROOF_INTERVAL_MS": "400", "CYXWIZ_PROOF_RETRY_MS": "300"}], indirect=True)
def test_a_job_comes_before_the_next_benchmark(world):
    jobs = world.jobs
    world.start_worker()
    wait(lambda: shown(world).get("closed", "?") is None, "a proof", 60)
    job_id = jobs.submit(epochs=4)
    jobs.stepping(job_id)
    job = jobs.end(job_id)
    assert job["state"] == "completed" and job["attempt"] <= 2, job
    assert proofs(world, "busy") > 0, world.metrics("registry")
    wait(lambda: proofs(world, "answered") > 1, "a benchmark after the job")


def test_a_new_key_is_challenged_at_once():
    """Under NATS's rules for nodes, too: what a prover says is all its own."""
    with Fleet(*SERVICES, trust=True, **SETTINGS) as world:
        api = Client(world.url)
        assert api.sign_in(world.ADMIN, world.password).status == 201
        node_id = world.begin("worker", token(api))
        wait(lambda: shown_by(api, node_id).get("closed", "?") is None, "a proof", 60)
        first = shown_by(api, node_id)["devices"][0]["proof"]["at"]
        key = shown_by(api, node_id)["key"]["public_key"]
        assert api.call("POST", f"/api/v1/nodes/{node_id}/rotate", {}).status == 200
        wait(lambda: shown_by(api, node_id)["key"]["public_key"] != key, "a new key")
        node = wait(lambda: (got := shown_by(api, node_id))["devices"][0]["proof"]["at"] != first and got, "its proof", 60)
        assert node["closed"] is None and node["devices"][0]["proof"]["state"] == "proved"
