"""The worker's sandbox and its limits: what goes wrong in a trainer ends the job, says why, and leaves the agent alone."""

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from worker import descendants, jobs, read, world  # noqa: E402, F401

ENDLESS = {"epochs": 1000}


def failed(jobs, job_id, status, *words):
    job = jobs.end(job_id)
    assert job["state"] == "failed", job
    assert job["error"]["status"] == status, job["error"]
    for word in words:
        assert word in job["error"]["message"], job["error"]
    return job


def the_agent_goes_on(world, jobs, process):
    """The same process takes the next job and trains it to its end."""
    assert process.poll() is None
    assert jobs.end(jobs.submit())["state"] == "completed"


def test_worker__a_job_trains_behind_the_walls(world, jobs):
    process = world.start_worker()
    line = next(json.loads(line) for line in world.log("worker").splitlines() if '"walls"' in line)
    print("sandbox:", line["walls"], line["system_calls"], line["limits"], line["reason"])
    job_id = jobs.submit(**ENDLESS)
    trainer = world.trainer()
    jobs.stepping(job_id)
    if line["walls"] == "bubblewrap":
        assert os.readlink(f"/proc/{trainer}/ns/net") != os.readlink(f"/proc/{process.pid}/ns/net")
        assert os.readlink(f"/proc/{trainer}/ns/pid") != os.readlink(f"/proc/{process.pid}/ns/pid")
    assert "Seccomp:\t2" in read(f"/proc/{trainer}/status")
    environment = Path(f"/proc/{trainer}/environ").read_bytes()
    assert b"ENROL_TOKEN" not in environment and b"CYXWIZ" not in environment
    targets = [os.readlink(f"/proc/{trainer}/fd/{fd}") for fd in os.listdir(f"/proc/{trainer}/fd")]
    assert not [target for target in targets if target.startswith("socket:")], targets
    assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    assert jobs.end(job_id)["state"] == "cancelled"
    the_agent_goes_on(world, jobs, process)


def test_worker__landlock_holds_where_namespaces_do_not(world, jobs):
    process = world.start_worker(SANDBOX="landlock")
    assert '"walls":"landlock"' in world.log("worker")
    job = jobs.end(jobs.submit())
    assert job["state"] == "completed", job["error"]
    assert process.poll() is None


def test_worker__memory_over_the_limit_is_said(world, jobs):
    process = world.start_worker(JOB_MEMORY_BYTES=256 << 20)
    failed(jobs, jobs.submit(hidden=150_000, **ENDLESS), "no-memory", "out of memory", "limit 256 MiB")
    the_agent_goes_on(world, jobs, process)


def test_worker__a_crash_of_the_trainer_names_its_signal(world, jobs):
    process = world.start_worker()
    job_id = jobs.submit(**ENDLESS)
    jobs.stepping(job_id)
    os.kill(world.trainer(), signal.SIGSEGV)
    failed(jobs, job_id, "internal", "signal 11", "SIGSEGV")
    the_agent_goes_on(world, jobs, process)


def test_worker__a_hang_is_ended_by_the_watch(world, jobs):
    process = world.start_worker(JOB_SILENCE_MS=2000)
    job_id = jobs.submit(**ENDLESS)
    jobs.stepping(job_id)
    started = time.monotonic()
    os.kill(world.trainer(), signal.SIGSTOP)
    failed(jobs, job_id, "timeout", "hung", "no progress")
    assert time.monotonic() - started < 30
    the_agent_goes_on(world, jobs, process)


def test_worker__a_time_limit_ends_a_job(world, jobs):
    process = world.start_worker(JOB_SECONDS=12)
    failed(jobs, jobs.submit(**ENDLESS), "timeout", "out of time", "limit 12 s")
    the_agent_goes_on(world, jobs, process)


def test_worker__a_disk_limit_ends_a_job(world, jobs):
    process = world.start_worker(JOB_DISK_BYTES=2 << 20)
    checkpoint = {"every_steps": 10}
    # One checkpoint of 3.2 MB is over the limit in itself: the kernel ends the trainer that writes it.
    failed(jobs, jobs.submit(hidden=1000, checkpoint=checkpoint, **ENDLESS), "io", "out of disk", "limit 2 MiB")
    the_agent_goes_on(world, jobs, process)


