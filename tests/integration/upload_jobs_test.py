"""Data sets that accounts bring: up by the command line, named in a job's spec, fetched and unpacked by a real worker that
trusts nothing in them, trained on."""

import hashlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from pathlib import Path

import numpy
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import contract, grant_for, stranger, user  # noqa: E402, F401
from pictures import write_shapes  # noqa: E402
from services import Client, binary  # noqa: E402
from terminal import on_a_terminal  # noqa: E402
from worker import FASHION, jobs, world  # noqa: E402, F401


@pytest.fixture(scope="module")
def key(world, jobs):
    world.start_worker()
    return jobs.key


def upload(world, key, path, *options):
    return json.loads(world.cyxwiz("upload", str(path), "--json", *options, token=key))


def spec(data, layers, **changes):
    return {"name": "of my own", "epochs": 30, "loss": {"type": "CrossEntropyLoss"}, "schedule": {"retries": 0},
            "optimizer": {"type": "AdamW", "lr": 0.01}, "data": data, "model": {"layers": layers}} | changes


def perceptron(classes, hidden=16):
    return [{"type": "Flatten"}, {"type": "Linear", "out_features": hidden}, {"type": "ReLU"},
            {"type": "Linear", "out_features": classes}]


def blobs(rng, count, features=4, classes=3):
    """Points about a centre for each class."""
    centres = numpy.random.default_rng(7).normal(size=(classes, features)) * 4
    labels = rng.integers(0, classes, count)
    return (centres[labels] + rng.normal(size=(count, features))).astype(numpy.float32), labels


def csv_file(path, count=300):
    x, y = blobs(numpy.random.default_rng(1), count)
    path.write_text("a,b,c,d,kind\n" + "".join(",".join(f"{v:.4f}" for v in row) + f",kind-{label}\n"
                                               for row, label in zip(x, y)))
    return path


def csv_data(name, shape=(4,)):
    return {"batch_size": 32, "split": {"validation": 0.2},
            "dataset": {"format": "csv", "upload": name, "train": "points.csv", "target": "kind", "shape": list(shape)}}


def completed(jobs, spec, accuracy):
    answer = jobs.client.call("POST", "/api/v1/jobs", spec)
    assert answer.status == 201, answer.body
    job = jobs.end(answer.json["id"])
    assert job["state"] == "completed", job["error"]
    assert job["result"]["test_accuracy"] > accuracy, job["result"]
    return job


def refused(jobs, contract, spec, pointer, *words, path="/api/v1/jobs"):
    problem = contract.problem(jobs.client.call("POST", path, spec), 422)
    assert problem["pointer"] == pointer, problem
    for word in words:
        assert word in problem["detail"], problem


def failed(jobs, spec, pointer, *words):
    answer = jobs.client.call("POST", "/api/v1/jobs", spec)
    assert answer.status == 201, answer.body
    job = jobs.end(answer.json["id"])
    assert job["state"] == "failed", job
    assert job["error"]["pointer"] == pointer, job["error"]
    for word in words:
        assert word in job["error"]["message"], job["error"]
    return job


def test_uploads__a_csv_file_goes_up_and_is_trained_on(world, jobs, key, tmp_path):
    file = csv_file(tmp_path / "points.csv")
    made = upload(world, key, file)
    assert made["complete"] and made["name"] == "points.csv" and made["kind"] == "dataset"
    assert made["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    again = upload(world, key, file, "--name", "another name")
    assert again["id"] == made["id"], "the same bytes are one upload"

    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(csv_data("points.csv"), perceptron(3))))
    world.cyxwiz("job", "submit", str(path), "--watch", "--json", token=key)
    job = jobs.client.call("GET", "/api/v1/jobs?limit=1").json["jobs"][0]
    assert job["state"] == "completed" and job["result"]["test_accuracy"] > 0.9
    assert job["spec"]["data"]["dataset"] | {"upload": "points.csv", "sha256": made["sha256"]} == job["spec"]["data"]["dataset"]
    assert not (world.folder / "work" / "jobs" / job["id"]).exists()
    assert (world.folder / "work" / "artifacts" / made["sha256"]).exists()

    # Named by its id; placed where the data lies.
    second = completed(jobs, spec(csv_data(made["id"]), perceptron(3)), 0.9)
    assert second["placement"]["data"] == 1 and job["placement"]["data"] == 0
    # The spec of a job that ran can be submitted as it is.
    again = completed(jobs, second["spec"], 0.9)
    assert again["spec"]["data"]["dataset"]["sha256"] == made["sha256"]
    model = next(model for model in jobs.client.call("GET", "/api/v1/models").json["models"] if model["job_id"] == job["id"])
    assert model["dataset"] == "points.csv"
    # The same spec trains beside the file, with no platform.
    alone = subprocess.run([binary("cyxwiz"), "train", path, "--json", "--output", tmp_path / "out"], capture_output=True,
                           text=True, timeout=120, cwd="/")
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout.splitlines()[-1])["test_accuracy"] == pytest.approx(job["result"]["test_accuracy"], abs=0.02)


