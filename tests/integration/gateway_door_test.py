"""The gateway's door: raw bytes that it refuses, its deadlines, CORS, and TLS with a certificate made here."""

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway import WebSocket, grant_for  # noqa: E402
from services import Client, Services, binary  # noqa: E402

HASTY = {"CYXWIZ_HTTP_HEADER_DEADLINE_MS": "700", "CYXWIZ_HTTP_REQUEST_DEADLINE_MS": "700"}


def built():
    try:
        binary("cyxwiz-gateway")
    except FileNotFoundError as missing:
        pytest.skip(f"SKIP: {missing}")


@pytest.fixture(scope="module")
def plain():
    built()
    with Services("gateway", **HASTY, CYXWIZ_CORS_ORIGINS="https://lab.example https://two.example:8443") as running:
        yield running


class Tls(Services):
    def __init__(self, folder, **extra):
        self.certificate, self.key = folder / "gateway.pem", folder / "gateway.key"
        self.make_certificate()
        super().__init__("gateway", CYXWIZ_TLS_CERTIFICATE_FILE=str(self.certificate), CYXWIZ_TLS_KEY_FILE=str(self.key),
                         **extra)

    def make_certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", self.key, "-out", self.certificate, "-days", "2", "-subj", "/CN=gateway",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)

    def context(self):
        return ssl.create_default_context(cafile=self.certificate)

    def connect(self):
        host, port = self.url[8:].split(":")
        return self.context().wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=host)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    built()
    with Tls(tmp_path_factory.mktemp("tls"), **HASTY) as running:
        yield running


def to_end(connection) -> bytes:
    """Everything until the server closes."""
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return got


def dial(world):
    host, port = world.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=10)


# ---- raw bytes ----------------------------------------------------------------------------------

