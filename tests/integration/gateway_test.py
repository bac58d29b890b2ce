"""The gateway before real servers and the real scheduler: who may do what, what is refused, and how files move."""

import base64
import gzip
import hashlib
import hmac
import json
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from nats_client import Nats  # noqa: E402
from services import ROOT, Client, Services, binary  # noqa: E402

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


@pytest.fixture(scope="module")
def world():
    if not FASHION.exists():
        pytest.skip("SKIP: the package dataset-fashion-mnist is not installed")
    names = ["registry", "scheduler", "payments", "marketplace", "gateway"]
    for name in names:
        try:
            binary(f"cyxwiz-{name}")
        except FileNotFoundError as missing:
            pytest.skip(f"SKIP: {missing}")
    with World(*names) as running:
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
    return Contract(Client(world.url).call("GET", "/api/v1/openapi.json").json)


class Contract:
    """Checks answers against the served OpenAPI document."""

    def __init__(self, document):
        self.document = document

    def check(self, answer, method, path):
        """`path` as the document spells it, "/jobs/{id}"; the status and the body must be in it."""
        operation = self.document["paths"][path][method.lower()]
        response = operation["responses"].get(str(answer.status))
        assert response is not None, f"{method} {path}: the contract knows no {answer.status}: {answer.body[:300]}"
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        kind = (answer.headers.get("Content-Type") or "").split(";")[0]
        content = response.get("content")
        if content is None:
            assert answer.body == b""
            return answer
        assert kind in content, f"{method} {path}: {kind} is not in the contract"
        if kind.endswith("json"):
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json)
        return answer

    def problem(self, answer, status, name=None):
        assert answer.status == status, answer.body
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        schema = {"$ref": "#/components/schemas/Problem", "components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json)
        assert answer.json["status"] == status
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]
        if name:
            assert answer.json["type"] == f"urn:cyxwiz:problem:{name}"
        return answer.json


def example(example_name="fashion-cnn", **changes):
    return json.loads((ROOT / f"docs/examples/{example_name}.json").read_text()) | changes


def submit(client, **changes):
    answer = client.call("POST", "/api/v1/jobs", example(**changes))
    assert answer.status == 201, answer.body
    return answer.json["id"]


def grant_for(world, job_id, rights="rw", seconds=600, key=None):
    payload = json.dumps({"job": job_id, "node": str(uuid.UUID(int=7)), "token": 1,
                          "exp": int(time.time()) + seconds, "rights": rights}).encode()
    signature = hmac.digest(bytes.fromhex(key or world.grant_key), payload, "sha256")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, signature))


# ---- who asks -----------------------------------------------------------------------------------


def test_gateway__signing_in_gives_a_cookie_that_scripts_cannot_read(world, contract):
    client = Client(world.url)
    answer = contract.check(client.sign_in(world.ADMIN.upper(), world.password), "post", "/session")
    assert answer.json["account"]["email"] == world.ADMIN
    assert answer.json["account"]["role"] == "admin"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    again = contract.check(client.call("GET", "/api/v1/session"), "get", "/session")
    assert again.json["csrf_token"] == answer.json["csrf_token"]
    assert world.password not in world.log("gateway")


def test_gateway__a_wrong_password_and_an_unknown_address_look_alike(world, contract):
    client = Client(world.url)
    wrong = contract.problem(client.sign_in(world.ADMIN, "not the password"), 401, "unauthenticated")
    unknown = contract.problem(client.sign_in("nobody@example.org", "not the password"), 401, "unauthenticated")
    assert wrong["detail"] == unknown["detail"]
    assert not client.cookie