def test_worker__many_small_files_are_over_the_disk_limit_too(world, jobs):
    world.start_worker(JOB_DISK_BYTES=4 << 20)
    job_id = jobs.submit(**ENDLESS)
    jobs.stepping(job_id)
    folder = world.folder / "work" / "jobs" / job_id / "output"
    for number in range(6):
        (folder / f"part{number}").write_bytes(b"x" * (1 << 20))
    failed(jobs, job_id, "io", "out of disk", "limit 4 MiB")


def test_worker__a_file_that_the_trainer_points_elsewhere_is_not_sent(world, jobs):
    """A trainer that was taken over leaves a link to the worker's secrets where its checkpoint should lie."""
    process = world.start_worker()
    secret = world.folder / "secret"
    secret.write_text("the worker's own")
    job_id = jobs.submit(checkpoint={"every_steps": 1_000_000}, **ENDLESS)
    jobs.stepping(job_id)
    folder = world.folder / "work" / "jobs" / job_id / "output"
    os.kill(world.trainer(), signal.SIGSTOP)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    (folder / "checkpoint.safetensors").symlink_to(secret)
    trainer_says = Path(f"/proc/{world.trainer()}/fd/1")
    with open(trainer_says, "w") as out:
        out.write('{"event":"checkpoint","step":1,"path":"checkpoint.safetensors"}\n'
                  f'{{"event":"checkpoint","step":1,"path":"{secret}"}}\n')
    logs = f"/api/v1/jobs/{job_id}/logs"
    end = time.monotonic() + 20
    while len(refused := [line["message"] for line in jobs.client.call("GET", logs).json["lines"]
                          if "was not uploaded" in line["message"]]) < 2:
        assert time.monotonic() < end, refused
        time.sleep(0.05)
    assert "not a plain file" in refused[0] and "cannot keep" in refused[1], refused
    os.kill(world.trainer(), signal.SIGCONT)
    assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    assert jobs.end(job_id)["state"] == "cancelled"
    assert process.poll() is None


def wait_for(look, seconds=20):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def test_worker__what_its_machine_does_is_shown(world, jobs):
    world.start_worker()
    path = f"/api/v1/nodes/{world.node_id}"
    job_id = jobs.submit(**ENDLESS)
    jobs.stepping(job_id)

    def busy():
        node = jobs.client.call("GET", path).json
        system = node["system"]
        return system and node["cpu_percent"] > 1 and node["running_jobs"] == 1 and node

    node = wait_for(busy)
    document = jobs.client.call("GET", "/api/v1/openapi.json").json
    jsonschema.Draft202012Validator({"$ref": "#/components/schemas/Node", "components": document["components"]}).validate(node)
    system = node["system"]
    assert 0 < system["disk_free_bytes"] < system["disk_total_bytes"] == os.statvfs(world.folder).f_blocks * 4096
    assert system["load_average"] > 0 and system["network_receive_bytes_per_second"] >= 0
    assert 0 < node["memory_used_bytes"] < node["host_memory_bytes"]
    assert system["sandbox"]["limits"] in ("cgroup", "rlimits") and system["sandbox"]["system_calls"] == "filtered"

    key = jobs.key
    assert json.loads(world.cyxwiz("node", "show", world.node_id, "--json", token=key))["system"]["sandbox"] == system["sandbox"]
    listed = json.loads(world.cyxwiz("node", "list", "--json", token=key))
    assert [node["system"]["disk_total_bytes"] for node in listed] == [system["disk_total_bytes"]]
    shown = world.cyxwiz("node", "show", world.node_id, token=key)
    assert f"sandbox        {system['sandbox']['walls']}, system calls filtered" in shown
    assert "processors, load" in shown and "disk traffic" in shown and "device         cpu: " in shown
    print(shown)
    assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    jobs.end(job_id)


def test_worker__a_vulkan_job_tells_the_memory_of_its_device(world, jobs):
    process = world.start_worker(BACKEND="vulkan")
    job_id = jobs.submit(**ENDLESS)
    jobs.stepping(job_id)
    path = f"/api/v1/nodes/{world.node_id}"
    gpu = wait_for(lambda: (jobs.client.call("GET", path).json["system"] or {}).get("gpus"))[0]
    print(gpu)
    assert gpu["name"] and 0 < gpu["memory_used_bytes"] <= gpu["memory_total_bytes"], gpu
    assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    jobs.end(job_id)
    if gpu["source"] == "vulkan":  # it speaks of the trainer alone
        wait_for(lambda: not jobs.client.call("GET", path).json["system"]["gpus"])
    assert process.poll() is None


