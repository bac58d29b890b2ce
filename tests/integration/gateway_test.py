"""The gateway before real servers and the real scheduler: who may do what, what is refused, and how files move."""

import hashlib
import html.parser
import json
import os
import re
import socket
import sys
import time
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import (  # noqa: E402, F401
    PAGE, SCRIPT, api, contract, example, grant_for, stranger, submit, user, world,
)
from nats_client import Nats  # noqa: E402
from services import ROOT, Client  # noqa: E402

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
                                  "/data/dataset", "named by \"upload\"; the platform has: fashion-mnist, mnist"),
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


def pages(client, path, member, query, between=None):
    """All items of a list, in pages of two; `between` is called with each page's items before the next is asked for."""
    seen, cursor = [], ""
    while cursor is not None:
        answer = client.call("GET", f"/api/v1/{path}?{query}&limit=2{f'&cursor={cursor}' if cursor else ''}")
        assert answer.status == 200, answer.body
        seen += answer.json[member]
        cursor = answer.json["next_cursor"]
        if between and cursor:
            between(answer.json[member])
    return seen


def test_gateway__jobs_are_listed_in_several_orders(world, stranger, contract):
    """Of an account of its own, that has no others."""
    names = ["bravo", "alpha", "größe", "bravo", "charlie", "alpha", "bravo"]
    ids = [submit(stranger, name=name) for name in names]
    jobs = dict(zip(ids, names))

    def listed(query, between=None):
        return [job["id"] for job in pages(stranger, "jobs", "jobs", query, between) if job["id"] in jobs]

    def by(key, reverse=False):
        return sorted(ids, key=key, reverse=reverse)

    rows = ",".join(f"('{name}')" for name in set(names))
    rank = {name: place for place, name in enumerate(world.sql(f"select n from (values {rows}) v(n) order by n").splitlines())}
    assert listed("") == listed("sort=-created_at") == ids[::-1] and listed("sort=created_at") == ids
    assert listed("sort=name") == by(lambda each: (rank[jobs[each]], each))
    assert listed("sort=-name") == by(lambda each: (rank[jobs[each]], each), True)

    # A row that changes its place, or is told again by nobody, takes no other with it.
    def cancel(page):
        assert stranger.call("POST", f"/api/v1/jobs/{page[-1]['id']}/cancel").status == 200

    seen = listed("sort=-state", lambda page: page[-1]["state"] == "queued" and cancel(page))
    assert set(seen) == set(ids), seen
    cancelled = [each for each in ids if stranger.call("GET", f"/api/v1/jobs/{each}").json["state"] == "cancelled"]
    assert len(cancelled) >= 3
    queued = [each for each in ids if each not in cancelled]
    assert listed("sort=state") == cancelled + queued and listed("sort=-state") == queued[::-1] + cancelled[::-1]
    assert listed("sort=-name&state=queued") == [each for each in listed("sort=-name") if each in queued]

    first = stranger.call("GET", "/api/v1/jobs?sort=name&limit=1").json["next_cursor"]
    for query in ("sort=price", f"sort=-name&cursor={first}", f"cursor={first}", f"sort=name&cursor={first[:-1]}",
                  f"sort=name&cursor={ids[0]}"):
        contract.problem(stranger.call("GET", f"/api/v1/jobs?{query}"), 422, "invalid")
    for path in ("models", "nodes"):
        assert stranger.call("GET", f"/api/v1/{path}?sort=-name").status == 200
        contract.problem(stranger.call("GET", f"/api/v1/{path}?sort=-state"), 422, "invalid")