def test_gateway__nobody_gets_401_and_is_told_how(world, contract):
    nobody = Client(world.url)
    for path in ("/session", "/jobs", "/nodes", "/datasets", "/account/balance", "/models", "/api-keys", "/ws"):
        answer = nobody.call("GET", f"/api/v1{path}")
        contract.problem(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for token in ("cyx_" + "A" * 43, "cyx_short", "x.y", "cyx_" + "A" * 5000):
        contract.problem(Client(world.url, token).call("GET", "/api/v1/jobs"), 401)
    basic = nobody.call("GET", "/api/v1/jobs", headers={"Authorization": "Basic YTpi"})
    contract.problem(basic, 401)
    contract.problem(nobody.call("GET", "/api/v1/jobs", headers={"Cookie": "cyx_session=forged"}), 401)
    in_url = nobody.call("GET", "/api/v1/jobs?access_token=cyx_" + "A" * 43)
    contract.problem(in_url, 400, "invalid")


def test_gateway__a_cookie_alone_changes_nothing(world, user, contract):
    thief = Client(world.url)
    for csrf in (None, "0" * 64):
        headers = {"Cookie": user.cookie} | ({"X-CSRF-Token": csrf} if csrf else {})
        contract.problem(thief.call("POST", "/api/v1/jobs", example(), headers=headers), 403, "denied")
        contract.problem(thief.call("DELETE", "/api/v1/session", headers=headers), 403, "denied")
    other_site = {"Origin": "https://evil.example"}
    answer = thief.call("POST", "/api/v1/session", {"email": world.ADMIN, "password": world.password},
                        headers=other_site)
    contract.problem(answer, 403, "denied")
    assert user.call("GET", "/api/v1/session").status == 200


def test_gateway__signing_out_ends_the_session(world, contract):
    client = Client(world.url)
    client.sign_in(world.ADMIN, world.password)
    cookie = client.cookie
    contract.check(client.call("DELETE", "/api/v1/session"), "delete", "/session")
    assert Client(world.url).call("GET", "/api/v1/session", headers={"Cookie": cookie}).status == 401


def test_gateway__an_api_key_is_shown_once_and_dies_at_once(world, user, contract):
    made = contract.check(user.call("POST", "/api/v1/api-keys", {"name": "laptop"}), "post", "/api-keys").json
    client = Client(world.url, made["key"])
    assert contract.check(client.call("GET", "/api/v1/session"), "get", "/session").json["csrf_token"] is None
    listed = contract.check(user.call("GET", "/api/v1/api-keys"), "get", "/api-keys")
    assert made["key"].encode() not in listed.body
    mine = next(key for key in listed.json["api_keys"] if key["id"] == made["id"])
    assert made["key"].startswith(mine["prefix"]) and mine["last_used_at"]
    stored = world.sql("select string_agg(key_hash, ' ') from gateway.api_key")
    assert made["key"] not in stored and hashlib.sha256(made["key"].encode()).hexdigest() in stored
    path = f"/api/v1/api-keys/{made['id']}"
    contract.check(user.call("DELETE", path), "delete", "/api-keys/{id}")
    contract.problem(client.call("GET", "/api/v1/session"), 401)
    contract.problem(user.call("DELETE", path), 404, "not-found")
    contract.problem(user.call("POST", "/api/v1/api-keys", {"name": ""}), 422, "invalid")
    unknown_key = contract.problem(user.call("POST", "/api/v1/api-keys", {"name": "a", "scopes": []}), 422)
    assert unknown_key["pointer"] == "/scopes"


# ---- jobs ---------------------------------------------------------------------------------------


def broken(**at):
    spec = example()
    for pointer, value in at.items():
        place, *path = spec, *pointer.split("__")
        path = [int(step) if step.isdigit() else step for step in path]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    return json.dumps(spec).encode()


JSON_TYPE = {"Content-Type": "application/json"}
BAD_INPUT = {
    "broken JSON": (b'{"name": "x",\n  "model": [}', JSON_TYPE, 400, None, "line 2, column"),
    "nothing": (b"", JSON_TYPE, 400, None, None),
    "text behind JSON": (b"{} {}", JSON_TYPE, 400, None, "line 1"),
    "a key twice": (b'{"name": "a", "name": "b"}', JSON_TYPE, 400, None, "line 1"),
    "a NUL": (b'{"name": "a\\u0000b"}', JSON_TYPE, 400, None, None),
    "a list": (b"[]", JSON_TYPE, 422, None, None),
    "another type": (broken(), {"Content-Type": "text/plain"}, 415, None, None),
    "no type": (broken(), {"Content-Type": ""}, 415, None, None),
    "an unknown key": (broken(modle={}), JSON_TYPE, 422, "/modle", None),
    "a wrong type": (broken(epochs="three"), JSON_TYPE, 422, "/epochs", None),
    "no such data set": (broken(data__dataset="imagenet"), JSON_TYPE, 422, "/data/dataset", None),
    "a data set that is not here": (broken(data__dataset="mnist"), JSON_TYPE, 422, "/data/dataset",
                                    "cyxwiz data fetch mnist"),
    "data of one's own machine": (broken(data__dataset={"format": "image-folder", "train": "photos"}), JSON_TYPE, 422,
                                  "/data/dataset", "train with `cyxwiz train`; the platform has: fashion-mnist, mnist"),
    "shapes that do not fit": (broken(model__layers__7={"type": "Linear", "in_features": 1600, "out_features": 128}),
                               JSON_TYPE, 422, "/model/layers/7", "3136"),
    "too many epochs": (broken(epochs=10**9), JSON_TYPE, 422, "/epochs", None),
    "a bad key for idempotency": (broken(), JSON_TYPE | {"Idempotency-Key": "a b"}, 422, None, "Idempotency-Key"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_gateway__bad_input_is_refused_with_its_place(world, api, contract, name):
    raw, headers, status, pointer, words = BAD_INPUT[name]
    before = world.sql("select count(*) from scheduler.job")
    problem = contract.problem(api.call("POST", "/api/v1/jobs", raw=raw, headers=headers), status)
    assert problem.get("pointer") == pointer, problem
    assert not words or words in problem["detail"], problem
    assert world.sql("select count(*) from scheduler.job") == before  # nothing half done


def test_gateway__fifty_megabytes_are_refused_unread(world, api, contract):
    """By Content-Length at once; without one, as soon as it is too much."""
    host, port = world.url[7:].split(":")
    started = time.monotonic()
    head = (f"POST /api/v1/jobs HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {api.token}\r\n"
            "Content-Type: application/json\r\n")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(f"{head}Content-Length: {50 << 20}\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(50):
                client.sendall(chunk)
        except OSError:
            pass  # it stopped listening
        try:
            assert client.recv(4096).startswith(b"HTTP/1.1 413")
        except ConnectionResetError:
            pass
    assert time.monotonic() - started < 10
    assert api.call("GET", "/api/v1/session").status == 200


def test_gateway__a_job_is_submitted_once_shown_listed_and_cancelled(world, api, stranger, contract):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    made = contract.check(api.call("POST", "/api/v1/jobs", example(name="once"), headers=key), "post", "/jobs")
    assert made.status == 201
    job_id = made.json["id"]
    assert made.headers["Location"] == f"/api/v1/jobs/{job_id}"
    again = contract.check(api.call("POST", "/api/v1/jobs", example(name="once"), headers=key), "post", "/jobs")
    assert (again.status, again.json["id"]) == (200, job_id)
    other = api.call("POST", "/api/v1/jobs", example(name="other"), headers=key)
    contract.problem(other, 409, "conflict")

    shown = contract.check(api.call("GET", f"/api/v1/jobs/{job_id}"), "get", "/jobs/{id}").json
    assert shown["state"] == "queued" and [t["to"] for t in shown["transitions"]] == ["queued"]
    assert shown["spec"]["model"] == example()["model"]
    listed = contract.check(api.call("GET", "/api/v1/jobs?limit=1"), "get", "/jobs").json
    assert listed["jobs"][0]["id"] == job_id
    queued = contract.check(api.call("GET", "/api/v1/jobs?state=queued"), "get", "/jobs").json
    assert job_id in [job["id"] for job in queued["jobs"]]

    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/metrics"), ("GET", "/logs"), ("GET", "/model"),
                         ("GET", "/events")):
        contract.problem(stranger.call(method, f"/api/v1/jobs/{job_id}{path}"), 404, "not-found")
    assert job_id not in stranger.call("GET", "/api/v1/jobs").body.decode()
    contract.problem(api.call("GET", f"/api/v1/jobs/{job_id}/model"), 409, "conflict")

    gone = contract.check(api.call("POST", f"/api/v1/jobs/{job_id}/cancel"), "post", "/jobs/{id}/cancel").json
    assert (gone["outcome"], gone["job"]["state"]) == ("cancelled", "cancelled")
    twice = contract.check(api.call("POST", f"/api/v1/jobs/{job_id}/cancel"), "post", "/jobs/{id}/cancel").json
    assert twice["outcome"] == "already-ended"


def test_gateway__paths_and_queries_that_make_no_sense(world, api, contract):
    contract.problem(api.call("GET", "/api/v1/jobs/1"), 404, "not-found")
    contract.problem(api.call("GET", f"/api/v1/jobs/{uuid.uuid4()}"), 404, "not-found")
    contract.problem(api.call("GET", "/api/v1/nothing"), 404, "not-found")
    contract.problem(api.call("DELETE", "/api/v1/jobs"), 405)
    for query in ("limit=0", "limit=201", "limit=ten", "state=asleep", "cursor=" + "x" * 300):
        contract.problem(api.call("GET", f"/api/v1/jobs?{query}"), 422, "invalid")
    for query in ("cursor=-1", "limit=10001"):
        contract.problem(api.call("GET", f"/api/v1/jobs/{uuid.uuid4()}/metrics?{query}"), 422, "invalid")


def test_gateway__validate_tells_shapes_and_parameters(api, contract):
    answer = contract.check(api.call("POST", "/api/v1/jobs/validate", example()), "post", "/jobs/validate").json
    shapes = [layer["output_shape"] for layer in answer["layers"]]
    assert shapes[0] == [32, 28, 28] and shapes[6] == [3136] and shapes[-1] == [10]
    assert [layer["name"] for layer in answer["layers"]][0] == "conv1"
    assert answer["layers"][0]["parameters"] == 32 * 9 + 32
    assert answer["parameters"] == sum(layer["parameters"] for layer in answer["layers"])
    assert answer["training_flops_per_sample"] > 0 and answer["training_bytes"] > 4 * answer["parameters"]
    problem = contract.problem(api.call("POST", "/api/v1/jobs/validate", example(epochs=0)), 422)
    assert problem["pointer"] == "/epochs"


def test_gateway__a_quote_stores_nothing_and_says_what_is_missing(api, contract):
    before = api.call("GET", "/api/v1/jobs").json["jobs"]
    quote = contract.check(api.call("POST", "/api/v1/jobs/quote", example()), "post", "/jobs/quote").json
    assert quote["nodes"] == {"online": 0, "fit": 0, "free": 0, "measured": 0}
    assert quote["run_seconds"] is None and quote["price"] is None and quote["within_budget"] is None
    assert quote["total_flops"] > 0
    assert quote["pending"]["code"] == "no-node-online"
    bad = contract.problem(api.call("POST", "/api/v1/jobs/quote", example(resources={"labels": ["a b"]})), 422)
    assert bad["pointer"] == "/resources/labels/0"
    assert api.call("GET", "/api/v1/jobs").json["jobs"] == before


def test_gateway__jobs_wait_for_one_another_and_come_in_arrays(api, contract):
    first = submit(api)
    answer = api.call("POST", "/api/v1/jobs", example(schedule={"after": [first], "array": 2}))
    job = contract.check(answer, "post", "/jobs").json
    assert job["waits_for"] == 1 and job["array"]["count"] == 2
    page = contract.check(api.call("GET", f"/api/v1/jobs?array={job['array']['id']}"), "get", "/jobs").json
    assert [each["array"]["index"] for each in page["jobs"]] == [1, 0]
    foreign = example(schedule={"after": ["01935b1e-0000-7000-8000-000000000001"]})
    assert contract.problem(api.call("POST", "/api/v1/jobs", foreign), 422)["pointer"] == "/schedule/after/0"
    answer = contract.check(api.call("POST", f"/api/v1/jobs/{first}/cancel"), "post", "/jobs/{id}/cancel")
    assert answer.json["message"] == "it was waiting; it will not run"


def test_gateway__quotas_are_shown_and_set_by_administrators(api, stranger, contract):
    quota = contract.check(stranger.call("GET", "/api/v1/account/quota"), "get", "/account/quota").json
    path = f"/api/v1/accounts/{quota['account_id']}/quota"
    contract.problem(stranger.call("PUT", path, {"queued_jobs": 5}), 403)
    assert contract.problem(api.call("PUT", path, {"queued_jobs": -5}), 422)["pointer"] == "/queued_jobs"
    answer = contract.check(api.call("PUT", path, {"queued_jobs": 0}), "put", "/accounts/{id}/quota")
    assert answer.json["queued_jobs"]["limit"] == 0
    refused = contract.problem(stranger.call("POST", "/api/v1/jobs", example()), 429)
    assert "0 jobs queued" in refused["detail"]
    answer = contract.check(api.call("PUT", path, {"queued_jobs": None}), "put", "/accounts/{id}/quota")
    assert answer.json["queued_jobs"]["limit"] == 10000


def test_gateway__catalogue_examples_nodes_and_account(world, api, contract):
    sets = contract.check(api.call("GET", "/api/v1/datasets"), "get", "/datasets").json["datasets"]
    by_name = {entry["name"]: entry for entry in sets}
    assert by_name["fashion-mnist"]["available"] and by_name["fashion-mnist"]["shape"] == [1, 28, 28]
    assert not by_name["mnist"]["available"] and "fetch mnist" in by_name["mnist"]["remedy"]
    examples = contract.check(api.call("GET", "/api/v1/examples"), "get", "/examples").json["examples"]
    assert {"fashion-cnn", "mnist-cnn", "mnist-mlp"} <= {entry["name"] for entry in examples}
    contract.check(api.call("GET", "/api/v1/nodes"), "get", "/nodes")
    contract.problem(api.call("GET", f"/api/v1/nodes/{uuid.uuid4()}"), 404)
    contract.check(api.call("GET", "/api/v1/models"), "get", "/models")
    contract.problem(api.call("GET", f"/api/v1/models/{uuid.uuid4()}"), 404)
    end = time.monotonic() + 15  # the account's event is on its way to payments
    while (balance := api.call("GET", "/api/v1/account/balance")).status == 404 and time.monotonic() < end:
        pass
    assert contract.check(balance, "get", "/account/balance").json["available"].endswith(" CYX")
    contract.check(api.call("GET", "/api/v1/account/statement"), "get", "/account/statement")


# ---- artifacts ----------------------------------------------------------------------------------


def put(client, data, name=None, **headers):
    digest = name or hashlib.sha256(data).hexdigest()
    return client.call("PUT", f"/api/v1/artifacts/{digest}", raw=data,
                       headers={"Content-Type": "application/octet-stream"} | headers)


def test_gateway__an_artifact_goes_up_and_comes_down_in_parts(world, api, stranger, contract):
    job_id = submit(api, name="artifact")
    worker = Client(world.url, grant_for(world, job_id))
    data = os.urandom(300_000)
    digest = hashlib.sha256(data).hexdigest()
    path = f"/api/v1/artifacts/{digest}"
    contract.problem(worker.call("GET", path), 404, "not-found")
    made = contract.check(put(worker, data), "put", "/artifacts/{sha256}")
    assert (made.status, made.json) == (201, {"sha256": digest, "bytes": len(data), "complete": True})
    head = worker.call("HEAD", path)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(data)))
    whole = contract.check(worker.call("GET", path), "get", "/artifacts/{sha256}")
    assert whole.body == data and whole.headers["ETag"] == f'"{digest}"'
    part = contract.check(worker.call("GET", path, headers={"Range": "bytes=1000-1999"}), "get", "/artifacts/{sha256}")
    assert part.status == 206 and part.body == data[1000:2000]
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    beyond = worker.call("GET", path, headers={"Range": "bytes=300000-"})
    contract.problem(beyond, 416)
    assert worker.call("GET", path, headers={"If-None-Match": f'"{digest}"'}).status == 304
    assert contract.check(put(worker, data), "put", "/artifacts/{sha256}").status == 200

    assert api.call("GET", path).body == data  # its job's owner
    contract.problem(stranger.call("GET", path), 404, "not-found")
    contract.problem(Client(world.url).call("GET", path), 401)


def test_gateway__an_upload_that_broke_off_is_continued(world, api, contract):
    worker = Client(world.url, grant_for(world, submit(api, name="resume")))
    data = os.urandom(5_000_000)
    digest, total = hashlib.sha256(data).hexdigest(), len(data)
    first = put(worker, data[:1_000_000], digest, **{"Content-Range": f"bytes 0-999999/{total}"})
    assert contract.check(first, "put", "/artifacts/{sha256}").status == 202
    assert first.headers["Upload-Offset"] == "1000000" and not first.json["complete"]
    head = worker.call("HEAD", f"/api/v1/artifacts/{digest}")
    assert (head.status, head.headers["Upload-Offset"]) == (404, "1000000")

    host, port = world.url[7:].split(":")  # and now one that breaks in the middle of its body
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall((f"PUT /api/v1/artifacts/{digest} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                        f"Authorization: Bearer {worker.token}\r\nContent-Range: bytes 1000000-4999999/{total}\r\n"
                        "Content-Length: 4000000\r\n\r\n").encode() + data[1_000_000:4_000_000])
    end, offset = time.monotonic() + 10, 0
    while offset <= 1_000_000 and time.monotonic() < end:
        offset = int(worker.call("HEAD", f"/api/v1/artifacts/{digest}").headers["Upload-Offset"])
    assert 1_000_000 < offset <= 4_000_000
    wrong = put(worker, data[4_500_000:], digest, **{"Content-Range": f"bytes 4500000-4999999/{total}"})
    contract.problem(wrong, 409, "conflict")
    deadline = time.monotonic() + 10
    while True:  # the broken connection may hold the partial file a moment longer
        offset = int(worker.call("HEAD", f"/api/v1/artifacts/{digest}").headers["Upload-Offset"])
        last = put(worker, data[offset:], digest, **{"Content-Range": f"bytes {offset}-4999999/{total}"})
        if last.status != 409 or time.monotonic() > deadline:
            break
    assert last.status == 201, last.body
    assert worker.call("GET", f"/api/v1/artifacts/{digest}").body == data


def test_gateway__bytes_that_are_not_what_they_claim_are_forgotten(world, api, contract):
    worker = Client(world.url, grant_for(world, submit(api, name="liar")))
    digest = hashlib.sha256(b"the real thing").hexdigest()
    contract.problem(put(worker, b"something else", digest), 422, "corrupt")
    head = worker.call("HEAD", f"/api/v1/artifacts/{digest}")
    assert (head.status, head.headers["Upload-Offset"]) == (404, "0")
    contract.problem(put(worker, b"x", "not-a-hash"), 422, "invalid")
    for bad in ("bytes 5-4/10", "bytes 0-9/5", "nonsense", "bytes 0-0/2"):
        contract.problem(put(worker, b"xy", digest, **{"Content-Range": bad}), 400, "invalid")
    contract.problem(put(worker, b"xy", digest, **{"Content-Range": f"bytes 0-1/{(4 << 30) + 1}"}), 413, "too-large")


def test_gateway__who_has_not_shown_the_bytes_cannot_read_them(world, api, contract):
    owner = Client(world.url, grant_for(world, submit(api, name="owner")))
    other = Client(world.url, grant_for(world, submit(api, name="other")))
    data = os.urandom(50_000)
    digest = hashlib.sha256(data).hexdigest()
    path = f"/api/v1/artifacts/{digest}"
    assert put(owner, data).status == 201
    contract.problem(other.call("GET", path), 404)
    assert other.call("HEAD", path).headers["Upload-Offset"] == "0"
    contract.problem(put(other, b"I have it, believe me", digest), 422, "corrupt")
    contract.problem(put(other, data[-1:], digest, **{"Content-Range": "bytes 49999-49999/50000"}), 409)
    contract.problem(other.call("GET", path), 404)
    assert put(other, data).status == 200  # the same model of another job
    assert other.call("GET", path).body == data


def test_gateway__grants_are_checked(world, api, contract):
    job_id = submit(api, name="grants")
    data = b"some bytes"
    reader = Client(world.url, grant_for(world, job_id, rights="r"))
    contract.problem(put(reader, data), 403, "denied")
    for token in (grant_for(world, job_id, seconds=-1), grant_for(world, job_id, key="00" * 32),
                  grant_for(world, job_id)[:-2] + "xx"):
        contract.problem(put(Client(world.url, token), data), 401, "unauthenticated")
    contract.problem(put(api, data), 403, "denied")
    contract.problem(Client(world.url, grant_for(world, job_id)).call("GET", "/api/v1/jobs"), 401)


def test_gateway__data_sets_are_there_by_their_hash(world, api):
    worker = Client(world.url, grant_for(world, submit(api, name="data")))
    data = (world.data / "fashion-mnist" / "t10k-labels-idx1-ubyte").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert worker.call("GET", f"/api/v1/artifacts/{digest}").body == data
    assert api.call("GET", f"/api/v1/artifacts/{digest}").status == 200
    assert put(worker, data).status == 200


# ---- live ---------------------------------------------------------------------------------------


def tell(nats, job_id, step, kind="metrics"):
    nats.publish(f"cyx.job.{job_id}.{kind}",
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


def test_gateway__kept_metrics_and_logs_are_given_in_pages(world, api, nats, contract):
    job_id = submit(api, name="kept")
    for step in range(5):
        tell(nats, job_id, step)
    nats.publish(f"cyx.job.{job_id}.metrics", b"not JSON")
    tell(nats, job_id, 1, "log")
    flushed(nats)
    path = f"/api/v1/jobs/{job_id}/metrics"
    whole = contract.check(api.call("GET", path), "get", "/jobs/{id}/metrics").json
    assert [point["step"] for point in whole["points"]] == [0, 1, 2, 3, 4] and whole["next_cursor"] is None
    page = contract.check(api.call("GET", path + "?limit=2"), "get", "/jobs/{id}/metrics").json
    assert [point["step"] for point in page["points"]] == [0, 1]
    rest = api.call("GET", f"{path}?cursor={page['next_cursor']}").json
    assert [point["step"] for point in rest["points"]] == [2, 3, 4]
    logs = contract.check(api.call("GET", f"/api/v1/jobs/{job_id}/logs"), "get", "/jobs/{id}/logs").json
    assert [line["message"] for line in logs["lines"]] == ["line 1"]


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


def test_gateway__server_sent_events_resume_behind_the_last_one(world, api, nats, contract):
    job_id = submit(api, name="sse")
    listener = Listener(world, api, job_id)
    assert listener.status == 200
    assert listener.next()[0] == ""  # subscribed
    tell(nats, job_id, 1)
    tell(nats, job_id, 2)
    events = [listener.next_event("metrics") for _ in range(2)]
    assert [(event, data["step"]) for event, _, data in events] == [("metrics", 1), ("metrics", 2)]
    listener.close()
    tell(nats, job_id, 3)
    tell(nats, job_id, 4, "log")
    flushed(nats)
    again = Listener(world, api, job_id, events[0][1])
    got = [again.next_event("metrics", "log") for _ in range(3)]
    assert [(event, data.get("step", data.get("message"))) for event, _, data in got] == [
        ("metrics", 2), ("metrics", 3), ("log", "line 4")]
    tell(nats, job_id, 5)
    assert again.next_event("metrics")[2]["step"] == 5
    again.close()
    whole = Listener(world, api, job_id, 0)
    kinds = [whole.next_event() for _ in range(6)]
    assert sorted(data["step"] for event, _, data in kinds if event == "metrics") == [1, 2, 3, 5]
    assert "state" in [event for event, _, _ in kinds]
    whole.close()
    answer = api.call("GET", f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
    contract.problem(answer, 422, "invalid")


def test_gateway__the_event_stream_of_a_job_that_has_ended_ends(world, api, nats):
    job_id = submit(api, name="ended")
    tell(nats, job_id, 1)
    flushed(nats)
    assert api.call("POST", f"/api/v1/jobs/{job_id}/cancel").json["job"]["state"] == "cancelled"
    fresh = Listener(world, api, job_id)
    assert (fresh.status, fresh.next()[0]) == (200, "")  # subscribed
    fresh.to_end()
    fresh.close()
    whole = Listener(world, api, job_id, 0)
    assert whole.next_event("metrics")[2]["step"] == 1
    whole.to_end()
    whole.close()


# ---- a WebSocket client of a page: the standard library has none ---------------------------------


class WebSocket:
    def __init__(self, world, headers):
        host, port = world.url[7:].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=15)
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


def message_checker(contract):
    schema = {"$ref": "#/components/schemas/WsServerMessage", "components": contract.document["components"]}
    return jsonschema.Draft202012Validator(schema).validate


def test_gateway__websocket_replays_from_a_cursor_and_goes_on_live(world, api, nats, contract):
    check = message_checker(contract)
    job_id = submit(api, name="ws")
    for step in range(1000):
        tell(nats, job_id, step)
    flushed(nats)
    key = {"Authorization": f"Bearer {api.token}"}
    client, live = WebSocket(world, key), WebSocket(world, key)
    assert client.status == 101
    live.send({"type": "subscribe", "id": "live", "job_id": job_id})
    assert live.receive() == {"type": "subscribed", "id": "live"}
    stop = threading.Event()

    def chatter():  # while the replay runs
        with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as other:
            step = 1000
            while not stop.is_set() or step < 1200:
                tell(other, job_id, step)
                step += 1
                if step >= 4000:
                    break

    thread = threading.Thread(target=chatter)
    thread.start()
    client.send({"type": "subscribe", "id": "1", "job_id": job_id, "cursor": 0})
    first = client.receive()
    check(first)
    assert first == {"type": "subscribed", "id": "1"}
    steps, cursors = [], []
    while len(steps) < 1200:
        message = client.receive()
        if len(steps) < 20:
            check(message)
        assert (message["type"], message["id"], message["job_id"]) == ("event", "1", job_id)
        if message["event"] == "metrics":
            steps.append(message["data"]["step"])
        cursors.append(message["cursor"])
    stop.set()
    thread.join()
    assert steps == list(range(1200))  # no gap, no repeat, in order
    assert cursors == sorted(set(cursors))
    first_live = live.receive_metrics()
    assert first_live["id"] == "live" and first_live["data"]["step"] >= 1000
    client.send({"type": "ping"})
    while (message := client.receive())["type"] == "event":
        pass
    assert message == {"type": "pong"}
    client.send({"type": "unsubscribe", "id": "1"})
    while (message := client.receive())["type"] == "event":
        pass
    assert message == {"type": "unsubscribed", "id": "1"}
    client.close()
    live.close()


def test_gateway__one_tail_serves_all_who_watch_a_job(world, api, nats):
    job_id = submit(api, name="shared")
    clients = [WebSocket(world, {"Authorization": f"Bearer {api.token}"}) for _ in range(8)]
    for client in clients:
        client.send({"type": "subscribe", "id": "a", "job_id": job_id})
        assert client.receive()["type"] == "subscribed"
    tell(nats, job_id, 42)
    assert [client.receive_metrics()["data"]["step"] for client in clients] == [42] * 8
    metrics = world.metrics("gateway")
    watched = float(next(line for line in metrics.splitlines() if line.startswith("cyx_live_subscriptions ")).split()[1])
    tails = float(next(line for line in metrics.splitlines() if line.startswith("cyx_live_jobs ")).split()[1])
    assert watched >= 8 and tails <= 4
    for client in clients:
        client.close()


def test_gateway__the_jobs_topic_tells_of_own_jobs_alone(world, api, stranger, contract):
    check = message_checker(contract)
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "2", "topic": "jobs"})
    assert client.receive() == {"type": "subscribed", "id": "2"}
    foreign = submit(stranger, name="foreign")
    own = submit(api, name="own")
    seen = client.receive()
    check(seen)
    assert (seen["event"], seen["job_id"], seen["data"]["to"]) == ("state", own, "queued")
    assert seen["data"]["job"]["name"] == "own" and foreign not in json.dumps(seen)
    api.call("POST", f"/api/v1/jobs/{own}/cancel")
    while (seen := client.receive())["data"]["to"] != "cancelled":
        assert seen["job_id"] == own
    client.close()


