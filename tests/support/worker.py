"""A real worker beside the real services, for the tests of it: start_worker(NAME=value) with settings of its own, jobs, and
the trainer found as a process, so that a test may kill or stop it."""

import gzip
import os
import time
import uuid
from pathlib import Path

import pytest
from services import Client, Services, binary

FASHION = Path("/usr/share/datasets/fashion-mnist")
ENDED = ("completed", "failed", "cancelled")
PLATFORM = ("registry", "scheduler", "payments", "marketplace", "gateway")


class WorkerWorld(Services):
    tls = None  # an ssl.SSLContext, of a world whose gateway speaks HTTPS

    def prepare(self):
        folder = self.data / "fashion-mnist"
        folder.mkdir()
        for packed in FASHION.glob("*.gz"):
            (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        self.node_id, self.worker_settings = str(uuid.uuid4()), {}

    def environment(self, name):
        if name != "worker":
            return super().environment(name) | {"CYXWIZ_HEARTBEAT_MS": "500"}
        return super().environment(name) | {
            "CYXWIZ_NODE_ID": self.node_id, "CYXWIZ_NODE_NAME": "test-node", "CYXWIZ_GATEWAY_URL": self.url,
            "CYXWIZ_WORK_DIR": str(self.folder / "work"), "CYXWIZ_BACKEND": "cpu", "CYXWIZ_HEARTBEAT_MS": "500",
            } | self.worker_settings

    def start_worker(self, **settings):
        """With these settings beside the usual ones; one that runs is stopped first."""
        if "worker" in self.running:
            self.stop("worker")
        self.worker_settings = {key if key.startswith("VK_") else f"CYXWIZ_{key}": str(value)
                                for key, value in settings.items()}
        self.start("worker")
        return self.running["worker"]

    def trainer(self, seconds=30) -> int:
        """The process id of the trainer in progress, below the worker and whatever wraps it."""
        worker, end = self.running["worker"].pid, time.monotonic() + seconds
        while time.monotonic() < end:
            for pid in descendants(worker):
                words = read(f"/proc/{pid}/cmdline").split("\0")
                if words[0].endswith("cyxwiz-worker") and words[1:2] == ["--train"]:
                    return pid
            time.sleep(0.02)
        raise AssertionError(f"no trainer below the worker:\n{self.log('worker')[-2000:]}")


def read(path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def descendants(pid) -> list:
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*") for word in read(task / "children").split()]
    return children + [below for child in children for below in descendants(child)]


class Jobs:
    """Of the first account, over REST."""

    def __init__(self, world):
        self.client = Client(world.url, tls=world.tls)
        assert self.client.sign_in(world.ADMIN, world.password).status == 201

    @property
    def key(self) -> str:
        """An API key of this account."""
        answer = self.client.call("POST", "/api/v1/api-keys", {"name": "worker-test"})
        assert answer.status == 201, answer.body
        return answer.json["key"]

    def submit(self, **changes) -> str:
        answer = self.client.call("POST", "/api/v1/jobs", spec(**changes))
        assert answer.status == 201, answer.body
        return answer.json["id"]

    def get(self, job_id):
        path, end = f"/api/v1/jobs/{job_id}", time.monotonic() + 90
        answer = self.client.call("GET", path)
        while answer.status in (429, 503) and time.monotonic() < end:  # asked too often, or a service is on its way back
            time.sleep(1)
            answer = self.client.call("GET", path)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def wait(self, job_id, until, seconds=90):
        end = time.monotonic() + seconds
        while not until(job := self.get(job_id)):
            assert time.monotonic() < end, f"waited {seconds} s in vain: {job}"
            time.sleep(0.05)
        return job

    def end(self, job_id, seconds=90):
        return self.wait(job_id, lambda job: job["state"] in ENDED, seconds)

    def stepping(self, job_id):
        """Waits until it has trained a little."""
        return self.wait(job_id, lambda job: job["progress"] and job["progress"]["step"] > 0)


def spec(hidden=16, **changes):
    """A small network on real images: an epoch takes a second or so. No second attempts unless asked."""
    return {"name": "worker-test", "epochs": 1, "loss": {"type": "CrossEntropyLoss"},
            "data": {"dataset": "fashion-mnist", "batch_size": 256},
            "optimizer": {"type": "SGD", "lr": 0.05}, "schedule": {"retries": 0},
            "model": {"layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": hidden}, {"type": "ReLU"},
                                 {"type": "Linear", "out_features": 10}]}} | changes


@pytest.fixture(scope="module")
def world():
    if not FASHION.exists():
        pytest.skip("SKIP: the package dataset-fashion-mnist is not installed")
    for name in (*PLATFORM, "worker"):
        try:
            binary(f"cyxwiz-{name}")
        except FileNotFoundError as missing:
            pytest.skip(f"SKIP: {missing}")
    with WorkerWorld(*PLATFORM) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(world):
    return Jobs(world)
