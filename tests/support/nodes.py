"""Nodes for tests: a world whose NATS believes keys alone, real workers in it, and nodes by hand that may lie."""

import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from gateway import World, example
from nats_client import Nats
from services import Client, binary

SERVICES = ("registry", "scheduler", "payments", "marketplace", "gateway")


def need_programs():
    """Skips where the services and the worker are not built."""
    for name in (*SERVICES, "worker"):
        try:
            binary(f"cyxwiz-{name}")
        except FileNotFoundError as missing:
            pytest.skip(f"SKIP: {missing}")


class Fleet(World):
    """Each worker is a process with a folder of its own, started as `worker`."""

    def environment(self, name):
        env = super().environment(name)
        if name != "worker":
            return env
        del env["CYXWIZ_NATS_CREDS"], env["CYXWIZ_TEST_NODE_ID"]
        return env | {"CYXWIZ_GATEWAY_URL": self.url, "CYXWIZ_IDENTITY_DIR": str(self.identity),
                      "CYXWIZ_WORK_DIR": str(self.folder / "work"), "CYXWIZ_BACKEND": "cpu",
                      "CYXWIZ_ENROL_TOKEN": self.token}

    def begin(self, folder, token):
        self.identity, self.token = self.folder / folder, token
        self.start("worker")
        return (self.identity / "node.id").read_text()

    def nats(self, creds, inbox="_INBOX"):
        return Nats(self.servers.env["CYXWIZ_NATS_URL"], creds=creds, inbox=inbox)


def token(client, **body):
    answer = client.call("POST", "/api/v1/nodes/tokens", body)
    assert answer.status == 201, answer.body
    return answer.json["token"]


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc.to_bytes(2, "little")


def nkey(prefix, data):
    raw = bytes(prefix) + data
    return base64.b32encode(raw + crc16(raw)).rstrip(b"=").decode()


class Node:
    """A node by hand: a key, and whatever the registry gives for it."""

    def __init__(self, world):
        self.world = world
        self.new_key()

    def new_key(self):
        self.key = Ed25519PrivateKey.generate()
        self.public = nkey([20 << 3], self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def _seed(self):
        raw = self.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return nkey([18 << 3 | (20 << 3) >> 5, ((20 << 3) & 31) << 3], raw)

    def keep(self, answer):
        self.id = answer["node_id"]
        self.creds = self.world.folder / f"{self.public}.creds"
        self.creds.write_text("-----BEGIN NATS USER JWT-----\n" + answer["nats_token"] +
                              "\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + self._seed() +
                              "\n------END USER NKEY SEED------\n")

    def join(self, token):
        answer = Client(self.world.url).call("POST", "/api/v1/nodes/join", {"token": token, "public_key": self.public})
        if answer.status == 201:
            self.keep(answer.json)
        return answer

    def sign(self, text):
        return base64.urlsafe_b64encode(self.key.sign(text.encode())).rstrip(b"=").decode()

    def renew(self, **changes):
        at = int(time.time() * 1000)
        body = {"node_id": self.id, "public_key": self.public, "at": at} | changes
        body.setdefault("signature", self.sign(
            f"cyxwiz renewal\n{body['node_id']}\n{body['at']}\n{body['public_key']}\n{body.get('new_key', '')}\n"))
        return Client(self.world.url).call("POST", "/api/v1/nodes/renew", body)

    def beat(self, nats, boot, **more):
        nats.publish(f"cyx.node.{self.id}.heartbeat", {"boot_id": boot, "seq": 1, "jobs": [], "cpu_percent": 1.0,
                                                       "memory_used_bytes": 1, "images_per_second": 0.0} | more)

    def connect(self):
        return self.world.nats(self.creds, f"_INBOX_{self.id}")

    def enrolment(self, boot):
        return {"node_id": self.id, "name": "by hand", "boot_id": boot, "version": "0.1.0",
                "devices": [{"index": 0, "backend": "cpu", "name": "test", "memory_bytes": 8 << 30,
                             "is_software": False, "threads": 2}],
                "host_memory_bytes": 8 << 30, "cpus": 2, "price_per_hour": "1 CYX"}


def wait(until, what, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        got = until()
        if got:
            return got
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def shown(api, node_id):
    return api.call("GET", f"/api/v1/nodes/{node_id}").json


def short_job(name):
    spec = example("mnist-mlp")
    return {"name": name, "data": spec["data"] | {"dataset": "fashion-mnist"},
            "epochs": 1,
            "resources": {"threads": 1}}


def ended_job(api, job_id):
    job = api.call("GET", f"/api/v1/jobs/{job_id}").json
    return job if job["state"] in ("completed", "failed", "cancelled") else None


def cannot_connect(world, creds):
    try:
        with world.nats(creds):
            return False
    except (ConnectionError, OSError):
        return True
