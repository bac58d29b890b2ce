"""How nodes are let in and kept apart: real services, a NATS that believes keys alone, real workers, and nodes that lie."""

import base64
import json
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import api, contract, stranger, submit, user  # noqa: E402, F401
from nodes import SERVICES, Fleet, Node, cannot_connect, ended_job, need_programs, short_job, shown, token, wait  # noqa: E402
from services import Client  # noqa: E402

LIFE_S = 6  # of a node's token: short, so that several go by in a test


@pytest.fixture(scope="module")
def world():
    need_programs()
    with Fleet(*SERVICES, trust=True, CYXWIZ_NODE_TOKEN_LIFE_S=str(LIFE_S), CYXWIZ_HEARTBEAT_MS="1000") as running:
        yield running


@pytest.fixture
def node(world, api):
    made = Node(world)
    answer = made.join(token(api))
    assert answer.status == 201, answer.body
    return made


def refused_by_nats(nats, act):
    """NATS itself says no: the sentence that came with it."""
    with pytest.raises(ConnectionError) as told:
        act(nats)
        nats._send(b"PING\r\n")
        nats._until(lambda line: line == b"PONG")
    assert "Permissions Violation" in str(told.value), told.value
    return str(told.value)


# ---- tokens -------------------------------------------------------------------------------------


def test_enrolment__a_token_is_good_once(world, api, contract):
    answer = contract.check(api.call("POST", "/api/v1/nodes/tokens", {}), "post", "/nodes/tokens")
    made = answer.json["token"]
    first, second = Node(world), Node(world)
    joined = first.join(made)
    contract.check(joined, "post", "/nodes/join")
    assert joined.status == 201
    problem = contract.problem(second.join(made), 401, "unauthenticated")
    assert "used already" in problem["detail"]
    again = first.join(made)  # its answer was lost: the same node, not a second one
    assert again.status == 201 and again.json["node_id"] == first.id
    stored = world.sql("select string_agg(t::text, ' ') from registry.enrol_token t")
    assert made not in stored and made.removeprefix("cyxn_") not in stored


def test_enrolment__a_token_ends_and_cannot_be_guessed(world, api, contract):
    node = Node(world)
    contract.problem(node.join("cyxn_" + "A" * 43), 401)
    old = token(api, life_s=1)
    world.sql("update registry.enrol_token set expires_at = now() - interval '1 second' where used_at is null")
    contract.problem(node.join(old), 401)
    answer = Client(world.url).call("POST", "/api/v1/nodes/join", {"token": token(api), "public_key": "U" + "A" * 55})
    assert contract.problem(answer, 422)["pointer"] == "/public_key"


def test_enrolment__one_token_lets_one_of_many_in(world, api):
    made, answers = token(api), []
    nodes = [Node(world) for _ in range(8)]
    threads = [threading.Thread(target=lambda n=n: answers.append(n.join(made).status)) for n in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] + [401] * 7


def test_enrolment__only_operators_make_tokens_and_revoke(world, api, stranger, node, contract):
    contract.problem(stranger.call("POST", "/api/v1/nodes/tokens", {}), 403, "denied")
    contract.problem(Client(world.url).call("POST", "/api/v1/nodes/tokens", {}), 401)
    for order in ("revoke", "rotate"):
        contract.problem(stranger.call("POST", f"/api/v1/nodes/{node.id}/{order}", {}), 403, "denied")
    contract.problem(api.call("POST", "/api/v1/nodes/tokens", {"node_id": str(uuid.uuid4())}), 404)


# ---- NATS keeps nodes apart ---------------------------------------------------------------------


