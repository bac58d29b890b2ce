"""The real services on private servers, for tests of one of them: with Services("gateway", "scheduler") as world: …

Each runs from the newest build; its output goes to <folder>/<name>.log and is shown when it does not start.
"""

import http.cookiejar
import importlib.machinery
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from contract import Contract

ROOT = Path(__file__).resolve().parents[2]


def _load_servers():
    loader = importlib.machinery.SourceFileLoader("servers", str(ROOT / "tests/support/servers"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("servers", loader))
    sys.modules["servers"] = module
    loader.exec_module(module)
    return module


def binary(name) -> Path:
    """The newest build's; a folder of binaries may be named by CYXWIZ_TEST_BIN."""
    if "CYXWIZ_TEST_BIN" in os.environ:
        return Path(os.environ["CYXWIZ_TEST_BIN"]) / name
    found = [p for p in ROOT.glob(f"build/*/bin/{name}") if p.is_file()]
    if not found:
        raise FileNotFoundError(f"{name} is not built: run cmake --build --preset dev")
    return max(found, key=lambda path: path.stat().st_mtime)


class Services:
    ADMIN = "ada@example.org"

    def __init__(self, *names, trust=False, **extra):
        self.names, self.extra, self.running, self.trust = names, extra, {}, trust

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="cyx services "))  # a path with a space, on purpose
        self.password = secrets.token_urlsafe(12)
        self.grant_key = secrets.token_hex(32)
        self.servers = _load_servers().Servers(binary("cyxwiz") if self.trust else None).__enter__()
        try:
            self.data = self.folder / "data"
            self.web = self.folder / "web"
            for folder in (self.data, self.web):
                folder.mkdir()
            self.prepare()
            for name in self.names:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def program(self, name) -> Path:
        return binary(f"cyxwiz-{name}")

    def prepare(self):
        """For tests: called before the services start."""

    def __exit__(self, *_):
        for name in list(self.running):
            self.stop(name)
        self.servers.__exit__()
        if "CYXWIZ_TEST_KEEP" in os.environ:
            print("kept:", self.folder)
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, name) -> dict:
        env = {k: v for k, v in os.environ.items() if not k.startswith("CYXWIZ_")} | self.servers.env
        if self.trust:
            env |= {"CYXWIZ_NATS_CREDS": str(self.creds(name))}
        if self.trust and name == "registry":
            env |= {"CYXWIZ_NATS_TRUST": str(self.servers.folder / "trust")}
        return env | {
            "CYXWIZ_MIGRATIONS_DIR": str(ROOT / "migrations"), "CYXWIZ_GRANT_KEY": self.grant_key,
            "CYXWIZ_PROOF": "off",  # nodes of tests claim what they like; tests of that ask for it
            "CYXWIZ_HEALTH_PORT_FILE": str(self.folder / f"{name}.health"),
            "CYXWIZ_HTTP_ADDRESS": "127.0.0.1:0", "CYXWIZ_HTTP_PORT_FILE": str(self.folder / "http.port"),
            "CYXWIZ_BLOB_DIR": str(self.folder / "blob"), "CYXWIZ_DATA_DIR": str(self.data),
            "CYXWIZ_WEB_DIR": str(self.web), "CYXWIZ_EXAMPLES_DIR": str(ROOT / "docs/examples"),
            "CYXWIZ_ADMIN_EMAIL": self.ADMIN, "CYXWIZ_ADMIN_PASSWORD": self.password} | self.extra

    def creds(self, name) -> Path:
        """What NATS lets a service, or this test ("tools"), in with; of a world with trust."""
        return self.servers.folder / "trust" / f"{name}.creds"

    def start(self, name):
        health = self.folder / f"{name}.health"
        health.unlink(missing_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen([self.program(name)], env=self.environment(name), cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running[name] = process
        end = time.monotonic() + 30
        while not self._ready(health):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{name} does not start:\n{self.log(name)[-3000:]}")
            time.sleep(0.02)
        if name == "gateway":
            scheme = "https" if "CYXWIZ_TLS_KEY_FILE" in self.extra else "http"
            self.url = f"{scheme}://127.0.0.1:{(self.folder / 'http.port').read_text().strip()}"

    @staticmethod
    def _ready(health) -> bool:
        try:
            port = int(health.read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (OSError, ValueError):
            return False

    def metrics(self, name) -> str:
        port = (self.folder / f"{name}.health").read_text().strip()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def log(self, name) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, name, number=signal.SIGTERM) -> int:
        process = self.running.pop(name)
        process.send_signal(number)
        return process.wait(timeout=30)

    def cyxwiz(self, *words, token):
        """The command line against this gateway: what it printed."""
        done = subprocess.run([binary("cyxwiz"), *words, "--url", self.url, "--token", token], capture_output=True, text=True,
                              timeout=60, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, statement) -> str:
        done = subprocess.run(["psql", self.servers.env["CYXWIZ_DATABASE_URL"], "-qAtX", "-v", "ON_ERROR_STOP=1", "-c",
                               statement], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Client:
    """Speaks to the gateway as a browser (cookies), with an API key, or as nobody."""

    judged = True  # every answer against the contract

    def __init__(self, url, token=None, tls=None):
        """`tls`: an ssl.SSLContext that trusts the gateway's certificate."""
        self.url, self.token, self.csrf, self.tls = url, token, None, tls
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies), _NoRedirect,
                                                  urllib.request.HTTPSHandler(context=tls))

    def call(self, method, path, body=None, raw=None, headers=None, timeout=30) -> Answer:
        headers = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if self.csrf and method not in ("GET", "HEAD"):
            headers.setdefault("X-CSRF-Token", self.csrf)
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers)
        try:
            with self.opener.open(request, timeout=timeout) as got:
                answer = Answer(got.status, got.headers, got.read())
        except urllib.error.HTTPError as error:
            with error:
                answer = Answer(error.code, error.headers, error.read())
        if self.judged:
            Contract.of(self.url, self.tls).judge(method, path, answer)
        return answer

    def sign_in(self, email, password) -> Answer:
        answer = self.call("POST", "/api/v1/session", {"email": email, "password": password})
        if answer.status == 201:
            self.csrf = answer.json["csrf_token"]
        return answer

    @property
    def cookie(self) -> str:
        return "; ".join(f"{c.name}={c.value}" for c in self.cookies)