def test_gateway__websocket_refusals(world, api, user, stranger, contract):
    check = message_checker(contract)
    own = {"Origin": world.url}
    assert WebSocket(world, {}).status == 401
    assert WebSocket(world, {"Cookie": user.cookie}).status == 403
    assert WebSocket(world, {"Cookie": user.cookie, "Origin": "https://evil.example"}).status == 403
    client = WebSocket(world, {"Cookie": stranger.cookie} | own)
    assert client.status == 101
    table = [
        ({"type": "subscribe", "id": "1", "job_id": submit(api, name="mine")}, "not-found", "/job_id"),
        ({"type": "subscribe", "id": "1", "job_id": str(uuid.uuid4())}, "not-found", "/job_id"),
        ({"type": "subscribe", "id": "1", "job_id": "*"}, "invalid", "/job_id"),
        ({"type": "subscribe", "id": "1", "topic": "nodes"}, "invalid", "/topic"),
        ({"type": "subscribe", "id": "x" * 65, "topic": "jobs"}, "invalid", "/id"),
        ({"type": "subscribe", "topic": "jobs"}, "invalid", "/id"),
        ({"type": "unsubscribe", "id": "9"}, "not-found", "/id"),
        ({"type": "dance"}, "invalid", "/type"),
        (b"[]", "invalid", None),
        (b"{", "invalid", None),
    ]
    for message, status, pointer in table:
        client.send(message)
        answer = client.receive()
        check(answer)
        assert answer["type"] == "error", answer
        assert answer["problem"]["type"] == f"urn:cyxwiz:problem:{status}", (message, answer)
        assert answer["problem"].get("pointer") == pointer, (message, answer)
    client.send({"type": "subscribe", "id": "1", "topic": "jobs"})
    assert client.receive()["type"] == "subscribed"
    client.send({"type": "subscribe", "id": "1", "topic": "jobs"})
    assert client.receive()["problem"]["type"].endswith(":conflict")
    client.send(b'"' + b"x" * 5000 + b'"')
    assert client.receive() is None  # too large: closed
    client.close()


