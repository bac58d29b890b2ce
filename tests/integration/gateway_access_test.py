"""Who may do what: roles, scopes and expiry of keys, wallets, rate limits, the audit log."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: E402
from gateway import contract, example, open_world, stranger, user  # noqa: E402, F401
from services import Client, binary  # noqa: E402



@pytest.fixture(scope="module")
def world():
    with open_world(CYXWIZ_SIGN_IN_LIMIT="1000", CYXWIZ_RATE_LIMIT="600") as running:
        yield running


# ---- API keys -----------------------------------------------------------------------------------


def key(client, **wanted):
    answer = client.call("POST", "/api/v1/api-keys", {"name": "k"} | wanted)
    assert answer.status == 201, answer.body
    return answer.json


def test_access__a_key_does_what_its_scopes_say(world, user, contract):
    reader = Client(world.url, key(user, scopes=["read"])["key"])
    writer = Client(world.url, key(user, scopes=["write"])["key"])
    assert reader.call("GET", "/api/v1/jobs").status == 200
    refused = contract.problem(reader.call("POST", "/api/v1/jobs", example()), 403, "denied")
    assert '"write"' in refused["detail"]
    assert '"read"' in contract.problem(writer.call("GET", "/api/v1/jobs"), 403)["detail"]
    assert writer.call("POST", "/api/v1/jobs", example()).status == 201
    assert '"account"' in contract.problem(writer.call("POST", "/api/v1/api-keys", {"name": "n"}), 403)["detail"]
    both = Client(world.url, key(user, scopes=["read", "write"])["key"])
    assert '"admin"' in contract.problem(both.call("GET", "/api/v1/audit"), 403)["detail"]


def test_access__a_key_makes_no_key_that_may_more(world, user, contract):
    made = key(user, scopes=["account", "read"], expires_in_days=2)
    assert made["scopes"] == ["read", "account"]
    keeper = Client(world.url, made["key"])
    refused = contract.problem(keeper.call("POST", "/api/v1/api-keys", {"name": "n", "scopes": ["write"]}), 403)
    assert refused["pointer"] == "/scopes"
    child = key(keeper, expires_in_days=400)
    assert child["scopes"] == ["read", "account"] and child["expires_at"] == made["expires_at"]
    for scopes in ([], ["root"], "read", [1]):
        wrong = contract.problem(user.call("POST", "/api/v1/api-keys", {"name": "n", "scopes": scopes}), 422)
        assert wrong["pointer"] == "/scopes"
    for days in (0, -1, 3651, "soon"):
        wrong = contract.problem(user.call("POST", "/api/v1/api-keys", {"name": "n", "expires_in_days": days}), 422)
        assert wrong["pointer"] == "/expires_in_days"
    assert key(user)["scopes"] == ["read", "write", "account", "admin"] and key(user)["expires_at"] is None


def test_access__an_expired_key_is_dead_also_in_the_cache(world, user, contract):
    made = key(user, expires_in_days=1)
    client = Client(world.url, made["key"])
    assert client.call("GET", "/api/v1/session").status == 200
    listed = next(k for k in user.call("GET", "/api/v1/api-keys").json["api_keys"] if k["id"] == made["id"])
    assert listed["expires_at"] == made["expires_at"]
    world.sql(f"update gateway.api_key set expires_at = now() where id = '{made['id']}'")
    other = key(user, expires_in_days=1)
    world.sql(f"update gateway.api_key set expires_at = now() where id = '{other['id']}'")
    contract.problem(Client(world.url, other["key"]).call("GET", "/api/v1/session"), 401, "unauthenticated")


# ---- roles --------------------------------------------------------------------------------------


def account(admin, role="user"):
    email = f"{uuid.uuid4()}@example.org"
    made = admin.call("POST", "/api/v1/accounts", {"email": email, "name": "New", "role": role, "password": "long enough"})
    assert made.status == 201, made.body
    return made.json


def test_access__administrators_make_accounts_and_give_roles(world, user, stranger, contract):
    made = account(user)
    client = Client(world.url)
    assert client.sign_in(made["email"], "long enough").status == 201
    for method, path, body in (("GET", "/accounts", None), ("POST", "/accounts", {}), ("GET", "/audit", None),
                               ("PATCH", f"/accounts/{made['id']}", {"role": "admin"})):
        contract.problem(client.call(method, f"/api/v1{path}", body), 403, "denied")
    changed = user.call("PATCH", f"/api/v1/accounts/{made['id']}", {"role": "admin"})
    assert changed.json["role"] == "admin"
    assert client.call("GET", "/api/v1/accounts").status == 200  # at once, in the session that was open
    user.call("PATCH", f"/api/v1/accounts/{made['id']}", {"role": "operator"})
    contract.problem(client.call("GET", "/api/v1/accounts"), 403)
    assert client.call("GET", "/api/v1/session").json["account"]["role"] == "operator"

    twice = {"email": made["email"].upper(), "name": "N", "role": "user", "password": "long enough"}
    assert contract.problem(user.call("POST", "/api/v1/accounts", twice), 409)["pointer"] == "/email"
    for change, place in (({"role": "root"}, "/role"), ({"email": "nobody"}, "/email"), ({"password": "short"}, "/password"),
                          ({"name": ""}, "/name"), ({"age": 3}, "/age")):
        wrong = contract.problem(user.call("POST", "/api/v1/accounts", twice | {"email": "x@y.example"} | change), 422)
        assert wrong["pointer"] == place
    me = user.call("GET", "/api/v1/session").json["account"]["id"]
    contract.problem(user.call("PATCH", f"/api/v1/accounts/{me}", {"role": "user"}), 409)
    contract.problem(user.call("PATCH", f"/api/v1/accounts/{uuid.uuid4()}", {"role": "user"}), 404)


def test_access__accounts_are_listed_in_pages(user, contract):
    made = [account(user, "operator")["id"] for _ in range(3)]
    seen, cursor = [], None
    while True:
        page = user.call("GET", f"/api/v1/accounts?role=operator&limit=2{f'&cursor={cursor}' if cursor else ''}").json
        seen += [entry["id"] for entry in page["accounts"]]
        assert len(page["accounts"]) <= 2 and all(entry["role"] == "operator" for entry in page["accounts"])
        if not (cursor := page["next_cursor"]):
            break
    assert [id for id in seen if id in made] == made[::-1] and len(seen) == len(set(seen))
    contract.problem(user.call("GET", "/api/v1/accounts?role=king"), 422)
    contract.problem(user.call("GET", "/api/v1/accounts?cursor=x"), 422)


def test_access__a_new_password_ends_the_other_sessions(world, user, contract):
    made = account(user)
    here, there = Client(world.url), Client(world.url)
    for client in (here, there):
        assert client.sign_in(made["email"], "long enough").status == 201
        assert client.call("GET", "/api/v1/session").status == 200
    wrong = here.call("PUT", "/api/v1/account/password", {"current": "not it", "password": "another one"})
    assert contract.problem(wrong, 403)["pointer"] == "/current"
    assert here.call("PUT", "/api/v1/account/password", {"current": "long enough", "password": "another one"}).status == 204
    assert here.call("GET", "/api/v1/session").status == 200
    contract.problem(there.call("GET", "/api/v1/session"), 401)
    stored = world.sql(f"select password_hash from gateway.account where id = '{made['id']}'")
    assert stored.startswith("$argon2id$v=19$m=65536,")


# ---- wallets ------------------------------------------------------------------------------------


class Wallet:
    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def answer(self, client, purpose="sign-in", **changes):
        made = client.call("POST", "/api/v1/session/challenge", {"public_key": self.public, "purpose": purpose})
        assert made.status == 201, made.body
        self.message = made.json["message"]
        return {"nonce": made.json["nonce"], "signature": self.private.sign(self.message.encode()).hex()} | changes


def test_access__a_linked_wallet_signs_in_once_for_a_challenge(world, user, contract):
    made, wallet = account(user), Wallet()
    owner = Client(world.url)
    owner.sign_in(made["email"], "long enough")
    stranger = Client(world.url)
    unknown = stranger.call("POST", "/api/v1/session/wallet", wallet.answer(stranger))
    contract.problem(unknown, 401, "unauthenticated")  # the signature is right, but it is nobody's key

    linked = owner.call("POST", "/api/v1/wallets", wallet.answer(owner, "link", name="ledger"))
    assert linked.status == 201 and linked.json["public_key"] == wallet.public and linked.json["name"] == "ledger"
    client = Client(world.url)
    answer = wallet.answer(client)
    assert wallet.message.startswith(f"{world.url[7:].split(':')[0]}") and wallet.public in wallet.message
    assert answer["nonce"] in wallet.message and "wants you to sign in" in wallet.message
    session = client.call("POST", "/api/v1/session/wallet", answer)
    assert session.status == 201 and session.json["account"]["id"] == made["id"]
    assert "HttpOnly" in session.headers["Set-Cookie"]
    assert client.call("GET", "/api/v1/wallets").json["wallets"][0]["last_used_at"]
    again = contract.problem(Client(world.url).call("POST", "/api/v1/session/wallet", answer), 401)
    assert "used" in again["detail"]

    client.csrf = session.json["csrf_token"]
    assert client.call("DELETE", f"/api/v1/wallets/{linked.json['id']}").status == 204
    contract.problem(client.call("DELETE", f"/api/v1/wallets/{linked.json['id']}"), 404)
    contract.problem(stranger.call("POST", "/api/v1/session/wallet", wallet.answer(stranger)), 401)


def test_access__what_a_wallet_signed_for_something_else_is_not_taken(world, user, contract):
    made, wallet, other = account(user), Wallet(), Wallet()
    owner, client = Client(world.url), Client(world.url)
    owner.sign_in(made["email"], "long enough")
    assert owner.call("POST", "/api/v1/wallets", wallet.answer(owner, "link")).status == 201
    path = "/api/v1/session/wallet"
    contract.problem(client.call("POST", path, wallet.answer(client, "link")), 401)
    refused = contract.problem(owner.call("POST", "/api/v1/wallets", other.answer(owner, "sign-in")), 422)
    assert refused["pointer"] == "/signature"
    for signature in ("00" * 64, "zz" * 64, "00", other.private.sign(b"x").hex()):
        contract.problem(client.call("POST", path, wallet.answer(client, signature=signature)), 401)
    late = wallet.answer(client)
    world.sql("update gateway.wallet_challenge set expires_at = now()")
    contract.problem(client.call("POST", path, late), 401)
    contract.problem(client.call("POST", path, wallet.answer(client, nonce="00" * 32)), 401)
    twice = owner.call("POST", "/api/v1/wallets", wallet.answer(owner, "link"))
    contract.problem(twice, 409, "conflict")
    foreign = client.call("POST", path, wallet.answer(client), headers={"Origin": "https://evil.example"})
    contract.problem(foreign, 403, "denied")
    for bad in ({"public_key": "abc"}, {"public_key": wallet.public.upper()}, {"public_key": wallet.public, "purpose": "pay"}):
        contract.problem(client.call("POST", "/api/v1/session/challenge", bad), 422)
    assert client.call("POST", path, wallet.answer(client)).status == 201


# ---- rate limits --------------------------------------------------------------------------------


def test_access__an_account_is_counted_and_told(world, user, contract):
    made = account(user)
    client = Client(world.url)
    client.sign_in(made["email"], "long enough")
    first = client.call("GET", "/api/v1/session")
    limit = int(first.headers["RateLimit-Limit"])
    assert limit == 600 and limit - 20 < int(first.headers["RateLimit-Remaining"]) < limit
    assert 0 < int(first.headers["RateLimit-Reset"]) <= 61
    client.judged = False  # for speed: the answers are all the same
    answers = [client.call("GET", "/api/v1/session") for _ in range(limit)]
    client.judged = True
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == limit - 1 and statuses[-1] == 429, statuses.count(200)
    refused = client.call("GET", "/api/v1/session")
    contract.problem(refused, 429, "rate-limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 61 and refused.headers["RateLimit-Remaining"] == "0"
    assert user.call("GET", "/api/v1/session").status == 200  # others are not


def test_access__who_guesses_keys_is_slowed_down(world, contract):
    guesser = Client(world.url, "cyx_" + "A" * 43)
    statuses = [guesser.call("GET", "/api/v1/jobs").status for _ in range(70)]
    assert statuses[0] == 401 and statuses[-1] == 429 and statuses.count(401) <= 60


# ---- the audit log ------------------------------------------------------------------------------


def entries(user, **query):
    text = "&".join(f"{name}={value.replace(' ', '%20')}" for name, value in query.items())
    answer = user.call("GET", f"/api/v1/audit?{text}")
    assert answer.status == 200, answer.body
    return answer.json["entries"]


def test_access__what_changes_something_is_in_the_audit_log(world, user, stranger, contract):
    me = user.call("GET", "/api/v1/session").json["account"]["id"]
    made = key(user, scopes=["read", "write"])
    client = Client(world.url, made["key"])
    sent = client.call("POST", "/api/v1/jobs", example(), headers={"X-Request-Id": "audited-1"})
    cancelled = f"/api/v1/jobs/{sent.json['id']}/cancel"
    client.call("POST", cancelled)
    client.call("GET", "/api/v1/jobs")
    by_key = [entry for entry in entries(user, account_id=me) if entry["key_id"] == made["id"]]
    assert [(e["action"], e["target"], e["status"]) for e in by_key] == [
        ("POST /jobs/{id}/cancel", cancelled, 200), ("POST /jobs", "/api/v1/jobs", 201)]
    assert by_key[1]["request_id"] == "audited-1" and by_key[1]["credential"] == "key"
    assert by_key[1]["address"] == "127.0.0.1"
    client.call("POST", "/api/v1/api-keys", {"name": "x"})  # refused is told too
    newest = entries(user, account_id=me, action="POST /api-keys")[0]
    assert (newest["status"], newest["key_id"]) == (403, made["id"])

    Client(world.url).sign_in("eve@example.org", "guess")
    Client(world.url).sign_in("nobody@example.org", "guess")
    tries = entries(user, action="POST /session")
    assert [(e["status"], e["target"], bool(e["account_id"])) for e in tries[:2]] == [
        (401, "nobody@example.org", False), (401, "eve@example.org", True)]
    assert made["key"] not in str(tries) and "guess" not in str(entries(user, limit="200"))

    page = user.call("GET", "/api/v1/audit?limit=2").json
    following = user.call("GET", f"/api/v1/audit?limit=2&cursor={page['next_cursor']}").json
    ids = [int(entry["id"]) for entry in page["entries"] + following["entries"]]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == 4
    for query in ("cursor=x", "limit=0", "account_id=me"):
        contract.problem(user.call("GET", f"/api/v1/audit?{query}"), 422)


# ---- the command line ---------------------------------------------------------------------------


def cyxwiz(world, token, *arguments):
    env = {name: value for name, value in os.environ.items() if not name.startswith("CYXWIZ_")}
    return subprocess.run([binary("cyxwiz"), *arguments], capture_output=True, text=True, timeout=60,
                          env=env | {"CYXWIZ_GATEWAY_URL": world.url, "CYXWIZ_TOKEN": token})


def test_access__the_command_makes_keys_and_reads_the_log(world, user):
    token = key(user)["key"]
    made = cyxwiz(world, token, "key", "create", "by command", "--scopes", "read,write", "--days", "3")
    assert made.returncode == 0 and made.stdout.startswith("cyx_"), made.stderr
    listed = json.loads(cyxwiz(world, token, "key", "list", "--json").stdout)
    mine = next(entry for entry in listed if entry["name"] == "by command")
    assert mine["scopes"] == ["read", "write"] and mine["expires_at"]
    assert "read,write" in cyxwiz(world, token, "key", "list").stdout
    refused = cyxwiz(world, made.stdout.strip(), "audit")
    assert refused.returncode == 4 and '"admin"' in refused.stderr
    assert cyxwiz(world, token, "key", "revoke", mine["id"]).returncode == 0
    assert cyxwiz(world, made.stdout.strip(), "job", "list").returncode == 4
    log = cyxwiz(world, token, "audit", "--limit", "3", "--action", "DELETE /api-keys/{id}")
    assert log.returncode == 0 and f"/api/v1/api-keys/{mine['id']}" in log.stdout.splitlines()[1], log.stdout