def test_worker__a_drain_hands_the_job_back_with_its_work(world, jobs):
    world.start_worker()
    job_id = jobs.submit(checkpoint={"every_steps": 1_000_000}, **ENDLESS)
    jobs.wait(job_id, lambda job: job["progress"] and job["progress"]["step"] > 30)
    assert world.stop("worker") == 0
    job = jobs.get(job_id)
    assert (job["state"], job["transitions"][-1]["cause"]) == ("queued", "handed-back"), job["transitions"]
    checkpoint = int(world.sql(f"select checkpoint_step from scheduler.job where id = '{job_id}'"))
    assert checkpoint >= 30
    assert world.sql(f"select requeues, failures from scheduler.job where id = '{job_id}'") == "0|0"
    world.start("worker")
    job = jobs.wait(job_id, lambda job: job["state"] == "running" and (job["progress"] or {"step": 0})["step"] > checkpoint + 30)
    assert job["attempt"] == 2
    lines = [line["message"] for line in jobs.client.call("GET", f"/api/v1/jobs/{job_id}/logs").json["lines"]]
    assert len([line for line in lines if line.endswith("from a checkpoint")]) == 1, lines
    again = [transition["at"] for transition in job["transitions"] if transition["to"] == "running"][-1]
    points = jobs.client.call("GET", f"/api/v1/jobs/{job_id}/metrics").json["points"]
    assert min(point["step"] for point in points if point["at"] >= again) > checkpoint, "it began again at the start"
    assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
    assert jobs.end(job_id)["state"] == "cancelled"


def test_worker__an_offer_to_a_worker_that_ends_counts_nothing(world, jobs):
    """It hangs while the job is offered and wakes up to a SIGTERM: whichever it sees first, the job is not to blame."""
    process = world.start_worker()
    jobs.end(jobs.submit())
    os.kill(process.pid, signal.SIGSTOP)
    job_id = jobs.submit()
    try:
        jobs.wait(job_id, lambda job: job["state"] == "assigned")
        os.kill(process.pid, signal.SIGTERM)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=30) == 0
    world.running.pop("worker")
    job = jobs.wait(job_id, lambda job: job["state"] == "queued", 10)
    assert job["transitions"][-1]["cause"] in ("handed-back", "node-offline"), job["transitions"]
    assert world.sql(f"select requeues, failures from scheduler.job where id = '{job_id}'") == "0|0"
    world.start("worker")
    assert jobs.end(job_id)["state"] == "completed"


def test_worker__labels_and_region_come_from_its_settings(world, jobs):
    world.start_worker(LABELS="disk=ssd, lab,", REGION="eu/west")
    node = jobs.client.call("GET", f"/api/v1/nodes/{world.node_id}").json
    assert (node["labels"], node["region"]) == (["disk=ssd", "lab"], "eu/west")
    wanted = {"labels": ["lab"], "regions": ["eu"]}
    job = jobs.end(jobs.submit(resources=wanted))
    assert job["state"] == "completed", job["error"]
    waiting = jobs.submit(resources={"labels": ["disk=nvme"]})
    jobs.wait(waiting, lambda job: job["pending"]["code"] == "no-node-fits")
    assert jobs.client.call("POST", f"/api/v1/jobs/{waiting}/cancel").status == 200