def test_uploads__an_archive_of_arrays(world, jobs, key, tmp_path):
    rng = numpy.random.default_rng(2)
    (x, y), (x_test, y_test) = blobs(rng, 400, 6, 4), blobs(rng, 100, 6, 4)
    numpy.savez_compressed(tmp_path / "arrays.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    made = upload(world, key, tmp_path / "arrays.npz", "--name", "four clouds")
    world.sql("update scheduler.node set datasets = (select string_agg('set-' || i, ',' order by i) from generate_series(1, 40) i)")
    data = {"batch_size": 50, "dataset": {"format": "npz", "upload": "four clouds", "train": "any/name.npz", "shape": 6,
                                          "test_inputs": "x_test", "test_targets": "y_test"}}
    completed(jobs, spec(data, perceptron(4)), 0.9)
    kept = world.sql("select datasets from scheduler.node").split(",")
    assert len(kept) == 32 and kept[-2:] == ["set-40", made["sha256"]], kept
    # What the spec states of them is compared.
    data["dataset"]["shape"] = 5
    failed(jobs, spec(data, perceptron(4)), "/data/dataset/shape", "[5]", "[6]", "four clouds")
    data["dataset"] |= {"shape": 6, "task": "numbers"}
    job = failed(jobs, spec(data, perceptron(4), loss={"type": "MSELoss"}), "/model/layers/3", "MSELoss")
    assert job["attempt"] == 1


def test_uploads__numbers_as_targets(world, jobs, key, tmp_path):
    rng = numpy.random.default_rng(3)
    x = rng.normal(size=(400, 3)).astype(numpy.float32)
    numpy.savez(tmp_path / "line.npz", x=x, y=(x @ [[1, 0], [2, 1], [0, -1]]).astype(numpy.float32))
    upload(world, key, tmp_path / "line.npz")
    data = {"batch_size": 50, "split": {"validation": 0.25},
            "dataset": {"format": "npz", "upload": "line.npz", "train": "line.npz", "shape": 3}}
    answer = jobs.client.call("POST", "/api/v1/jobs", spec(data, [{"type": "Linear", "out_features": 2}],
                                                           loss={"type": "MSELoss"}, optimizer={"type": "AdamW", "lr": 0.1}))
    assert answer.status == 201, answer.body
    job = jobs.end(answer.json["id"])
    assert job["state"] == "completed", job["error"]
    assert job["result"]["test_loss"] < 0.05 and job["result"].get("test_accuracy") is None


def idx(path, array):
    path.write_bytes(struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def test_uploads__a_folder_of_idx_files(world, jobs, key, tmp_path):
    folder = tmp_path / "clothes"
    folder.mkdir()
    for part, count, name in (("train", 2000, "train"), ("test", 500, "t10k")):
        raw = (world.data / "fashion-mnist" / f"{name}-images-idx3-ubyte").read_bytes()
        idx(folder / f"{part}-x", numpy.frombuffer(raw, numpy.uint8, count * 784, 16).reshape(count, 28, 28))
        raw = (world.data / "fashion-mnist" / f"{name}-labels-idx1-ubyte").read_bytes()
        idx(folder / f"{part}-y", numpy.frombuffer(raw, numpy.uint8, count, 8))
    assert upload(world, key, f"{folder}/")["name"] == "clothes"
    data = {"batch_size": 100, "dataset": {
        "format": "idx", "upload": "clothes", "shape": [1, 28, 28], "train": "train-x", "targets": "train-y",
        "test": "test-x", "test_targets": "test-y"}}
    completed(jobs, spec(data, perceptron(10), epochs=4), 0.6)
    data["dataset"]["targets"] = "nothing"
    job = failed(jobs, spec(data, perceptron(10)), "", "nothing")
    assert str(world.folder) not in job["error"]["message"], "a path of the operator's machine is told"


def test_uploads__a_folder_of_images_packed_by_tar(world, jobs, key, tmp_path):
    write_shapes(tmp_path / "shapes", numpy.random.default_rng(0), train=40, test=15)
    (tmp_path / "shapes/train/square/zzz.png").write_bytes(b"hello")
    with tarfile.open(tmp_path / "shapes.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "shapes", "shapes")
    upload(world, key, tmp_path / "shapes.tar.gz")
    data = {"batch_size": 20, "transforms": [{"type": "Resize", "size": [24, 24]}, {"type": "ToTensor"}],
            "dataset": {"format": "image-folder", "upload": "shapes.tar.gz", "train": "shapes/train", "test": "shapes/test"}}
    layers = [{"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "stride": 2}, {"type": "ReLU"}, *perceptron(3, 32)]
    job = completed(jobs, spec(data, layers, epochs=15), 0.7)
    lines = [line for line in jobs.client.call("GET", f"/api/v1/jobs/{job['id']}/logs").json["lines"] if line["level"] == "warn"]
    assert len(lines) == 1 and "shapes/train/square/zzz.png" in lines[0]["message"], lines
    assert str(world.folder) not in lines[0]["message"]


def test_uploads__what_cannot_be_trained_on_is_refused_at_submit(world, jobs, key, stranger, contract, tmp_path):
    theirs = os.urandom(1000)
    made = stranger.call("POST", "/api/v1/uploads", {"kind": "dataset", "name": "theirs", "bytes": len(theirs),
                                                     "sha256": hashlib.sha256(theirs).hexdigest()}).json
    sent = stranger.call("PUT", f"/api/v1/uploads/{made['id']}/content", raw=theirs,
                         headers={"Content-Type": "application/octet-stream"})
    assert sent.status == 201
    place = "/data/dataset/upload"
    for path in ("/api/v1/jobs", "/api/v1/jobs/validate", "/api/v1/jobs/quote"):
        for name in ("theirs", made["id"], "nothing of the kind"):
            refused(jobs, contract, spec(csv_data(name), perceptron(3)), place, "no uploaded data set", path=path)
    half = jobs.client.call("POST", "/api/v1/uploads", {"kind": "dataset", "name": "half", "sha256": "ab" * 32, "bytes": 99})
    assert half.status == 201
    refused(jobs, contract, spec(csv_data("half"), perceptron(3)), place, "not whole yet")
    weights = upload(world, key, csv_file(tmp_path / "weights", 10), "--kind", "model")
    refused(jobs, contract, spec(csv_data(weights["id"]), perceptron(3)), place, "no uploaded data set")
    pinned = csv_data("points.csv")
    pinned["dataset"]["sha256"] = "cd" * 32
    refused(jobs, contract, spec(pinned, perceptron(3)), place, "cd" * 32)
    unsaid = csv_data("points.csv")
    del unsaid["dataset"]["shape"]
    refused(jobs, contract, spec(unsaid, perceptron(3)), "/data/dataset/shape", "data inspect")
    for name in ("/etc/passwd", "../secrets"):
        outside = csv_data("points.csv")
        outside["dataset"]["train"] = name
        refused(jobs, contract, spec(outside, perceptron(3)), "/data/dataset/train", "within the upload")
    refused(jobs, contract, spec(csv_data("points.csv"), [{"type": "Linear", "in_features": 9, "out_features": 3}]),
            "/model/layers/0", "9")


def hostile(name, **fields):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(entry, field, value)
        archive.addfile(entry, io.BytesIO(b"\0" * entry.size) if entry.isreg() else None)
    return buffer.getvalue()


def test_uploads__a_hostile_archive_ends_the_job_alone(world, jobs, key, tmp_path):
    process = world.start_worker(JOB_DISK_BYTES=64 << 20)
    target = tmp_path / "outside"
    cases = [("absolute", hostile(str(target), size=10), "would leave its folder"),
             ("up", hostile("../../../../../../../../tmp/cyx-outside", size=10), "would leave its folder"),
             ("link", hostile("points.csv", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link or a device"),
             ("hard link", hostile("points.csv", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "a link or a device"),
             ("device", hostile("points.csv", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "a link or a device"),
             ("bomb", hostile("points.csv", size=256 << 20), "unpacks to more than"),
             ("gzip of noise", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + os.urandom(500), "cannot be unpacked"),
             ("cut", hostile("points.csv", size=100_000)[:-40], "")]
    for name, data, words in cases:
        (tmp_path / name).write_bytes(data)
        upload(world, key, tmp_path / name)
        job = failed(jobs, spec(csv_data(name), perceptron(3)), "/data/dataset/upload", words)
        assert job["error"]["status"] == "invalid", job["error"]
        assert not (world.folder / "work" / "jobs" / job["id"]).exists()
    assert not target.exists() and not Path("/tmp/cyx-outside").exists()
    assert process.poll() is None
    completed(jobs, spec(csv_data("points.csv"), perceptron(3)), 0.9)


def test_uploads__a_grant_opens_the_upload_of_its_job_alone(world, jobs, key, tmp_path):
    made = upload(world, key, csv_file(tmp_path / "granted.csv", 50))
    other = upload(world, key, csv_file(tmp_path / "other.csv", 60))
    job_id = jobs.submit()
    anybody = Client(world.url)
    anybody.judged = False

    def status(sha256, **fields):
        grant = grant_for(world, job_id, **fields)
        return anybody.call("GET", f"/api/v1/artifacts/{sha256}", headers={"Authorization": f"Bearer {grant}"}).status

    assert status(made["sha256"], data=made["sha256"]) == 200
    assert status(made["sha256"], initial=made["sha256"]) == 200
    assert status(made["sha256"]) == 404
    assert status(other["sha256"], data=made["sha256"]) == 404
    assert status(made["sha256"], data=made["sha256"], rights="w") == 404
    assert status(made["sha256"], data=made["sha256"], key="00" * 32) == 401
    assert anybody.call("GET", f"/api/v1/artifacts/{made['sha256']}").status == 401


def test_uploads__one_that_is_used_is_kept_until_its_jobs_have_ended(world, jobs, key, contract, tmp_path):
    made = upload(world, key, csv_file(tmp_path / "used.csv", 80))
    process = world.running["worker"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        answer = jobs.client.call("POST", "/api/v1/jobs", spec(csv_data("used.csv"), perceptron(3)))
        assert answer.status == 201, answer.body
        problem = contract.problem(jobs.client.call("DELETE", f"/api/v1/uploads/{made['id']}"), 409)
        assert answer.json["id"] in problem["detail"]
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert jobs.end(answer.json["id"])["state"] == "completed"
    assert "used.csv" in world.cyxwiz("uploads", "list", "--kind", "dataset", "--sort", "name", token=key)
    assert "Deleted used.csv" in world.cyxwiz("uploads", "delete", "used.csv", token=key)
    assert "used.csv" not in world.cyxwiz("uploads", "list", token=key)
    refused(jobs, contract, spec(csv_data("used.csv"), perceptron(3)), "/data/dataset/upload", "no uploaded data set")


def test_uploads__a_worker_killed_midway_finds_its_data_again(world, jobs, key, tmp_path):
    write_shapes(tmp_path / "many", numpy.random.default_rng(4), train=30, test=10)
    upload(world, key, tmp_path / "many")
    data = {"batch_size": 10, "transforms": [{"type": "Resize", "size": [16, 16]}, {"type": "ToTensor"}],
            "dataset": {"format": "image-folder", "upload": "many", "train": "train", "test": "test"}}
    answer = jobs.client.call("POST", "/api/v1/jobs", spec(data, perceptron(3), epochs=400, checkpoint={"every_steps": 20}))
    assert answer.status == 201, answer.body
    job_id = answer.json["id"]
    held = f"select count(*) from scheduler.job where id = '{job_id}' and checkpoint_step >= 20"
    jobs.wait(job_id, lambda job: job["state"] == "running" and world.sql(held) == "1")
    process = world.running.pop("worker")
    process.kill()
    process.wait()
    assert (world.folder / "work/jobs" / job_id / "data/train/circle").is_dir()
    world.start("worker")
    job = jobs.end(job_id)
    assert (job["state"], job["attempt"]) == ("completed", 2), job["error"]
    assert not (world.folder / "work/jobs" / job_id).exists()


@pytest.mark.parametrize("columns", [40, 100])
def test_uploads__a_person_sees_how_far_it_is(world, key, columns, tmp_path):
    (tmp_path / "noise.bin").write_bytes(os.urandom(30_000_000))
    sent = on_a_terminal(columns, binary("cyxwiz"), "upload", tmp_path / "noise.bin", "--url", world.url, "--token", key)
    drawn = [piece.split("\r")[0] for piece in sent.split("\r\x1b[K")]
    bars = [bar for bar in drawn if " of " in bar and "%" in bar]
    assert bars and all(len(bar) < columns for bar in bars), sent
    if columns >= 100:
        assert all(bar.startswith("noise.bin ") and "28.6 MiB" in bar and "left" in bar for bar in bars), bars
        assert "100 %" in bars[-1]
    assert "noise.bin is uploaded: 28.6 MiB" in sent and '"upload": "noise.bin"' in sent
    world.cyxwiz("uploads", "delete", "noise.bin", token=key)


def test_uploads__training_begins_with_an_uploaded_model(world, jobs, key, contract, tmp_path):
    upload(world, key, csv_file(tmp_path / "more.csv", 301))
    layers = perceptron(3)
    first = completed(jobs, spec(csv_data("more.csv"), layers), 0.9)
    model = jobs.client.call("GET", f"/api/v1/jobs/{first['id']}/model").body
    (tmp_path / "trained.safetensors").write_bytes(model)
    made = upload(world, key, tmp_path / "trained.safetensors", "--kind", "model")
    assert made["sha256"] == first["model"]["sha256"]

    # One epoch with a rate that changes next to nothing: it is as good as what it began with.
    still = {"epochs": 1, "optimizer": {"type": "SGD", "lr": 1e-9}}
    begun = completed(jobs, spec(csv_data("more.csv"), layers, initial={"upload": "trained.safetensors"}, **still), 0.9)
    assert begun["result"]["test_loss"] == pytest.approx(first["result"]["test_loss"], rel=1e-3)
    assert begun["spec"]["initial"] == {"upload": "trained.safetensors", "sha256": made["sha256"]}
    answer = jobs.client.call("POST", "/api/v1/jobs", spec(csv_data("more.csv"), layers, **still))
    assert jobs.end(answer.json["id"])["result"]["test_loss"] > 2 * begun["result"]["test_loss"]

    # Another last layer: all must fit, unless it may be a part.
    other = [*layers[:3], {"type": "Linear", "out_features": 8}, {"type": "Linear", "out_features": 3}]
    failed(jobs, spec(csv_data("more.csv"), other, initial={"upload": made["id"]}), "/initial", "3.weight", made["id"])
    partly = spec(csv_data("more.csv"), other, initial={"upload": made["id"], "partial": True}, epochs=20)
    completed(jobs, partly, 0.9)
    strangers = spec(csv_data("more.csv"), [{"type": "Linear", "out_features": 3}], initial={"upload": made["id"], "partial": True})
    failed(jobs, strangers, "/initial", "no tensor of the file")

    for initial, pointer, words in (({"upload": "nothing"}, "/initial/upload", "no uploaded model"),
                                    ({"upload": "more.csv"}, "/initial/upload", "no uploaded model"),
                                    ({"upload": made["id"], "sha256": "ab" * 32}, "/initial/upload", "ab" * 32),
                                    ({"file": "trained.safetensors"}, "/initial", "cyxwiz upload"),
                                    ({"sha256": "ab" * 32}, "/initial/sha256", "belongs to"),
                                    ({"partial": True}, "/initial/partial", "of what")):
        refused(jobs, contract, spec(csv_data("more.csv"), layers, initial=initial), pointer, words)

    os.kill(world.running["worker"].pid, signal.SIGSTOP)
    try:
        waiting = jobs.client.call("POST", "/api/v1/jobs", partly)
        assert waiting.status == 201, waiting.body
        problem = contract.problem(jobs.client.call("DELETE", f"/api/v1/uploads/{made['id']}"), 409)
        assert waiting.json["id"] in problem["detail"]
    finally:
        os.kill(world.running["worker"].pid, signal.SIGCONT)
    assert jobs.end(waiting.json["id"])["state"] == "completed"

    # On one's own machine it is the file beside the spec.
    local = spec(csv_data("more.csv"), layers, initial={"file": "trained.safetensors", "upload": "trained.safetensors"}, **still)
    local["data"]["dataset"]["train"] = "more.csv"
    (tmp_path / "local.json").write_text(json.dumps(local))
    alone = subprocess.run([binary("cyxwiz"), "train", tmp_path / "local.json", "--json", "--output", tmp_path / "out"],
                           capture_output=True, text=True, timeout=120, cwd="/")
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout.splitlines()[-1])["test_loss"] == pytest.approx(first["result"]["test_loss"], rel=0.05)


class Door:
    """To the gateway: keeps the heads of requests, and lets so many bytes up; the connection breaks when it closes."""

    def __init__(self, url, allowed):
        self.target, self.left, self.opened = urllib.parse.urlsplit(url), allowed, threading.Event()
        self.stuck, self.heads = threading.Event(), []
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
            threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source, target, up):
        try:
            while data := source.recv(16384):
                if up:
                    if data[:4] in (b"PUT ", b"POST", b"HEAD"):
                        self.heads.append(data.split(b"\r\n\r\n")[0].decode())
                    self.left -= len(data)
                    if self.left < 0:
                        self.stuck.set()
                        self.opened.wait()
                        raise OSError("broken")
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.opened.set()
        self.listener.close()


def test_uploads__a_broken_one_goes_on_where_it_stopped(world, jobs, key, tmp_path):
    folder = tmp_path / "large"
    (folder / "a").mkdir(parents=True)
    for name in ("z", "b", "a/c"):
        (folder / name).write_bytes(os.urandom(2_000_000))
    door = Door(world.url, 3_000_000)
    try:
        process = subprocess.Popen([binary("cyxwiz"), "upload", folder, "--url", door.url, "--token", key],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
        assert door.stuck.wait(20)
        assert not list(tmp_path.glob("cyxwiz-*")), "the packed folder has a name"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130 and "goes on where it stopped" in said, said
    finally:
        door.close()
    row = "select received, bytes from gateway.upload where name = 'large'"
    end = time.monotonic() + 15
    while (received := int(world.sql(row).split("|")[0])) == 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert received > 1_000_000
    os.utime(folder / "z", (1, 1))  # packed anew, of files with other times: the same bytes
    door = Door(world.url, 1 << 40)
    try:
        done = subprocess.run([binary("cyxwiz"), "upload", folder, "--json", "--url", door.url, "--token", key],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    finally:
        door.close()
    put = next(head for head in door.heads if head.startswith("PUT "))
    assert f"Content-Range: bytes {received}-" in put, put
    made = json.loads(done.stdout)
    content = jobs.client.call("GET", f"/api/v1/uploads/{made['id']}/content").body
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["a/c", "b", "z"]
        assert archive.extractfile("z").read() == (folder / "z").read_bytes()
