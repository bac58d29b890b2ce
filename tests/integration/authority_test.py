"""A gateway and a NATS server whose certificates no public authority vouches for: the command line and the worker are told of
their own, by setting and by flag, and without it they trust nobody."""

import json
import os
import re
import ssl
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from services import binary  # noqa: E402
from worker import FASHION, PLATFORM, Jobs, WorkerWorld  # noqa: E402


def certify(folder, name):
    """An authority, and a certificate of 127.0.0.1 that it signed: the paths of authority, certificate and key."""
    authority, request = folder / f"{name}-ca.pem", folder / f"{name}.csr"
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in ([*new, "-x509", "-keyout", folder / f"{name}-ca.key", "-out", authority, "-days", "2", "-subj", f"/CN={name} authority"],
                    [*new, "-keyout", key, "-out", request, "-subj", f"/CN={name}"],
                    ["openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", folder / f"{name}-ca.key",
                     "-CAcreateserial", "-out", certificate, "-days", "2", "-extfile", folder / "san"]):
        subprocess.run(command, check=True, capture_output=True)
    return authority, certificate, key


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if not FASHION.exists():
        pytest.skip("SKIP: the package dataset-fashion-mnist is not installed")
    for name in (*PLATFORM, "worker"):
        try:
            binary(f"cyxwiz-{name}")
        except FileNotFoundError as missing:
            pytest.skip(f"SKIP: {missing}")
    folder = tmp_path_factory.mktemp("tls")
    authority, certificate, key = certify(folder, "gateway")
    with WorkerWorld(*PLATFORM, CYXWIZ_TLS_CERTIFICATE_FILE=str(certificate), CYXWIZ_TLS_KEY_FILE=str(key)) as running:
        running.authority, running.tls = authority, ssl.create_default_context(cafile=authority)
        yield running


def cyxwiz(world, *words, code=0, **settings):
    env = {name: value for name, value in os.environ.items() if not name.startswith("CYXWIZ_")}
    done = subprocess.run([binary("cyxwiz"), *words], capture_output=True, text=True, timeout=60, cwd=world.folder,
                          env=env | {"CYXWIZ_CONFIG": str(world.folder / "client.json")} | settings)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_authority__the_command_line_has_its_own(world):
    key = Jobs(world).key
    to = ["--url", world.url, "--token", key]
    assert "cannot be trusted" in cyxwiz(world, "job", "list", *to, code=4)
    assert "No jobs yet" in cyxwiz(world, "job", "list", *to, "--ca", world.authority)
    assert "No jobs yet" in cyxwiz(world, "--ca", world.authority, "job", "list", *to)
    assert "No jobs yet" in cyxwiz(world, "job", "list", *to, CYXWIZ_GATEWAY_CA=str(world.authority))
    assert "/no/such.pem" in cyxwiz(world, "job", "list", *to, "--ca", "/no/such.pem", code=3)
    # Signed in once, it is known; and from any folder.
    near = os.path.relpath(world.authority, world.folder)
    cyxwiz(world, "login", *to, "--ca", near)
    assert json.loads((world.folder / "client.json").read_text())["ca"] == str(world.authority)
    assert "No jobs yet" in cyxwiz(world, "job", "list")


def test_authority__the_worker_has_its_own(world):
    jobs, empty = Jobs(world), world.folder / "own data"
    world.start_worker(GATEWAY_CA=world.authority, DATA_DIR=empty)
    job = jobs.end(jobs.submit())  # its data came, and its model went, by HTTPS
    assert job["state"] == "completed", job["error"]
    assert not any(empty.iterdir()) if empty.exists() else True
    world.start_worker(DATA_DIR=empty, WORK_DIR=world.folder / "other work")
    job = jobs.end(jobs.submit())
    assert job["state"] == "failed" and "cannot be trusted" in job["error"]["message"], job["error"]
    world.stop("worker")


@pytest.mark.parametrize("flags,code,words", [
    (["--gateway-ca", "/no/such.pem"], 1, "CYXWIZ_GATEWAY_CA"),
    (["--nats-ca", "/no/such.pem"], 1, "CYXWIZ_NATS_CA"),
    (["--dance"], 2, "usage: cyxwiz-worker"),
    (["dance"], 2, "usage: cyxwiz-worker"),
])
def test_authority__wrong_flags_of_the_worker_are_told(world, flags, code, words):
    done = subprocess.run([binary("cyxwiz-worker"), *flags], env=world.environment("worker"), capture_output=True, text=True,
                          timeout=30)
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_authority__nats_too(world, tmp_path):
    authority, certificate, key = certify(tmp_path, "nats")
    server = subprocess.Popen(["/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", "-1", "--tls", "--tlscert", certificate,
                               "--tlskey", key, "--ports_file_dir", tmp_path], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not (found := list(tmp_path.glob("*.ports"))) and time.monotonic() < end:
            time.sleep(0.02)
        port = re.search(r":(\d+)", json.loads(found[0].read_text())["nats"][0]).group(1)
        env = world.environment("worker") | {"CYXWIZ_NATS_URL": f"nats://127.0.0.1:{port}", "CYXWIZ_NODE_ID": str(uuid.uuid4())}

        def started(*flags):
            """What it says until it has ended, or has NATS behind it and opens its page."""
            with open(tmp_path / "log", "wb") as log:
                process = subprocess.Popen([binary("cyxwiz-worker"), *flags], env=env, stdout=log, stderr=log)
            end = time.monotonic() + 20
            while time.monotonic() < end and process.poll() is None and "the local page" not in said():
                time.sleep(0.05)
            process.kill()
            process.wait()
            return said()

        def said():
            return (tmp_path / "log").read_text(errors="replace")

        assert "unable to get local issuer certificate" in started()
        assert "the local page" in started("--nats-ca", authority)
        env["CYXWIZ_NATS_CA"] = str(authority)
        assert "the local page" in started()
    finally:
        server.kill()
        server.wait()