def test_enrolment__a_node_cannot_write_what_is_anothers(world, api, node):
    other, job = Node(world), str(uuid.uuid4())
    assert other.join(token(api)).status == 201
    for subject in (f"cyx.node.{other.id}.heartbeat", f"cyx.node.{other.id}.offer", f"cyx.job.{job}.metrics.{other.id}",
                    f"cyx.job.{job}.metrics", f"cyx.job.{job}.state", f"cyx.job.{job}.log.service",
                    f"cyx.svc.scheduler.accept.{other.id}", f"cyx.svc.registry.enrol.{other.id}",
                    "cyx.svc.registry.list", "cyx.svc.registry.revoke", "cyx.svc.payments.balance",
                    "cyx.svc.scheduler.submit", "cyx.evt.node.online", "$JS.API.STREAM.PURGE.CYX_JOB",
                    "$SYS.REQ.SERVER.PING", f"_INBOX_{other.id}.1"):
        with node.connect() as nats:
            assert subject in refused_by_nats(nats, lambda n, s=subject: n.publish(s, {}))


def test_enrolment__a_node_cannot_read_what_is_anothers(world, api, node):
    other = Node(world)
    assert other.join(token(api)).status == 201
    for subject in (f"cyx.node.{other.id}.offer", "cyx.node.*.offer", "cyx.node.>", "cyx.job.>", "cyx.evt.>", ">",
                    f"_INBOX_{other.id}.>", "_INBOX.>", "cyx.svc.>"):
        with node.connect() as nats:
            assert subject in refused_by_nats(nats, lambda n, s=subject: n.subscribe(s))


def test_enrolment__a_node_does_its_own_work(world, node):
    with node.connect() as nats:
        offers = nats.subscribe(f"cyx.node.{node.id}.offer")
        reply = nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(str(uuid.uuid4())))
        assert reply["node"]["id"] == node.id
        with world.nats(world.creds("tools")) as tools:
            tools.publish(f"cyx.node.{node.id}.offer", {"job_id": "x", "token": 1})
            tools._send(b"PING\r\n")
            tools._until(lambda line: line == b"PONG")
        assert b'"token"' in nats.next(offers)[1]


def test_enrolment__who_does_not_hold_a_job_tells_nothing_of_it(world, api, node):
    job = submit(api, name="nobody's")
    line = {"level": "info", "message": "I won", "at": "2026-11-24T02:25:00.125Z"}
    with node.connect() as nats:
        kept = nats.request(f"cyx.job.{job}.log.{node.id}", line)
        assert kept["stream"] == "CYX_JOB"  # NATS takes it, as under its own name
    with world.nats(world.creds("tools")) as tools:
        tools.request(f"cyx.job.{job}.log.service", line | {"message": "the truth"})
    lines = api.call("GET", f"/api/v1/jobs/{job}/logs").json["lines"]
    assert [said["message"] for said in lines] == ["the truth"]


def test_enrolment__without_a_token_nobody_gets_in(world, node):
    parts = node.creds.read_text().split("\n")
    claims = parts[1].split(".")
    forged = json.loads(base64.urlsafe_b64decode(claims[1] + "=="))
    forged["nats"]["pub"]["allow"] = [">"]
    claims[1] = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    bad = world.folder / "forged.creds"
    bad.write_text("\n".join([parts[0], ".".join(claims), *parts[2:]]))
    thief = Node(world)  # another's token with a key of one's own
    thief.id, thief.creds = node.id, world.folder / "thief.creds"
    thief.creds.write_text(node.creds.read_text().replace(node._seed(), thief._seed()))
    for creds in (None, bad, thief.creds):
        with pytest.raises(ConnectionError, match="Authorization Violation|closed"):
            world.nats(creds).__enter__()


# ---- real workers -------------------------------------------------------------------------------


def test_enrolment__a_worker_joins_works_and_outlives_its_tokens(world, api, contract):
    node_id = world.begin("worker a", token(api))
    try:
        first = (world.identity / "node.creds").read_text()
        assert oct((world.identity / "node.seed").stat().st_mode)[-3:] == "600"
        wait(lambda: shown(api, node_id)["status"] == "online", "the node online")
        job = submit(api, **short_job("several tokens long"))
        ended = wait(lambda: ended_job(api, job), "the job's end", 300)
        assert ended["state"] == "completed", ended
        lines = api.call("GET", f"/api/v1/jobs/{job}/logs").json["lines"]
        assert any("training on" in line["message"] for line in lines)
        wait(lambda: (world.identity / "node.creds").read_text() != first, "a new token", 3 * LIFE_S)
        time.sleep(LIFE_S)  # the first one has ended by now
        wait(lambda: shown(api, node_id)["status"] == "online", "the node still online")
        assert world.running["worker"].poll() is None
    finally:
        world.stop("worker")
    again = world.begin("worker a", "used up")  # what is in the folder is enough
    world.stop("worker")
    assert again == node_id


