"""The gateway: GET of a job against nginx's static file in the same run, and 5,000 WebSockets on one job.

nginx is Debian's, on loopback from a folder of its own; where it is not installed its package is fetched by apt and
unpacked into the cache folder, never installed. Nothing is judged but what was measured in this very run.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import services  # noqa: E402
from gateway import World, example  # noqa: E402
from nats_client import Nats  # noqa: E402

ROOT = services.ROOT
CONNECTIONS, SECONDS, ROUNDS = 64, 3, 3
SUBSCRIBERS, UPDATES, PAUSE_S = 5000, 20, 0.5


def nginx_program() -> Path:
    installed = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if installed:
        return Path(installed)
    cache = Path.home() / ".cache" / "cyxwiz" / "nginx"
    if not (cache / "usr/sbin/nginx").exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "nginx"], cwd=cache, check=True, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", next(cache.glob("nginx_*.deb")), cache], check=True)
    return cache / "usr/sbin/nginx"


class Nginx:
    """Serves one file of `size` bytes, two processes, as the gateway has two threads."""

    def __init__(self, folder, size):
        self.folder = folder
        (folder / "www").mkdir(parents=True)
        (folder / "www" / "job").write_bytes(b"x" * size)
        # nginx cannot be given port 0: a free one is looked for, as the other private servers do.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "nginx.conf").write_text(f"""
worker_processes 2; daemon off; pid "{folder}/pid"; error_log "{folder}/error.log";
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=10;
  client_body_temp_path "{folder}/a"; proxy_temp_path "{folder}/b"; fastcgi_temp_path "{folder}/c"; uwsgi_temp_path "{folder}/d";
  scgi_temp_path "{folder}/e"; server {{ listen 127.0.0.1:{self.port}; root "{folder}/www"; }} }}
""")
        os.chmod(folder, 0o755)
        self.process = subprocess.Popen([nginx_program(), "-p", folder, "-c", folder / "nginx.conf", "-g", "user root;"],
                                        stdout=subprocess.DEVNULL, stderr=(folder / "start.log").open("wb"))
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"nginx does not start: {(folder / 'start.log').read_text()}")
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)


def load(*arguments):
    done = subprocess.run([ROOT / "build/release/tests/gateway_load", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120)
    if done.returncode != 0:
        sys.exit(f"gateway_load: {done.stderr}")
    return [float(number) for number in done.stdout.split()]


def rates(gateway_port, nginx_port, job, token):
    """Turn about, so that what else the machine does falls on both."""
    nginx, hot, cold = [], [], []
    for _ in range(ROUNDS):
        nginx.append(load("http", nginx_port, "/job", CONNECTIONS, SECONDS)[0])
        hot.append(load("http", gateway_port, f"/api/v1/jobs/{job}", CONNECTIONS, SECONDS, token)[0])
        # Every answer from the scheduler and payments: a query makes the gateway ask anew.
        cold.append(load("http", gateway_port, f"/api/v1/jobs/{job}?fresh", CONNECTIONS, SECONDS, token)[0])
    return tuple(map(statistics.median, (nginx, hot, cold)))


def resident_kib(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def subscribers(world, port, job, token):
    """(updates got, p50, p99, highest in ms, KiB a subscriber)"""
    gateway = world.running["gateway"]
    before = resident_kib(gateway)
    program = subprocess.Popen([ROOT / "build/release/tests/gateway_load", "ws", str(port), job, str(SUBSCRIBERS), token,
                                str(UPDATES)], stdout=subprocess.PIPE, text=True)
    if program.stdout.readline() != "ready\n":
        sys.exit("gateway_load: the subscribers did not come")
    each = (resident_kib(gateway) - before) / SUBSCRIBERS
    with Nats(world.servers.env["CYXWIZ_NATS_URL"]) as nats:
        for step in range(UPDATES):
            nats.publish(f"cyx.job.{job}.metrics.service",
                         {"kind": "step", "step": step, "total_steps": UPDATES, "epoch": 0, "epochs": 1, "loss": 0.5,
                          "accuracy": 0.5, "lr": 0.1, "images_per_second": 1.0, "sent_ns": time.monotonic_ns()})
            time.sleep(PAUSE_S)
        result = program.stdout.readline().split()
    if program.wait(timeout=60) != 0:
        sys.exit("gateway_load failed")
    return [float(number) for number in result] + [each]


def main():
    os.environ["CYXWIZ_TEST_BIN"] = str(ROOT / "build/release/bin")
    names = ["registry", "scheduler", "payments", "marketplace", "gateway"]
    with World(*names, CYXWIZ_RATE_LIMIT="1000000000") as world:
        user = services.Client(world.url)
        user.sign_in(world.ADMIN, world.password)
        token = user.call("POST", "/api/v1/api-keys", {"name": "bench"}).json["key"]
        api = services.Client(world.url, token)
        made = api.call("POST", "/api/v1/jobs", example())
        if made.status != 201:
            sys.exit(f"no job: {made.body}")
        job = made.json["id"]
        shown = api.call("GET", f"/api/v1/jobs/{job}")
        port = int(world.url.rsplit(":", 1)[1])
        nginx = Nginx(world.folder / "nginx", len(shown.body))
        try:
            static, hot, cold = rates(port, nginx.port, job, token)
        finally:
            nginx.stop()
        got, p50, p99, highest, each = subscribers(world, port, job, token)
    print(f"GET of a job ({len(shown.body)} bytes, API key, {CONNECTIONS} connections, medians of {ROUNDS} x {SECONDS} s)")
    print(f"  nginx, the same bytes from a file   {static:10,.0f}/s")
    print(f"  gateway, one job asked by many      {hot:10,.0f}/s   {hot / static:.2f} of nginx (aim: 0.50)")
    print(f"  gateway, each asked of its owners   {cold:10,.0f}/s   {cold / static:.2f} of nginx")
    print(f"{SUBSCRIBERS} WebSockets on one job, {UPDATES} updates, {got:,.0f} deliveries")
    print(f"  publish to arrival: p50 {p50:.1f} ms, p99 {p99:.1f} ms (aim: 250), highest {highest:.1f} ms")
    print(f"  memory of the gateway: {each:.1f} KiB a subscriber")
    return 0 if hot >= 0.5 * static and p99 <= 250 and got == SUBSCRIBERS * UPDATES else 1


if __name__ == "__main__":
    sys.exit(main())