def test_gateway__a_reader_that_sleeps_loses_detail_and_is_told(world, api, nats, contract):
    check = message_checker(contract)
    job_id = submit(api, name="sleeper")
    key = {"Authorization": f"Bearer {api.token}"}
    sleeper, awake = WebSocket(world, key), WebSocket(world, key)
    for client in (sleeper, awake):
        client.send({"type": "subscribe", "id": "1", "job_id": job_id})
        assert client.receive()["type"] == "subscribed"
    count = 40_000  # about 12 MB: more than a socket and the queue hold
    seen = []

    def read_all():
        while len(seen) < count:
            message = awake.receive()
            if message["type"] == "event" and message["event"] == "metrics":
                seen.append(message["data"]["step"])
            elif message["type"] == "lost":
                seen.extend([None] * message["count"])

    reader = threading.Thread(target=read_all)
    reader.start()
    for step in range(count):
        tell(nats, job_id, step)
        if step % 500 == 0:
            flushed(nats)  # as fast as the stream takes it
    reader.join(timeout=60)
    assert not reader.is_alive()
    lost, got = 0, 0
    while lost == 0 or got + lost < count:
        message = sleeper.receive()
        if message["type"] == "lost":
            check(message)
            lost += message["count"]
        elif message["event"] == "metrics":
            got += 1
    assert lost > 0 and got + lost >= count
    status = Path(f"/proc/{world.running['gateway'].pid}/status").read_text()
    resident_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    sanitized = "asan" in os.readlink(f"/proc/{world.running['gateway'].pid}/exe")
    assert resident_kib < (800 if sanitized else 300) * 1024  # the 128 MiB of two Argon2id at once included
    sleeper.close()
    awake.close()


