"""Where the local stack keeps its things, and the configuration that it writes.

Everything lies under one folder (`.cyxwiz/` of the checkout): data, logs, secrets, configuration. Only unix sockets may
lie elsewhere, since their paths are limited to 107 bytes: then in a private folder of the system's temporary one.
"""

import hashlib
import json
import os
import pwd
import secrets
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

SERVICES = ("registry", "scheduler", "payments", "marketplace", "gateway", "worker")
DATABASE_SERVICES = ("gateway", "scheduler", "registry", "payments", "marketplace")
SOCKET_PATH_LIMIT = 90  # of 107, less the longest socket name


class StackError(Exception):
    """A failure that the user can read and act upon."""


class Layout:
    """Paths, ports and secrets of the stack of one checkout."""

    def __init__(self, source: Path, home: Path | None = None):
        self.source = source
        self.home = home or source / ".cyxwiz"
        self.log = self.home / "log"
        self.env = self.home / "env"
        self.etc = self.home / "etc"
        self.trust = self.etc / "trust"
        self.identity = self.home / "worker" / "identity"
        self.pgdata = self.home / "postgres"
        self.nats = self.home / "nats"
        self.redis = self.home / "redis"
        self.blob = self.home / "blob"
        self.data = self.home / "data"
        self.models = self.home / "models"
        self.client = self.home / "client.json"
        self.build = source / "build" / "release"

    def make(self) -> None:
        if "\n" in str(self.source):
            raise StackError("the checkout's path holds a line break: move it elsewhere")
        for folder in (self.home, self.log, self.env, self.etc, self.nats, self.redis, self.blob, self.data,
                       self.models, self.home / "worker"):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.env, self.etc):
            folder.chmod(0o700)
        self.state = self._load_state()
        self.run = self._make_run_folder()

    def _load_state(self) -> dict:
        path = self.etc / "state.json"
        state = json.loads(path.read_text()) if path.exists() else {}
        state.setdefault("ports", {})
        passwords = state.setdefault("passwords", {})
        for name in ("postgres", "admin", *DATABASE_SERVICES):
            passwords.setdefault(name, secrets.token_urlsafe(18))
        state.setdefault("grant_key", secrets.token_hex(32))
        state.setdefault("admin_email", "admin@cyxwiz.local")
        self.state = state
        self.save_state()
        return state

    def save_state(self) -> None:
        write_private(self.etc / "state.json", json.dumps(self.state, indent=2) + "\n")

    def _make_run_folder(self) -> Path:
        own = self.home / "run"
        if len(os.fsencode(str(own))) <= SOCKET_PATH_LIMIT:
            own.mkdir(exist_ok=True)
            own.chmod(0o700)
            return own
        digest = hashlib.sha256(os.fsencode(str(self.home))).hexdigest()[:12]
        run = Path(tempfile.gettempdir()) / f"cyxwiz-{os.getuid()}-{digest}"
        run.mkdir(mode=0o700, exist_ok=True)
        info = run.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise StackError(f"{run} is not a private folder of yours: remove it")
        return run

    def choose_ports(self, running: bool) -> None:
        """Keeps the ports of the last time where they are still free, so that bookmarks stay good."""
        if running and self.state["ports"]:
            return
        taken: set[int] = set()
        for name in ("gateway", "postgres", "nats"):
            port = self.state["ports"].get(name, 8080 if name == "gateway" else 0)
            if not port or port in taken or not port_is_free(port):
                port = free_port(taken)
            taken.add(port)
            self.state["ports"][name] = port
        self.save_state()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state['ports']['gateway']}"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def supervisor_conf(self) -> Path:
        return self.etc / "supervisord.conf"

    @property
    def page_port_file(self) -> Path:
        """Where the worker writes the port of its local page."""
        return self.run / "worker.page-port"

    def binary(self, name: str) -> Path:
        return self.build / "bin" / name

    def database_url(self, service: str) -> str:
        ports, passwords = self.state["ports"], self.state["passwords"]
        return (f"host=127.0.0.1 port={ports['postgres']} dbname=cyxwiz user=cyxwiz_{service} "
                f"password={passwords[service]} application_name=cyxwiz-{service} connect_timeout=5")

    def write_configuration(self) -> None:
        self._link_checkout()
        self._make_trust()
        write_private(self.etc / "nats.conf", self._nats_conf())
        write_private(self.etc / "redis.conf", self._redis_conf())
        for service in SERVICES:
            text = "".join(f"{key}={value}\n" for key, value in self._environment(service).items())
            write_private(self.env / f"{service}.env", text)
        write_private(self.supervisor_conf, self._supervisor_conf())

    def _make_trust(self) -> None:
        """The keys of NATS, made once."""
        done = subprocess.run([self.binary("cyxwiz"), "trust", "init", self.trust], capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(f"the keys of NATS cannot be made: {done.stderr.strip()}")

    def _nats_conf(self) -> str:
        """Its folder is relative to the stack's, where it runs: a path's quotes and accents would not be read back."""
        return (
            f"host: 127.0.0.1\nport: {self.state['ports']['nats']}\nserver_name: cyxwiz-local\n"
            f"jetstream {{ store_dir: {json.dumps(self.nats.name)}, max_file_store: 8G, max_memory_store: 256M }}\n"
            f"include ./{self.trust.name}/nats.conf\n")

    def _redis_conf(self) -> str:
        def quoted(path: Path) -> str:
            return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
        return (f"port 0\nunixsocket {quoted(self.run / 'redis.sock')}\nunixsocketperm 700\n"
                f"dir {quoted(self.redis)}\nsave \"\"\nappendonly no\nmaxmemory 64mb\n"
                "maxmemory-policy allkeys-lru\ndaemonize no\n")

    def _environment(self, service: str) -> dict[str, str]:
        state = self.state
        ports, passwords = state["ports"], state["passwords"]
        env = {"CYXWIZ_NATS_URL": f"nats://127.0.0.1:{ports['nats']}",
               "CYXWIZ_HEALTH_ADDRESS": "127.0.0.1:0",
               "CYXWIZ_HEALTH_PORT_FILE": str(self.run / f"{service}.health-port")}
        if service in DATABASE_SERVICES:
            env["CYXWIZ_DATABASE_URL"] = self.database_url(service)
            env["CYXWIZ_MIGRATIONS_DIR"] = str(self.source / "migrations")
        if service in ("gateway", "registry", "scheduler"):
            env["CYXWIZ_REDIS_URL"] = f"unix://{self.run / 'redis.sock'}"
        if service in ("gateway", "scheduler"):
            env["CYXWIZ_GRANT_KEY"] = state["grant_key"]
        if service != "worker":
            env["CYXWIZ_NATS_CREDS"] = str(self.trust / f"{service}.creds")
        if service == "registry":
            env["CYXWIZ_NATS_TRUST"] = str(self.trust)
        if service == "gateway":
            env |= {"CYXWIZ_HTTP_ADDRESS": f"127.0.0.1:{ports['gateway']}", "CYXWIZ_PUBLIC_URL": self.url,
                    "CYXWIZ_WEB_DIR": str(self.source / "web" / "dist"),
                    "CYXWIZ_EXAMPLES_DIR": str(self.source / "docs" / "examples"),
                    "CYXWIZ_BLOB_DIR": str(self.blob), "CYXWIZ_DATA_DIR": str(self.data),
                    "CYXWIZ_ADMIN_EMAIL": state["admin_email"], "CYXWIZ_ADMIN_PASSWORD": passwords["admin"]}
        if service == "worker":
            if "enrol_token" in state:
                env["CYXWIZ_ENROL_TOKEN"] = state["enrol_token"]
            env |= {"CYXWIZ_GATEWAY_URL": self.url, "CYXWIZ_IDENTITY_DIR": str(self.identity),
                    "CYXWIZ_NODE_NAME": socket.gethostname(),
                    "CYXWIZ_DATA_DIR": str(self.home / "worker" / "data"),
                    "CYXWIZ_WORK_DIR": str(self.home / "worker" / "work"),
                    "CYXWIZ_BACKEND": os.environ.get("CYXWIZ_BACKEND", "auto"),
                    "CYXWIZ_PAGE_PORT_FILE": str(self.page_port_file),
                    "CYXWIZ_PRICE_PER_HOUR": "1 CYX"}
        return env

    def _supervisor_conf(self) -> str:
        """Paths are relative to the stack's folder, where supervisord runs: it cannot quote what a checkout's path may hold
        (" #" begins a comment, "%" is expanded once or twice). `supervisorctl` is told the socket by its option -s too."""
        def short(path: Path) -> str:
            return str(path.relative_to(self.home) if path.is_relative_to(self.home) else path)

        def program(name: str, command: str, **options) -> str:
            lines = [f"[program:{name}]", f"command={command}", f"stdout_logfile={short(self.log / name)}.log",
                     "redirect_stderr=true", "stdout_logfile_maxbytes=20MB", "stdout_logfile_backups=2",
                     "autorestart=true", "startretries=1000000", "startsecs=1"]
            lines += [f"{key}={value}" for key, value in options.items()]
            return "\n".join(lines) + "\n\n"

        serverurl = f"unix://{self.supervisor_socket}".replace("%", "%%")
        general = (
            f"[unix_http_server]\nfile={short(self.supervisor_socket)}\nchmod=0700\n\n"
            f"[supervisord]\nlogfile={short(self.log / 'supervisord.log')}\nlogfile_maxbytes=20MB\n"
            f"logfile_backups=2\npidfile={short(self.run / 'supervisord.pid')}\nminfds=1024\numask=077\n"
            f"{'user=root' if os.getuid() == 0 else ''}\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
            f"[supervisorctl]\nserverurl={serverurl}\n\n")
        parts = [general,
                 program("postgres", f"{postgres_prefix(self)}{postgres_binary('postgres')} -D {short(self.pgdata)}",
                         autostart="false", stopsignal="INT", stopwaitsecs=60),
                 program("redis", f"/usr/bin/redis-server {short(self.etc / 'redis.conf')}", autostart="false"),
                 program("nats", f"/usr/sbin/nats-server -c {short(self.etc / 'nats.conf')}", autostart="false",
                         stopwaitsecs=30)]
        for service in SERVICES:
            parts.append(program(
                service, f"checkout/deploy/local/exec-env {short(self.env / service)}.env "
                f"checkout/build/release/bin/cyxwiz-{service}", autostart="false", stopwaitsecs=40,
                stopasgroup="false", killasgroup="true"))
        return "".join(parts)

    def _link_checkout(self) -> None:
        """checkout -> the source tree, for the short paths of the supervisor's configuration."""
        link = self.home / "checkout"
        if not link.is_symlink() or os.readlink(link) != str(self.source):
            link.unlink(missing_ok=True)
            link.symlink_to(self.source)


def write_private(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def free_port(taken: set[int]) -> int:
    """A free port that the system will not hand out meanwhile: outgoing connections take theirs from a range, and a server
    that is restarted must find its own again (its clients even connect to themselves when they try a port out of it)."""
    try:
        limit = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        limit = 32768
    for _ in range(1000):
        port = 10000 + secrets.randbelow(limit - 10000) if limit > 12000 else 0
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            port = probe.getsockname()[1]
        if port not in taken:
            return port
    raise StackError("no free port found on 127.0.0.1")


def postgres_binary(name: str) -> str:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if folder.parent.name == "15" and (folder / name).exists():
            return str(folder / name)
    raise StackError("PostgreSQL 15 is not installed: run deploy/local/install run")


def can_traverse(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether `user` may pass through every folder above `path`, by mode bits."""
    for folder in path.parents:
        info = folder.stat()
        if info.st_uid == user.pw_uid:
            allowed = info.st_mode & stat.S_IXUSR
        elif info.st_gid == user.pw_gid:
            allowed = info.st_mode & stat.S_IXGRP
        else:
            allowed = info.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def postgres_user(layout: Layout) -> pwd.struct_passwd | None:
    """Who runs PostgreSQL, which refuses root: None when we are not root, or when we map ourselves (below)."""
    if os.getuid() != 0:
        return None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        return None
    return user if can_traverse(layout.pgdata, user) else None


def postgres_prefix(layout: Layout) -> str:
    """How to start a PostgreSQL program: as oneself; as root through setpriv to the user postgres; and in a folder that
    this user cannot reach (/root, say) as root under another number in a user namespace."""
    if os.getuid() != 0:
        return ""
    if postgres_user(layout):
        return "/usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups "
    user = pwd.getpwnam("postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody")
    return f"/usr/bin/unshare --user --map-user={user.pw_uid} --map-group={user.pw_gid} "
