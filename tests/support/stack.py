"""A whole real stack for tests, in a folder of its own: `with Stack(folder) as stack: stack.get("/jobs")`.

It is the very stack of `make up` (deploy/local/stack), with its own ports and data, started from the release build.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CYXWIZ = ROOT / "build" / "release" / "bin" / "cyxwiz"
ENDED = ("completed", "failed", "cancelled")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Stack:
    def __init__(self, home: Path):
        self.home = Path(home)

    def command(self, *arguments, check=True):
        done = subprocess.run([ROOT / "deploy/local/stack", "--home", self.home, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=180)
        if check and done.returncode != 0:
            raise AssertionError(f"stack {arguments}: {done.stdout}\n{done.stderr}")
        return done

    def __enter__(self):
        data = self.home / "data"
        data.mkdir(parents=True, exist_ok=True)
        subprocess.run([CYXWIZ, "data", "fetch", "fashion-mnist", "--data-dir", data], check=True, timeout=120,
                       stdout=subprocess.DEVNULL)
        try:
            self.up()
        except BaseException:
            self.command("down", check=False)
            raise
        return self

    def __exit__(self, *_):
        self.command("down")

    def up(self):
        self.command("up")
        client = json.loads((self.home / "client.json").read_text())
        self.url, self.token = client["url"], client["token"]
        self.state = json.loads((self.home / "etc" / "state.json").read_text())

    def request(self, method, path, body=None, headers=None, token="own", raw=None, timeout=30) -> Answer:
        headers = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers["Authorization"] = f"Bearer {self.token if token == 'own' else token}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def get(self, path):
        answer = self.request("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    def submit(self, spec, **headers):
        answer = self.request("POST", "/jobs", spec, headers)
        assert answer.status == 201, answer.body
        return answer.json["id"]

    def wait_job(self, job_id, until, seconds=300):
        """Polls the job over REST until `until(job)`; fails with the job when it never is."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.get(f"/jobs/{job_id}")
            if until(job):
                return job
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {json.dumps(job)[:2000]}"
            time.sleep(0.1)

    def wait_end(self, job_id, seconds=300):
        return self.wait_job(job_id, lambda job: job["state"] in ENDED, seconds)

    def wait_status(self, until, seconds=60):
        """Polls `stack status` until `until(what it tells)`."""
        deadline = time.monotonic() + seconds
        while not until(told := json.loads(self.command("status", "--json", check=False).stdout)):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {told}"
            time.sleep(0.1)

    def supervisorctl(self, *arguments):
        # As deploy/local/stack does: the configuration's address of a path with "%" is not read back right.
        return subprocess.run(["supervisorctl", "-c", self.home / "etc" / "supervisord.conf",
                               "-s", f"unix://{self.home / 'run' / 'supervisor.sock'}", *arguments],
                              capture_output=True, text=True, timeout=60, cwd=self.home).stdout

    def pid(self, service) -> int:
        return int(self.supervisorctl("pid", service).strip())

    def kill(self, service):
        """kill -9, as the out-of-memory killer would."""
        os.kill(self.pid(service), signal.SIGKILL)

    def sql(self, statement):
        state = self.state
        env = os.environ | {"PGPASSWORD": state["passwords"]["postgres"]}
        return subprocess.run(["psql", "-h", "127.0.0.1", "-p", str(state["ports"]["postgres"]), "-U", "postgres", "-d",
                               "cyxwiz", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement], env=env, check=True,
                              capture_output=True, text=True).stdout.strip()


def example(name) -> dict:
    return json.loads((ROOT / "docs" / "examples" / f"{name}.json").read_text())


if __name__ == "__main__":
    # stack.py HOME COMMAND …: runs COMMAND beside a fresh stack, its address and login in the environment.
    with Stack(Path(sys.argv[1])) as running:
        login = {"CYXWIZ_E2E_URL": running.url, "CYXWIZ_E2E_EMAIL": running.state["admin_email"],
                 "CYXWIZ_E2E_PASSWORD": running.state["passwords"]["admin"], "CYXWIZ_E2E_TOKEN": running.token}
        code = subprocess.run(sys.argv[2:], env=os.environ | login, check=False).returncode
    sys.exit(code)