class Narrow:
    """A door to the gateway that lets so many bytes of answers through, and then no more until it is opened."""

    def __init__(self, url, allowed):
        self.target, self.left, self.opened = urllib.parse.urlsplit(url), allowed, threading.Event()
        self.requests, self.carried, self.lock = [], 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection((self.target.hostname, self.target.port))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client, server):
        try:
            while data := client.recv(65536):
                if data.startswith(b"GET "):
                    self.requests.append(data.decode(errors="replace"))
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            server.close()

    def _down(self, server, client):
        try:
            while data := server.recv(65536):
                with self.lock:
                    self.left -= len(data)
                if self.left < 0:
                    self.opened.wait()
                client.sendall(data)
                self.carried += len(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()

    def close(self):
        self.opened.set()
        self.listener.close()


def test_worker__a_download_is_continued_by_the_next_process_and_kept(world, jobs):
    artifacts = world.folder / "work" / "artifacts"
    door = Narrow(world.url, 12_000_000)  # of 47 MB
    try:
        empty = world.folder / "own data"
        first = world.start_worker(GATEWAY_URL=door.url, DATA_DIR=empty)
        job_id = jobs.submit()
        part = wait_for(lambda: [path for path in artifacts.glob("*.part") if path.stat().st_size > 9_000_000])[0]
        come = part.stat().st_size
        first.kill()
        first.wait()
        del world.running["worker"]
        door.opened.set()
        world.start("worker")
        job = jobs.end(job_id)
        assert job["state"] == "completed", job["error"]
        resumed = [request for request in door.requests if f"{part.stem} " in request and "Range: bytes=" in request]
        assert resumed, [request.split("\r\n")[0] for request in door.requests]
        assert int(resumed[0].split("Range: bytes=")[1].split("-")[0]) >= come
        assert door.carried < 1.3 * 55e6, "it began again at the start"
        assert not part.exists()

        names = {path.name for path in artifacts.iterdir()}
        assert job["model"]["sha256"] in names and part.stem in names
        for path in artifacts.iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        before = len(door.requests)
        assert jobs.end(jobs.submit(name="again"))["state"] == "completed"
        assert not [request for request in door.requests[before:] if "/artifacts/" in request], "it was fetched again"
        assert not any(empty.iterdir())

        world.start_worker(GATEWAY_URL=door.url, DATA_DIR=empty, CACHE_BYTES=30_000_000)  # less than the data set
        assert jobs.end(jobs.submit(name="little room"))["state"] == "completed"
        assert sum(path.stat().st_size for path in artifacts.iterdir()) <= 30_000_000
    finally:
        door.close()


LAVAPIPE = Path("/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so")


def two_devices(folder) -> str:
    """Mesa's software driver twice, from two files: the loader shows a device of each."""
    names = []
    for number in range(2):
        library = folder / f"lvp{number}.so"
        shutil.copy(LAVAPIPE, library)
        names.append(folder / f"lvp{number}.json")
        names[-1].write_text(json.dumps({"file_format_version": "1.0.0",
                                         "ICD": {"library_path": str(library), "api_version": "1.3.230"}}))
    return ":".join(str(name) for name in names)


@pytest.mark.skipif(not LAVAPIPE.exists(), reason="SKIP: mesa-vulkan-drivers is not installed")
def test_worker__each_of_two_devices_has_a_slot(world, jobs):
    """Without walls, since they hide the drivers of this test's folder."""
    process = world.start_worker(BACKEND="vulkan", SANDBOX="off", VK_ICD_FILENAMES=two_devices(world.folder))
    path = f"/api/v1/nodes/{world.node_id}"
    devices = jobs.client.call("GET", path).json["devices"]
    assert [(device["backend"], device["index"]) for device in devices] == [("vulkan", 0), ("vulkan", 1)]
    assert world.sql(f"select slots from scheduler.node where id = '{world.node_id}'") == "2"
    first, second, third = (jobs.submit(name=name, **ENDLESS) for name in ("one", "two", "three"))
    for job_id in (first, second):
        jobs.stepping(job_id)
    assert world.sql("select string_agg(slot::text, ',' order by slot) from scheduler.assignment where ended_at is null") == "0,1"
    assert jobs.get(third)["pending"]["code"] == "all-nodes-busy"
    node = wait_for(lambda: (node := jobs.client.call("GET", path).json)["running_jobs"] == 2 and node)
    assert node["images_per_second"] > 0
    words = [read(f"/proc/{pid}/cmdline").split("\0") for pid in descendants(process.pid)]
    assert sorted(line[8] for line in words if line[1:2] == ["--train"]) == ["0", "1"], words

    assert jobs.client.call("POST", f"/api/v1/jobs/{first}/cancel").status == 200
    assert jobs.end(first)["state"] == "cancelled"
    jobs.stepping(third)  # the freed slot takes it, and the other job goes on
    assert jobs.get(second)["state"] == "running"
    assert world.stop("worker") == 0  # both are handed back
    for job_id in (second, third):
        job = jobs.get(job_id)
        assert (job["state"], job["transitions"][-1]["cause"]) == ("queued", "handed-back"), job["transitions"]
        assert jobs.client.call("POST", f"/api/v1/jobs/{job_id}/cancel").status == 200