def test_enrolment__a_new_key_takes_the_old_ones_place(world, api, contract):
    node_id = world.begin("worker b", token(api))
    try:
        seed = (world.identity / "node.seed").read_text()
        old = world.folder / "old.creds"
        old.write_text((world.identity / "node.creds").read_text())
        wait(lambda: shown(api, node_id)["status"] == "online", "the node online")
        answer = api.call("POST", f"/api/v1/nodes/{node_id}/rotate", {})
        contract.check(answer, "post", "/nodes/{id}/rotate")
        wait(lambda: (world.identity / "node.seed").read_text() != seed, "a new key")
        wait(lambda: cannot_connect(world, old), "the old key's end", 30)
        wait(lambda: shown(api, node_id)["status"] == "online", "the node online with its new key")
        assert "this node has a new key" in world.log("worker")
        assert world.running["worker"].poll() is None  # nothing that it does is disturbed
    finally:
        world.stop("worker")


def test_enrolment__a_revoked_node_is_cut_off_and_can_come_back(world, api, contract):
    node_id = world.begin("worker c", token(api))
    wait(lambda: shown(api, node_id)["status"] == "online", "the node online")
    creds = world.folder / "revoked.creds"
    creds.write_text((world.identity / "node.creds").read_text())
    nats = world.nats(creds, f"_INBOX_{node_id}")
    answer = api.call("POST", f"/api/v1/nodes/{node_id}/revoke", {"reason": "stolen"})
    contract.check(answer, "post", "/nodes/{id}/revoke")
    assert answer.json["node"]["status"] == "offline"
    with pytest.raises(ConnectionError):  # NATS ends what is connected
        nats._until(lambda line: False)
    assert cannot_connect(world, creds)
    assert world.running.pop("worker").wait(timeout=30) == 1  # it cannot go on, and says so
    assert "refuses" in world.log("worker")
    with pytest.raises(AssertionError, match="not the node's any more"):
        world.begin("worker c", "used up")
    world.running.pop("worker", None)

    world.servers.kill("nats")  # a NATS that was started anew knows only its configuration
    world.servers.start("nats")
    wait(lambda: api.call("GET", "/api/v1/nodes").status == 200, "the services to find it")
    wait(lambda: cannot_connect(world, creds), "the revocation", 20)

    back = world.begin("worker c", token(api, node_id=node_id))  # an operator lets the same node in again
    try:
        assert back == node_id
        wait(lambda: shown(api, node_id)["status"] == "online", "the node online again")
        assert cannot_connect(world, creds)
    finally:
        world.stop("worker")


def test_enrolment__a_lost_key_keeps_the_nodes_history(world, api, node):
    with node.connect() as nats:
        nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(str(uuid.uuid4())))
    before = shown(api, node.id)
    old, node_id = node.creds, node.id
    node.new_key()
    assert node.join(token(api, node_id=node.id)).status == 201
    assert node.id == node_id and shown(api, node_id)["enrolled_at"] == before["enrolled_at"]
    assert cannot_connect(world, old)
    with node.connect() as nats:
        assert "node" in nats.request(f"cyx.svc.registry.enrol.{node.id}", node.enrolment(str(uuid.uuid4())))


def test_enrolment__only_the_keys_owner_gets_new_tokens(world, node, contract):
    contract.check(node.renew(), "post", "/nodes/renew")
    thief = Node(world)
    thief.id = node.id
    contract.problem(thief.renew(), 403, "denied")
    contract.problem(thief.renew(public_key=node.public), 401, "unauthenticated")
    contract.problem(node.renew(at=int(time.time() * 1000) - 400_000), 401)
    contract.problem(node.renew(new_key=thief.public), 422)  # without the new key's own signature