# ---- a worker's whole job, by the protocol -------------------------------------------------------


def test_gateway__the_model_of_a_completed_job_is_downloaded(world, api, stranger, contract):
    for client in (api, stranger):  # else they would be offered first
        for other in client.call("GET", "/api/v1/jobs?state=queued&limit=200").json["jobs"]:
            client.call("POST", f"/api/v1/jobs/{other['id']}/cancel")
    node = world.servers.env["CYXWIZ_TEST_NODE_ID"]
    boot = str(uuid.uuid4())
    with Nats(world.servers.env["CYXWIZ_NATS_URL"], node, node, f"_INBOX_{node}") as worker:
        offers = worker.subscribe(f"cyx.node.{node}.offer")
        enrolled = worker.request("cyx.svc.registry.enrol", {
            "node_id": node, "name": "tester", "enrol_token": "enrol", "boot_id": boot, "version": "0.1.0",
            "devices": [{"index": 0, "backend": "cpu", "name": "test", "memory_bytes": 8 << 30, "is_software": False,
                         "threads": 2}],
            "host_memory_bytes": 8 << 30, "cpus": 2, "price_per_hour": "1 CYX"})
        assert "error" not in enrolled, enrolled
        job_id = submit(api, name="the model/of all")
        beat = {"boot_id": boot, "seq": 1, "jobs": [], "cpu_percent": 1.0, "memory_used_bytes": 1,
                "images_per_second": 0.0}
        accepted, deadline = None, time.monotonic() + 60
        while not accepted and time.monotonic() < deadline:
            beat["seq"] += 1
            worker.publish(f"cyx.node.{node}.heartbeat", beat)
            try:
                offer = json.loads(worker.next(offers, 1)[1])
            except TimeoutError:
                continue
            assert offer["job_id"] == job_id
            accepted = worker.request("cyx.svc.scheduler.accept", {"node_id": node, "boot_id": boot, **offer})
        assert accepted and "grant" in accepted, accepted
        model = os.urandom(100_000)
        digest = hashlib.sha256(model).hexdigest()
        assert put(Client(world.url, accepted["grant"]), model).status == 201
        finished = worker.request("cyx.svc.scheduler.finish", {
            "node_id": node, "job_id": job_id, "token": offer["token"], "outcome": "completed",
            "result": {"test_accuracy": 0.9, "test_loss": 0.3, "train_loss": 0.2, "epochs": 3, "steps": 10,
                       "images_per_second": 100.0, "seconds": 1.0, "backend": "cpu", "device": "test"},
            "model": {"sha256": digest, "bytes": len(model)}})
        assert "error" not in finished, finished

    path = f"/api/v1/jobs/{job_id}/model"
    answer = contract.check(api.call("GET", path), "get", "/jobs/{id}/model")
    assert answer.body == model and answer.headers["ETag"] == f'"{digest}"'
    assert answer.headers["Content-Disposition"] == 'attachment; filename="the_model_of_all.safetensors"'
    part = contract.check(api.call("GET", path, headers={"Range": "bytes=-10"}), "get", "/jobs/{id}/model")
    assert part.status == 206 and part.body == model[-10:]
    contract.problem(stranger.call("GET", path), 404)
    node_shown = contract.check(api.call("GET", f"/api/v1/nodes/{node}"), "get", "/nodes/{id}").json
    assert node_shown["name"] == "tester"

    deadline = time.monotonic() + 20  # marketplace and payments hear of it by event
    models, job = [], {}
    while (not models or not job.get("cost")) and time.monotonic() < deadline:
        models = [m for m in api.call("GET", "/api/v1/models").json["models"] if m["job_id"] == job_id]
        job = contract.check(api.call("GET", f"/api/v1/jobs/{job_id}"), "get", "/jobs/{id}").json
    assert job["cost"].endswith(" CYX") and job["escrow"]["state"] in ("settled", "refunded")
    shown = contract.check(api.call("GET", f"/api/v1/models/{models[0]['id']}"), "get", "/models/{id}").json
    assert shown["sha256"] == digest
    down = contract.check(api.call("GET", f"/api/v1/models/{shown['id']}/download"), "get", "/models/{id}/download")
    assert down.body == model
    contract.problem(stranger.call("GET", f"/api/v1/models/{shown['id']}"), 404)


