"""The worker's local page: what it tells, whom it refuses, that its drain is the registry's, that nothing of it stops the agent."""

import http.client
import json
import random
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import api, submit, user  # noqa: E402, F401
from nodes import SERVICES, Fleet, need_programs, short_job, shown, token, wait  # noqa: E402
from services import Answer, binary  # noqa: E402

NUMBER, TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}


def closed(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


JOB = {"id": {"type": "string", "format": "uuid"}, "name": TEXT, "began_at": TEXT, "training_since": TEXT, "device": TEXT,
       "backend": TEXT, "epoch": NUMBER, "epochs": NUMBER, "step": NUMBER, "total_steps": NUMBER, "loss": NUMBER,
       "accuracy": NUMBER, "test_loss": NUMBER, "test_accuracy": NUMBER, "images_per_second": NUMBER}
STATES = ["starting", "free", "running", "draining", "drained", "maintenance", "proving", "unproven", "closed", "away", "stopping"]
STATUS = closed(
    at={"type": "string"},
    node=closed(id={"type": "string"}, name={"type": "string"}, version={"type": "string"}, state={"enum": STATES}, why=TEXT,
                started_at=TEXT, price_per_hour={"type": "string"}, region=TEXT, labels=TEXT, told_at=TEXT,
                connected={"type": "boolean"},
                closed={"oneOf": [{"type": "null"}, closed(what={"type": "string"}, by=TEXT, since=TEXT, until=TEXT, reason=TEXT)]}),
    controls={"type": "boolean"}, devices={"type": "array", "minItems": 1},
    slots={"type": "array", "minItems": 1, "items": closed(
        index={"type": "integer"}, device=TEXT,
        job={"oneOf": [{"type": "null"}, closed(**JOB, phase={"enum": ["preparing", "training"]})]})},
    machine={"type": ["object", "null"]},
    limits=closed(slots={"type": "integer"}, memory_bytes=NUMBER, disk_bytes=NUMBER, run_ms=NUMBER, silence_ms=NUMBER, threads=NUMBER),
    sandbox=closed(walls={"enum": ["bubblewrap", "landlock", "none"]}, system_calls={"enum": ["filtered", "open"]},
                   limits={"enum": ["cgroup", "rlimits"]}, reason=TEXT),
    cache=closed(used_bytes=NUMBER, limit_bytes={"type": "integer"}),
    recent={"type": "array", "maxItems": 20, "items": closed(
        **JOB, ended_at={"type": "string"}, why=TEXT,
        outcome={"enum": ["completed", "failed", "cancelled", "handed-back", "lost"]})})


class PageFleet(Fleet):
    """Workers with settings of their own."""

    settings: dict = {}

    def environment(self, name):
        env = super().environment(name)
        return env | self.settings if name == "worker" else env


class Page:
    """The page of one worker, as a browser or as something that pretends to be one."""

    def __init__(self, port):
        self.port, self.host = port, f"localhost:{port}"

    def ask(self, method="GET", path="/api/status", body=None, **headers) -> Answer:
        headers = {"Host": self.host} | {key.replace("_", "-"): value for key, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for key, value in headers.items():
                if value is not None:
                    connection.putheader(key, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            elif method == "POST":
                connection.putheader("Content-Length", "0")
            connection.endheaders(body)
            got = connection.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            connection.close()

    @property
    def status(self):
        answer = self.ask()
        assert answer.status == 200, answer.body
        jsonschema.validate(answer.json, STATUS)
        return answer.json

    @property
    def state(self):
        return self.status["node"]["state"]

    def order(self, what, reason=None, **headers):
        token = self.ask(path="/api/session").json["token"]
        body = None if reason is None else json.dumps({"reason": reason}).encode()
        return self.ask("POST", f"/api/{what}", body, **({"Origin": f"http://{self.host}", "X-Page-Token": token} | headers))


@pytest.fixture(scope="module")
def world():
    need_programs()
    with PageFleet(*SERVICES, trust=True, CYXWIZ_HEARTBEAT_MS="500") as running:
        yield running


@pytest.fixture
def begin(world, api):
    """begin(NAME=value): a worker with these settings; its page (None where it has none) and its id."""
    port_file = world.folder / "page.port"

    def start(**settings):
        port_file.unlink(missing_ok=True)
        world.settings = {"CYXWIZ_PAGE_ADDRESS": "127.0.0.1:0", "CYXWIZ_PAGE_PORT_FILE": str(port_file)} | {
            f"CYXWIZ_{key}": value for key, value in settings.items()}
        node_id = world.begin(f"worker {uuid.uuid4()}", token(api))
        page = Page(int(port_file.read_text())) if port_file.exists() else None
        if page:
            wait(lambda: page.state == "free", "the node proved and free", 60)
        return page, node_id
    (world.folder / "worker.log").unlink(missing_ok=True)
    yield start
    if "worker" in world.running:
        started = time.monotonic()
        assert world.stop("worker") == 0
        assert time.monotonic() - started < 12


def warnings(world):
    lines = [json.loads(line) for line in world.log("worker").splitlines() if line.startswith("{")]
    return [line for line in lines if line["level"] == "warn" and "page" in line["message"]]


# ---- what it tells ------------------------------------------------------------------------------


def test_page__a_free_node_and_its_machine_are_told(world, api, begin):
    page, node_id = begin(REGION="eu/west", LABELS="lab")
    told = wait(lambda: page.status if page.status["machine"] else None, "the machine")
    node = told["node"]
    assert (node["id"], node["state"], node["why"], node["region"], node["labels"]) == (node_id, "free", None, "eu/west", "lab")
    assert told["devices"][0]["backend"] == "cpu" and told["slots"] == [{"index": 0, "device": None, "job": None}]
    assert told["machine"]["memory_total_bytes"] > 1 << 28 and told["limits"]["disk_bytes"] == 16 << 30
    wait(lambda: page.status["cache"]["used_bytes"] is not None, "the cache's size")
    history = wait(lambda: (found := page.ask(path="/api/history").json)["rows"] and found, "a sample")
    assert all(len(row) == len(history["columns"]) for row in history["rows"])
    secrets = [world.token, (world.identity / "node.creds").read_text()[60:120]]
    text = page.ask().body.decode() + page.ask(path="/").body.decode()
    assert not [secret for secret in secrets if secret in text]


def test_page__a_job_is_shown_while_it_runs_and_when_it_ended(world, api, begin):
    page, _ = begin()
    job = submit(api, **(short_job("<b>shown</b>") | {"epochs": 1000}))

    def training():
        now = page.status["slots"][0]["job"]
        return now if now and now["step"] else None
    now = wait(training, "the job on the page", 60)
    assert (now["id"], now["name"], now["phase"], now["epochs"]) == (job, "<b>shown</b>", "training", 1000)
    assert now["loss"] > 0 and now["images_per_second"] > 0 and now["device"] and page.state == "running"
    assert api.call("POST", f"/api/v1/jobs/{job}/cancel").status == 200
    ended = wait(lambda: page.status["recent"], "its end")[0]
    assert (ended["id"], ended["outcome"], ended["epochs"]) == (job, "cancelled", 1000)
    wait(lambda: page.state == "free", "the free slot")


def test_page__every_answer_is_shut_to_other_sites(world, begin):
    page, _ = begin()
    for method, path, kind in (("GET", "/", "text/html"), ("HEAD", "/", "text/html"), ("GET", "/page.js", "text/javascript"),
                               ("GET", "/page.css", "text/css"), ("GET", "/icon.svg", "image/svg+xml"),
                               ("GET", "/api/status", "application/json"), ("GET", "/nothing", "application/problem+json"),
                               ("PUT", "/", "application/problem+json"), ("DELETE", "/api/status", "application/problem+json")):
        answer = page.ask(method, path)
        headers = answer.headers
        assert headers["Content-Type"].startswith(kind), (path, headers["Content-Type"])
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Access-Control-Allow-Origin"] is None and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert method != "HEAD" or not answer.body
    assert page.ask("PUT", "/").status == 405 and page.ask("DELETE", "/api/status").status == 403
    text = page.ask(path="/").body.decode()
    assert "style=" not in text and "<script>" not in text and "onclick" not in text
    assert "innerHTML" not in page.ask(path="/page.js").body.decode()


# ---- whom it refuses ----------------------------------------------------------------------------


def test_page__another_host_is_refused(world, begin):
    page, _ = begin()
    for host in (f"localhost:{page.port}", f"127.0.0.1:{page.port}", f"[::1]:{page.port}"):
        assert page.ask(Host=host).status == 200, host
    for host in ("evil.example", f"evil.example:{page.port}", "localhost", f"localhost:{page.port + 1}", "", None,
                 f"127.0.0.1.evil.example:{page.port}"):
        for path in ("/", "/api/status", "/api/session"):
            answer = page.ask(path=path, Host=host)
            assert answer.status in (400, 421), (host, path)
            assert b"token" not in answer.body


def test_page__another_site_orders_nothing_and_reads_nothing(world, api, begin):
    page, node_id = begin()
    own = f"http://{page.host}"
    assert page.order("drain", Origin="http://evil.example").status == 403
    assert page.order("drain", Origin=None).status == 403
    assert page.order("drain", Origin="null").status == 403
    assert page.order("drain", Origin=f"http://127.0.0.1:{page.port}").status == 403
    assert page.order("drain", X_Page_Token=None).status == 403
    assert page.order("drain", **{"X-Page-Token": "0" * 32}).status == 403
    assert page.order("drain", Sec_Fetch_Site="cross-site").status == 403
    assert page.ask(path="/api/session", Sec_Fetch_Site="cross-site").status == 403
    assert page.ask(path="/api/session", Sec_Fetch_Site="same-site").status == 403
    assert page.ask("GET", "/api/drain", Origin=own).status == 405
    problem = page.ask("POST", "/api/drain", Origin=own)
    assert problem.json["type"] == "urn:cyxwiz:problem:denied" and "token" in problem.json["detail"].lower()
    assert shown(api, node_id)["status"] == "online" and page.state == "free"


def test_page__what_is_too_large_or_none_is_refused(world, begin):
    page, _ = begin()
    assert page.order("drain", reason="x" * 2000).status == 413
    assert page.order("drain", reason="x" * 201).status == 400
    token = page.ask(path="/api/session").json["token"]
    own = {"Origin": f"http://{page.host}", "X-Page-Token": token}
    assert page.ask("POST", "/api/drain", b"[]", **own).status == 400
    assert page.ask("POST", "/api/drain", b'{"reason":', **own).status == 400
    assert page.ask(X_Long="x" * 9000).status in (400, 413, 431)
    assert page.state == "free"


# ---- drain --------------------------------------------------------------------------------------


def test_page__its_drain_is_the_registrys(world, api, begin):
    page, node_id = begin()
    wait(lambda: page.state == "free", "the free node")
    answer = page.order("drain", reason="the cleaner comes")
    assert answer.status == 200, answer.body
    assert answer.json["node"]["state"] == "drained" and answer.json["node"]["closed"]["by"] == "node"
    node = shown(api, node_id)
    assert (node["closed"], node["drain"]["reason"], node["drain"]["by"]) == ("draining", "the cleaner comes", "node")
    job = submit(api, **short_job("waits for the page"))
    wait(lambda: (api.call("GET", f"/api/v1/jobs/{job}").json["pending"] or {}).get("code") == "no-node-fits", "why it waits")
    world.stop("worker")
    world.start("worker")
    page = Page(int((world.folder / "page.port").read_text()))
    wait(lambda: page.state == "drained", "the drain after a new start")
    answer = page.order("undrain")
    assert answer.status == 200 and answer.json["node"]["closed"] is None, answer.body
    assert shown(api, node_id)["status"] == "online"
    wait(lambda: api.call("GET", f"/api/v1/jobs/{job}").json["state"] == "completed", "the job that waited", 90)


def test_page__an_operators_drain_is_shown_and_not_undone(world, api, begin):
    page, node_id = begin()
    assert api.call("POST", f"/api/v1/nodes/{node_id}/drain", {"reason": "bad fan"}).status == 200
    closed = wait(lambda: page.status["node"]["closed"], "the operator's drain on the page")
    assert (closed["what"], closed["by"], closed["reason"]) == ("draining", "operator", "bad fan")
    answer = page.order("undrain")
    assert answer.status == 403 and "operator" in answer.json["detail"]
    assert shown(api, node_id)["closed"] == "draining"


# ---- the agent ----------------------------------------------------------------------------------


def test_page__a_taken_port_is_a_warning_with_a_remedy(world, api, begin):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        page, node_id = begin(PAGE_ADDRESS=f"127.0.0.1:{taken}")
        assert page.port != taken and page.state == "free"
        warning = warnings(world)[0]
        assert warning["wanted"] == taken and warning["port"] == page.port and "CYXWIZ_PAGE_ADDRESS" in warning["message"]
        assert shown(api, node_id)["status"] == "online"


def test_page__it_listens_on_the_loopback_alone(world, begin):
    page, _ = begin()
    sockets = [line.split()[1] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
               if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == page.port]
    assert sockets == [f"0100007F:{page.port:04X}"]


def test_page__it_may_be_off_or_show_alone(world, api, begin):
    page, _ = begin(PAGE="off")
    assert page is None and '"the local page"' not in world.log("worker")
    world.stop("worker")
    page, node_id = begin(PAGE="read")
    assert page.status["controls"] is False
    answer = page.order("drain")
    assert answer.status == 403 and "CYXWIZ_PAGE" in answer.json["detail"]
    assert shown(api, node_id)["status"] == "online"


def test_page__another_address_than_the_loopback_is_refused_at_start(world):
    env = world.environment("registry") | {"CYXWIZ_PAGE_ADDRESS": "0.0.0.0:8090", "CYXWIZ_WORK_DIR": "w", "CYXWIZ_DATA_DIR": "d",
                                           "CYXWIZ_BACKEND": "cpu"}
    done = subprocess.run([binary("cyxwiz-worker")], env=env, cwd=world.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "CYXWIZ_PAGE_ADDRESS" in done.stderr and "127.0.0.1:PORT" in done.stderr


def test_page__slow_clients_and_noise_stop_nothing(world, api, begin):
    page, node_id = begin()
    process, chance = world.running["worker"], random.Random(7)
    job = submit(api, **(short_job("goes on") | {"epochs": 1000}))
    wait(lambda: (page.status["slots"][0]["job"] or {}).get("step"), "the job on the page", 60)

    def step():
        return (api.call("GET", f"/api/v1/jobs/{job}").json["progress"] or {}).get("step", 0)
    slow = [socket.create_connection(("127.0.0.1", page.port), 5) for _ in range(24)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(b"GET / HTTP/1.1\r\n" if number % 2 else b"POST /api/drain HTTP/1.1\r\nHost: " + page.host.encode() +
                               b"\r\nContent-Length: 900\r\n\r\n")
        for _ in range(5):  # they go on, a byte at a time
            for connection in slow:
                try:
                    connection.sendall(b"x")
                except OSError:
                    pass
            before = step()
            wait(lambda b=before: step() > b, "the job going on")
        assert shown(api, node_id)["status"] == "online"
    finally:
        for connection in slow:
            connection.close()
    wait(lambda: page.ask().status == 200, "the page again")
    for number in range(200):
        noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
        head = (b"GET /", b"POST /api/drain HTTP/1.1\r\nHost: ", b"GET /%00%2e%2e/ HTTP/1.1\r\n", b"")[number % 4]
        with socket.create_connection(("127.0.0.1", page.port), 5) as connection:
            try:
                connection.sendall(head + noise + b"\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
            except OSError:
                pass
    assert page.state == "running" and process.poll() is None
    assert api.call("POST", f"/api/v1/jobs/{job}/cancel").status == 200


def test_page__it_tells_that_the_platform_is_away(world, api, begin):
    page, _ = begin()
    world.servers.kill("nats")
    try:
        wait(lambda: page.state == "away", "that the platform is away")
        answer = page.order("drain")
        assert answer.status in (503, 504), (answer.status, answer.body)
    finally:
        world.servers.start("nats")
    wait(lambda: page.state == "free", "the platform again")


# ---- for people, however they see or steer -------------------------------------------------------


def test_page__axe_finds_nothing_serious(world, api, begin):
    """In each of its states, in both themes, on a desktop and a phone; and all can be reached by Tab."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "web/node_modules/axe-core").exists():
        pytest.skip("SKIP: the dashboard's packages are not there: run make web")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("SKIP: chromium is not installed")

    def look(page, name):
        done = subprocess.run(["node", root / "tests/e2e/worker-page.mjs", f"http://localhost:{page.port}", name],
                              capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr

    page, node_id = begin(REGION="eu/west", LABELS="lab")
    submit(api, **short_job("seen by axe"))
    wait(lambda: page.status["recent"], "the job that ended", 60)
    look(page, "free")
    job = submit(api, **(short_job("seen running") | {"epochs": 2000}))
    wait(lambda: page.state == "running" and page.status["slots"][0]["job"]["step"], "a job that trains", 60)
    look(page, "running")
    assert page.order("drain", "the cleaner comes").status == 200
    look(page, "draining")
    assert api.call("POST", f"/api/v1/jobs/{job}/cancel").status == 200
    wait(lambda: page.state == "drained", "the drained node")
    look(page, "drained")
    assert page.order("undrain").status == 200
    assert api.call("POST", f"/api/v1/nodes/{node_id}/drain", {"reason": "bad fan"}).status == 200
    wait(lambda: page.status["node"]["closed"] and page.status["node"]["closed"]["by"] == "operator", "the operator's drain")
    look(page, "closed-by-an-operator")
