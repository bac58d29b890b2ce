"""The gateway with all it stands on, for the tests of it: fixtures, a check against its contract, clients of its live events.

A test module takes the fixtures by importing them; each module has a world of its own.
"""

import base64
import gzip
import hmac
import json
import os
import socket
import time
import uuid
from pathlib import Path

import pytest
from contract import Contract
from nats_client import Nats
from services import ROOT, Client, Services, binary

FASHION = Path("/usr/share/datasets/fashion-mnist")
PAGE = b"<!doctype html><title>CyxWiz</title>"
SCRIPT = b"console.log('here')"


class World(Services):
    def prepare(self):
        folder = self.data / "fashion-mnist"
        folder.mkdir()
        for packed in FASHION.glob("*.gz"):
            (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        (self.web / "index.html").write_bytes(PAGE)
        (self.web / "assets").mkdir()
        (self.web / "assets" / "app-0a1b2c3d.js").write_bytes(SCRIPT)


def open_world(**extra):
    """A world with settings of its own, to be entered; skips where it cannot be."""
    if not FASHION.exists():
        pytest.skip("SKIP: the package dataset-fashion-mnist is not installed")
    names = ["registry", "scheduler", "payments", "marketplace", "gateway"]
    for name in names:
        try:
            binary(f"cyxwiz-{name}")
        except FileNotFoundError as missing:
            pytest.skip(f"SKIP: {missing}")
    return World(*names, **extra)


@pytest.fixture(scope="module")
def world():
    with open_world() as running:
        yield running


@pytest.fixture(scope="module")
def user(world):
    """Signed in as a browser would be."""
    client = Client(world.url)
    assert client.sign_in(world.ADMIN, world.password).status == 201
    return client


@pytest.fixture(scope="module")
def api(user):
    """With an API key."""
    answer = user.call("POST", "/api/v1/api-keys", {"name": "tests"})
    assert answer.status == 201, answer.body
    return Client(user.url, answer.json["key"])


@pytest.fixture(scope="module")
def stranger(world):
    """Another account: the same password, another address."""
    world.sql("insert into gateway.account (id, email, name, role, password_hash) select "
              f"'{uuid.uuid4()}', 'eve@example.org', 'Eve', 'user', password_hash from gateway.account")
    client = Client(world.url)
    assert client.sign_in("eve@example.org", world.password).status == 201
    return client


@pytest.fixture(scope="module")
def contract(world):
    return Contract.of(world.url)


def example(example_name="fashion-cnn", **changes):
    return json.loads((ROOT / f"docs/examples/{example_name}.json").read_text()) | changes


def submit(client, **changes):
    answer = client.call("POST", "/api/v1/jobs", example(**changes))
    assert answer.status == 201, answer.body
    return answer.json["id"]


def grant_for(world, job_id, rights="rw", seconds=600, key=None, **uploads):
    payload = json.dumps({"job": job_id, "node": str(uuid.UUID(int=7)), "token": 1, "exp": int(time.time()) + seconds,
                          "rights": rights} | uploads).encode()
    signature = hmac.digest(bytes.fromhex(key or world.grant_key), payload, "sha256")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, signature))


# ---- live events ----


def tell(nats, job_id, step, kind="metrics"):
    nats.publish(f"cyx.job.{job_id}.{kind}.service",
                 {"kind": "step", "step": step, "total_steps": 100, "epoch": 0, "epochs": 1, "loss": 1 / (step + 1),
                  "accuracy": 0.5, "lr": 0.1, "images_per_second": 100.0, "at": "2026-11-24T02:25:00.125Z"}
                 if kind == "metrics" else {"level": "info", "message": f"line {step}", "at": "2026-11-24T02:25:00.125Z"})


@pytest.fixture
def nats(world):
    with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as client:
        yield client


def flushed(nats):
    """Until what was published before is in the stream."""
    assert "error" not in nats.request("$JS.API.STREAM.INFO.CYX_JOB", b"")


class Listener:
    """Reads Server-Sent Events from a raw socket."""

    def __init__(self, world, api, job_id, last_id=None):
        host, port = world.url[7:].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        last = f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""
        self.socket.sendall((f"GET /api/v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
                             f"Authorization: Bearer {api.token}\r\n{last}\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def next(self):
        """(event, id, data) of the next event; ("", …) for a comment."""
        event = {}
        while True:
            line = self.file.readline().decode()
            assert line, "the stream has ended"
            line = line.rstrip("\r\n")
            if not line and event:
                return event.get("event", ""), event.get("id"), json.loads(event["data"]) if "data" in event else None
            name, _, value = line.partition(":")
            if name in ("event", "id", "data", ""):
                event[name] = value.strip()

    def to_end(self):
        """Reads until the stream has ended in good order: by its last, empty chunk."""
        while (line := self.file.readline()) != b"0\r\n":
            assert line, "the connection broke off"

    def next_event(self, *kinds):
        """The next event, of one of these kinds; the job's first states come when they come."""
        while True:
            got = self.next()
            if got[0] and (not kinds or got[0] in kinds):
                return got

    def close(self):
        self.file.close()
        self.socket.close()


class WebSocket:
    def __init__(self, world, headers, tls=None):
        host, port = world.url.split("//")[1].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=15)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.socket.sendall((f"GET /api/v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n{head}\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def frame(self, opcode, data):
        mask = os.urandom(4)
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
        body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | opcode]) + length + mask + body)

    def send(self, message):
        self.frame(1, message if isinstance(message, bytes) else json.dumps(message).encode())

    def receive(self):
        """The next message; None when it was closed."""
        while True:
            start = self.file.read(2)
            if len(start) < 2 or start[0] & 15 == 8:
                return None
            size = start[1] & 127
            if size > 125:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            data = self.file.read(size)
            if start[0] & 15 == 9:
                self.frame(10, data)
            elif start[0] & 15 == 1:
                return json.loads(data)

    def receive_metrics(self):
        while (message := self.receive())["type"] != "event" or message["event"] != "metrics":
            pass
        return message

    def close(self):
        self.file.close()
        self.socket.close()