# ---- pages --------------------------------------------------------------------------------------


def test_gateway__pages_are_served_with_a_strict_policy(world):
    browser = Client(world.url)
    for path in ("/", "/jobs/0192", "/index.html"):
        page = browser.call("GET", path)
        assert (page.status, page.body) == (200, PAGE)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
    script = browser.call("GET", "/assets/app-0a1b2c3d.js")
    assert script.body == SCRIPT and "immutable" in script.headers["Cache-Control"]
    assert browser.call("GET", "/assets/no-such.js").status == 404
    assert browser.call("GET", "/../../etc/passwd").status in (400, 404)
    assert browser.call("GET", "/api/v2/jobs").status == 404
    assert browser.call("GET", "/api/v1/session").headers["Cache-Control"] == "no-store"


# ---- when others are away (last: they leave marks) ------------------------------------------------


def test_gateway__without_redis_all_works_and_the_limit_still_holds(world, api, user, contract):
    world.servers.kill("redis")
    try:
        assert user.call("GET", "/api/v1/session").status == 200
        assert api.call("GET", "/api/v1/jobs").status == 200
        submit(api, name="without redis")
        client = Client(world.url)
        answers = [client.sign_in(world.ADMIN, "wrong password").status for _ in range(11)]
        assert answers[0] == 401 and answers[-1] == 429 and set(answers) == {401, 429}
        refused = client.sign_in(world.ADMIN, world.password)
        contract.problem(refused, 429, "rate-limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 61
        made = user.call("POST", "/api/v1/api-keys", {"name": "short"}).json
        key = Client(world.url, made["key"])
        assert key.call("GET", "/api/v1/session").status == 200
        user.call("DELETE", f"/api/v1/api-keys/{made['id']}")
        assert key.call("GET", "/api/v1/session").status == 401
    finally:
        world.servers.start("redis")


def test_gateway__a_service_that_is_away_is_503_and_said_so(world, api, contract):
    world.stop("registry")
    try:
        answer = api.call("GET", "/api/v1/nodes")
        problem = contract.problem(answer, 503, "unavailable")
        assert "registry" in problem["detail"] and "cyx.svc" not in problem["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert api.call("GET", "/api/v1/jobs").status == 200
    finally:
        world.start("registry")


def test_gateway__a_data_set_that_comes_later_is_found_and_a_wrong_one_is_not(world, api, contract):
    digest = hashlib.sha256(b"").hexdigest()
    folder = world.data / "mnist"
    folder.mkdir()
    sizes = {"train-images-idx3-ubyte": 47040016, "train-labels-idx1-ubyte": 60008, "t10k-images-idx3-ubyte": 7840016,
             "t10k-labels-idx1-ubyte": 10008}
    for name, size in sizes.items():
        (folder / name).write_bytes(b"\0" * size)  # the right size, the wrong bytes
    problem = contract.problem(api.call("POST", "/api/v1/jobs", example("mnist-mlp")), 422)
    assert problem["pointer"] == "/data/dataset"
    assert "is not the one of the catalogue" in world.log("gateway")
    wrong = hashlib.sha256(b"\0" * 10008).hexdigest()
    assert not (world.folder / "blob" / "objects" / wrong[:2] / wrong).exists()
    assert digest not in world.log("gateway")
    source = world.data / "fashion-mnist"
    moved = world.data / "away"
    source.rename(moved)
    contract.problem(api.call("POST", "/api/v1/jobs", example()), 422)
    moved.rename(source)
    assert api.call("POST", "/api/v1/jobs", example()).status == 201  # looked for again at once


def test_gateway__without_nats_it_says_so_and_goes_on_when_it_is_back(world, api, nats, contract):
    job_id = submit(api, name="nats away")
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "1", "job_id": job_id, "cursor": 0})
    assert client.receive()["type"] == "subscribed"
    world.servers.kill("nats")
    try:
        answer = api.call("GET", f"/api/v1/jobs/{job_id}")
        contract.problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]
        contract.problem(api.call("GET", f"/api/v1/jobs/{job_id}/metrics"), 503)
        assert api.call("GET", "/api/v1/datasets").status == 200
        other = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
        other.send({"type": "subscribe", "id": "1", "job_id": job_id})
        assert other.receive()["problem"]["type"].endswith(":unavailable")
        other.close()
    finally:
        world.servers.start("nats")
    end = time.monotonic() + 30
    while api.call("GET", f"/api/v1/jobs/{job_id}").status != 200:
        assert time.monotonic() < end
    with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as again:
        step, seen = 1000, None
        client.socket.settimeout(0.5)
        while seen is None and time.monotonic() < end:  # the tail comes back by itself
            tell(again, job_id, step)
            step += 1
            try:
                message = client.receive()
                seen = message["data"].get("step") if message["type"] == "event" else None
            except TimeoutError:
                client.file = client.socket.makefile("rb")
    assert seen is not None and seen >= 1000
    client.close()