JOB = b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RAW = {
    "two lengths that differ": (JOB + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "more than one Content-Length"),
    "the same length twice": (JOB + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "more than one Content-Length"),
    "a list of lengths": (JOB + b"Content-Length: 2, 2\r\n\r\n{}", None),
    "a length and chunks": (JOB + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                            "both Content-Length and Transfer-Encoding"),
    "chunks and a length": (JOB + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                            "both Content-Length and Transfer-Encoding"),
    "bare LF": (b"GET /api/v1/openapi.json HTTP/1.1\nHost: x\n\n", "must end in CRLF"),
    "one bare LF": (b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", "must end in CRLF"),
    "a folded line": (b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", "no folds"),
    "no host": (b"GET /api/v1/openapi.json HTTP/1.1\r\nAccept: */*\r\n\r\n", "one Host header"),
    "two hosts": (b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "one Host header"),
    "a blank before the colon": (JOB + b"Content-Length : 2\r\n\r\n{}", None),
}


@pytest.mark.parametrize("name", RAW)
def test_door__ambiguous_requests_are_refused_and_the_connection_is_closed(plain, name):
    """What a proxy in front may read otherwise must not be followed by another request."""
    raw, words = RAW[name]
    smuggled = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with dial(plain) as connection:
        connection.sendall(raw + smuggled)
        got = to_end(connection)
    assert got.startswith(b"HTTP/1.1 400 ") and b"HTTP/1.1 200" not in got, got
    if words:  # without: refused by libmicrohttpd itself (which repeats its head for a length that is no number)
        assert words in json.loads(got.split(b"\r\n\r\n", 1)[1])["detail"]


@pytest.mark.parametrize("dripped", [b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 500,
                                     JOB + b"Content-Length: 500\r\n\r\n" + b" " * 500])
def test_door__who_drips_is_cut_at_the_deadline(plain, dripped):
    """Each byte would start libmicrohttpd's idle time-out anew; the deadline is in all."""
    with dial(plain) as connection:
        started = time.monotonic()
        connection.settimeout(0.05)
        got = b""
        head = dripped.find(b"\r\n\r\n") + 4  # of the body test comes at once
        connection.sendall(dripped[:max(head, 20)])
        for byte in dripped[max(head, 20):]:
            try:
                connection.sendall(bytes([byte]))
                got = connection.recv(4096)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        took = time.monotonic() - started
    assert 0.5 < took < 5, took
    assert not got or got.startswith(b"HTTP/1.1 408 "), got


# ---- CORS ---------------------------------------------------------------------------------------


def preflight(client, origin, path="/api/v1/jobs"):
    return client.call("OPTIONS", path, headers={"Origin": origin, "Access-Control-Request-Method": "POST",
                                                 "Access-Control-Request-Headers": "authorization"})


def test_door__pages_of_named_origins_alone_may_call_and_never_with_a_cookie(plain):
    client = Client(plain.url)
    answer = preflight(client, "https://two.example:8443")
    assert answer.status == 204 and answer.body == b""
    assert answer.headers["Access-Control-Allow-Origin"] == "https://two.example:8443"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    shown = client.call("GET", "/api/v1/openapi.json", headers={"Origin": "https://lab.example"})
    assert shown.headers["Access-Control-Allow-Origin"] == "https://lab.example" and shown.headers["Vary"] == "Origin"
    for origin in ("https://evil.example", "https://lab.example.evil.example", "null", "https://lab"):
        refused = preflight(client, origin)
        assert refused.status == 405 and "Access-Control-Allow-Origin" not in refused.headers


# ---- TLS ----------------------------------------------------------------------------------------


def test_door__https_has_its_headers_and_the_secure_cookie(tls):
    client = Client(tls.url, tls=tls.context())
    answer = client.sign_in(tls.ADMIN, tls.password)
    assert answer.status == 201
    assert "; Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    assert preflight(client, "https://lab.example").status == 405  # CORS is off where nobody asked for it
    assert "Access-Control-Allow-Origin" not in client.call("GET", "/api/v1/session",
                                                            headers={"Origin": "https://lab.example"}).headers
    with pytest.raises(OSError):
        Client(tls.url).call("GET", "/api/v1/session")  # nobody vouches for the certificate
    with dial(tls) as bare:
        bare.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not to_end(bare).startswith(b"HTTP/")


def test_door__old_tls_is_refused(tls):
    context = tls.context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with dial(tls) as bare, pytest.raises(OSError):
        context.wrap_socket(bare, server_hostname="127.0.0.1")


def test_door__bytes_go_both_ways_over_tls(tls):
    data = os.urandom(3_000_000)
    digest = hashlib.sha256(data).hexdigest()
    worker = Client(tls.url, grant_for(tls, str(uuid.uuid4())), tls=tls.context())
    path = f"/api/v1/artifacts/{digest}"
    made = worker.call("PUT", path, raw=data, headers={"Content-Type": "application/octet-stream"})
    assert made.status == 201, made.body
    assert worker.call("GET", path).body == data
    assert worker.call("GET", path, headers={"Range": "bytes=2000000-2000009"}).body == data[2_000_000:2_000_010]


def test_door__a_body_that_grows_too_large_is_refused_over_tls(tls):
    with tls.connect() as connection:
        connection.sendall(b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(50):
                connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        except OSError:
            pass  # it stopped listening
        try:
            got = connection.recv(4096)
        except OSError:
            got = b"HTTP/1.1 413 "  # a reset overtook the answer
    assert got.startswith(b"HTTP/1.1 413 "), got
    assert Client(tls.url, tls=tls.context()).call("GET", "/api/v1/openapi.json").status == 200


def test_door__websocket_and_deadline_hold_over_tls(tls):
    client = Client(tls.url, tls=tls.context())
    client.sign_in(tls.ADMIN, tls.password)
    live = WebSocket(tls, {"Cookie": client.cookie, "Origin": tls.url}, tls.context())
    assert live.status == 101
    for _ in range(3):
        live.send({"type": "ping"})
        assert live.receive() == {"type": "pong"}
    with tls.connect() as connection:  # a session that begins and then says nothing, or next to nothing
        started = time.monotonic()
        connection.sendall(b"GET /api/v1/session HTTP/1.1\r\n")
        assert to_end(connection) == b""
        assert 0.5 < time.monotonic() - started < 5
    with dial(tls) as bare:  # a handshake that never ends
        started = time.monotonic()
        bare.sendall(b"\x16\x03\x01")
        assert to_end(bare) == b""
        assert 0.5 < time.monotonic() - started < 5
    live.send({"type": "ping"})
    assert live.receive() == {"type": "pong"}
    live.close()


def test_door__a_certificate_without_its_key_is_said_at_start(tmp_path):
    built()
    other = Tls(tmp_path)
    (tmp_path / "more").mkdir()
    mine = Tls(tmp_path / "more")
    mine.extra["CYXWIZ_TLS_KEY_FILE"] = other.extra["CYXWIZ_TLS_KEY_FILE"]
    with pytest.raises(AssertionError, match="TLS certificate and its key cannot be used"):
        mine.__enter__()
    mine = Tls(tmp_path / "more")
    del mine.extra["CYXWIZ_TLS_KEY_FILE"]
    with pytest.raises(AssertionError, match="set both CYXWIZ_TLS_CERTIFICATE and CYXWIZ_TLS_KEY"):
        mine.__enter__()


def test_door__a_certificate_is_renewed_while_it_serves(tmp_path):
    built()

    def ask(connection):
        connection.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while length:
            length -= len(connection.recv(min(length, 65536)))
        return head.split(b"\r\n")[0]

    def hang_up(words):
        world.running["gateway"].send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while words not in world.log("gateway"):
            assert time.monotonic() < end, world.log("gateway")[-2000:]
            time.sleep(0.02)

    with Tls(tmp_path) as world, world.connect() as open_one:
        first = open_one.getpeercert(True)
        assert ask(open_one) == b"HTTP/1.1 200 OK"
        trusts_first = world.context()
        world.make_certificate()
        hang_up("read anew")
        with world.connect() as another:
            assert another.getpeercert(True) != first and ask(another) == b"HTTP/1.1 200 OK"
        with dial(world) as bare, pytest.raises(ssl.SSLCertVerificationError):
            trusts_first.wrap_socket(bare, server_hostname="127.0.0.1")
        assert ask(open_one) == b"HTTP/1.1 200 OK", "an open connection was dropped"

        context, key = world.context(), world.key.read_text()
        world.make_certificate()
        world.key.write_text(key)  # of the one before
        hang_up("the old one serves on")
        with context.wrap_socket(dial(world), server_hostname="127.0.0.1") as another:
            assert ask(another) == b"HTTP/1.1 200 OK"
        assert ask(open_one) == b"HTTP/1.1 200 OK" and world.running["gateway"].poll() is None


def wrong_sign_in(world, **headers):
    """The answer's status, and the address that the audit log names."""
    status = Client(world.url).call("POST", "/api/v1/session", {"email": "nobody@example.org", "password": "wrong"},
                                    headers=headers).status
    return status, world.sql("select address from gateway.audit order by id desc limit 1")


def test_door__who_a_client_is_is_believed_of_named_proxies_alone(plain):
    built()
    assert wrong_sign_in(plain, **{"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}) == (401, "127.0.0.1")
    with Services("gateway", CYXWIZ_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8", CYXWIZ_SIGN_IN_LIMIT="3") as world:
        assert wrong_sign_in(world, **{"X-Forwarded-For": "6.6.6.6, 192.0.2.1, 10.1.2.3"}) == (401, "192.0.2.1")
        assert wrong_sign_in(world, Forwarded="for=192.0.2.1") == (401, "127.0.0.1")
        # Each address has tries of its own, whatever it writes before the proxy's word.
        for number in range(3):
            wrong_sign_in(world, **{"X-Forwarded-For": f"1.1.1.{number}, 192.0.2.7"})
        assert wrong_sign_in(world, **{"X-Forwarded-For": "192.0.2.8, 192.0.2.7"})[0] == 429
        assert wrong_sign_in(world, **{"X-Forwarded-For": "192.0.2.8"}) == (401, "192.0.2.8")
        world.extra["CYXWIZ_FORWARDED_HEADER"] = "forwarded"
        world.stop("gateway")
        world.start("gateway")
        header = {"Forwarded": 'for=6.6.6.6, for="[2001:db8::1]:80";proto=https', "X-Forwarded-For": "192.0.2.9"}
        assert wrong_sign_in(world, **header) == (401, "2001:db8::1")
        world.extra["CYXWIZ_TRUSTED_PROXIES"] = "proxy.example"
        world.stop("gateway")
        with pytest.raises(AssertionError, match="CYXWIZ_TRUSTED_PROXIES.*proxy.example"):
            world.start("gateway")


def test_door__the_audit_log_is_kept_for_so_many_days():
    built()
    with Services("gateway", CYXWIZ_AUDIT_DAYS="30") as world:
        world.stop("gateway")
        world.sql("insert into gateway.audit (at, credential, action, target, status, address, request_id) select now() - "
                  "make_interval(days => 60 - i / 200), 'none', 'old', i::text, 200, '::1', 'x' "
                  "from generate_series(0, 11999) i")
        older = int(world.sql("select count(*) from gateway.audit where at < now() - interval '30 days'"))
        assert older > 5000, "more than are deleted at once"
        world.start("gateway")
        end = time.monotonic() + 20
        while world.sql("select count(*) from gateway.audit where at < now() - interval '30 days'") != "0":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert int(world.sql("select count(*) from gateway.audit where action = 'old'")) == 12000 - older
        world.stop("gateway")
        world.extra["CYXWIZ_AUDIT_DAYS"] = "0"
        world.sql("update gateway.audit set at = now() - interval '3000 days'")
        world.start("gateway")
        assert wrong_sign_in(world)[0] == 401
        assert int(world.sql("select count(*) from gateway.audit where action = 'old'")) == 12000 - older