def test_gateway__nodes_and_models_are_listed_in_several_orders(world, stranger):
    account = stranger.call("GET", "/api/v1/session").json["account"]["id"]
    device = {"index": 0, "backend": "cpu", "name": "x", "memory_bytes": 1, "is_software": False, "threads": 1}
    for i, name in enumerate(["b", "a", "c", "b", "a"]):
        place = f"00000000-0000-7000-8000-{i:012}"
        world.sql("insert into registry.node (id, boot_id, name, version, status, devices, host_memory_bytes, cpus, "
                  f"price_per_hour) values ('{place}', '{place}', '{name}', '1', 'offline', '{json.dumps([device])}', 1, 1, 1)")
        world.sql("insert into marketplace.model (id, account_id, name, version, job_id, sha256, bytes, dataset, spec, metrics) "
                  f"values ('{place}', '{account}', '{name}', {i + 1}, '{place}', '{'ab' * 32}', 1, 'mnist', '{json.dumps(example())}', "
                  """'{"test_accuracy": 1, "test_loss": 0}')""")
    try:
        for member in ("nodes", "models"):
            def listed(sort):
                return [int(each["id"][-1]) for each in pages(stranger, member, member, f"sort={sort}")
                        if each["id"].startswith("00000000")]

            assert listed("name") == [1, 4, 0, 3, 2] and listed("-name") == [2, 3, 0, 4, 1]
            assert listed("enrolled_at" if member == "nodes" else "created_at") == [0, 1, 2, 3, 4]
            assert listed("-enrolled_at" if member == "nodes" else "-created_at") == [4, 3, 2, 1, 0]
    finally:
        world.sql("delete from registry.node where id::text like '00000000%'")
        world.sql("delete from marketplace.model where id::text like '00000000%'")


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
    assert quote["nodes"] == {"online": 0, "fit": 0, "free": 0, "measured": 0, "benchmarked": 0}
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


# ---- a worker's whole job, by the protocol -------------------------------------------------------


def test_gateway__the_model_of_a_completed_job_is_downloaded(world, api, stranger, contract):
    for client in (api, stranger):  # else they would be offered first
        for other in client.call("GET", "/api/v1/jobs?state=queued&limit=200").json["jobs"]:
            client.call("POST", f"/api/v1/jobs/{other['id']}/cancel")
    node = world.servers.env["CYXWIZ_TEST_NODE_ID"]
    boot = str(uuid.uuid4())
    with Nats(world.servers.env["CYXWIZ_NATS_URL"], node, node, f"_INBOX_{node}") as worker:
        offers = worker.subscribe(f"cyx.node.{node}.offer")
        enrolled = worker.request(f"cyx.svc.registry.enrol.{node}", {
            "node_id": node, "name": "tester", "boot_id": boot, "version": "0.1.0",
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
            accepted = worker.request(f"cyx.svc.scheduler.accept.{node}", {"node_id": node, "boot_id": boot, **offer})
        assert accepted and "grant" in accepted, accepted
        model = os.urandom(100_000)
        digest = hashlib.sha256(model).hexdigest()
        assert put(Client(world.url, accepted["grant"]), model).status == 201
        finished = worker.request(f"cyx.svc.scheduler.finish.{node}", {
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


# ---- the contract -------------------------------------------------------------------------------


def test_gateway__every_route_is_in_the_contract_and_nothing_else(contract):
    table = (ROOT / "services/gateway/main.c").read_text()
    routes = {(method.lower(), path) for method, path in re.findall(r'\{"([A-Z]+)", V1 "([^"]+)"', table)}
    told = {(method, path) for path, item in contract.document["paths"].items() for method in item if method != "parameters"}
    assert routes == told - {("head", "/artifacts/{sha256}")}  # HEAD is answered by the GET route
    assert len(routes) > 40


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.targets, self.open = set(), [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)  # the policy's
        if "id" in attributes:
            assert attributes["id"] not in self.ids
            self.ids.add(attributes["id"])
        self.targets += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_gateway__the_reference_page_is_whole_and_needs_nobody_else(world, contract):
    browser = Client(world.url)
    page = browser.call("GET", "/api/v1/reference")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'; style-src 'self'")
    links = Links()
    links.feed(page.body.decode())
    assert links.open == [] and "<script" not in page.body.decode()
    operations = {operation["operationId"] for item in contract.document["paths"].values()
                  for method, operation in item.items() if method != "parameters"}
    assert operations <= links.ids
    for target in set(links.targets):
        if target.startswith("#"):
            assert target[1:] in links.ids, target
        else:
            assert browser.call("GET", target).status == 200, target


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