def test_gateway__without_postgresql_nobody_is_taken_for_a_stranger(world, api, user, contract):
    fresh = user.call("POST", "/api/v1/api-keys", {"name": "fresh"}).json["key"]
    world.servers.kill("postgres")
    try:
        answer = Client(world.url, fresh).call("GET", "/api/v1/session")
        contract.problem(answer, 503, "unavailable")  # not 401: a client would throw its key away
        assert "SQLSTATE" not in answer.body.decode() and answer.headers["Retry-After"]
        contract.problem(Client(world.url).sign_in("a@example.org", "some password"), 503)
    finally:
        world.servers.start("postgres")
    end = time.monotonic() + 20
    while Client(world.url, fresh).call("GET", "/api/v1/session").status != 200:
        assert time.monotonic() < end


def test_gateway__it_stops_at_once_although_pages_are_open(world, api):
    job_id = submit(api, name="drain")
    client = WebSocket(world, {"Authorization": f"Bearer {api.token}"})
    client.send({"type": "subscribe", "id": "1", "job_id": job_id})
    assert client.receive()["type"] == "subscribed"
    listener = Listener(world, api, job_id)
    started = time.monotonic()
    assert world.stop("gateway") == 0
    assert time.monotonic() - started < 8
    while (message := client.receive()) is not None:  # what the job's submission told before the end
        assert message["type"] == "event"
    client.close()
    listener.close()


def test_gateway__without_a_dashboard_it_says_how_to_build_it(world):
    (world.web / "index.html").unlink()
    world.extra = {"CYXWIZ_PUBLIC_URL": "https://cyxwiz.example"}
    world.start("gateway")
    client = Client(world.url)
    page = client.call("GET", "/")
    assert page.status == 404 and b"make web" in page.body
    assert page.headers["Content-Type"].startswith("text/html")
    signed_in = client.sign_in(world.ADMIN, world.password)
    assert signed_in.status == 201 and "Secure" in signed_in.headers["Set-Cookie"]  # behind TLS
