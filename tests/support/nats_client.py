"""A NATS client of a page, for tests that play a worker: publish, request, subscribe. One thread at a time.

  with Nats(url, user=node_id, password=node_id, inbox=f"_INBOX_{node_id}") as nats:
      offers = nats.subscribe(f"cyx.node.{node_id}.offer")
      reply = nats.request(f"cyx.svc.scheduler.accept.{node_id}", {...})
      offer = nats.next(offers)
"""

import base64
import json
import re
import socket
import time
import urllib.parse
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Nats:
    def __init__(self, url, user=None, password=None, inbox="_INBOX", creds=None):
        parts = urllib.parse.urlparse(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self.bytes = b""
        self.waiting = {}
        self.inbox = f"{inbox}.{uuid.uuid4().hex}"
        self.last_id = 0
        info = json.loads(self._line().split(b" ", 1)[1])
        options = {"verbose": False, "headers": True, "no_responders": True, "lang": "test", "version": "1"}
        if user or parts.username:
            options |= {"user": user or parts.username, "pass": password or parts.password}
        if creds:
            options |= self._signed(Path(creds).read_text(), info["nonce"])
        self._send(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        self._until(lambda line: line == b"PONG")
        self.replies = self.subscribe(f"{self.inbox}.*") if inbox else None  # without one: a credential that may ask nothing

    @staticmethod
    def _signed(creds, nonce) -> dict:
        """The token of a credentials file, and the server's nonce signed with its seed."""
        token, seed = re.findall(r"-----BEGIN [A-Z ]+-----\n(.*?)\n", creds)
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        signature = Ed25519PrivateKey.from_private_bytes(raw[2:34]).sign(nonce.encode())
        return {"jwt": token, "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def subscribe(self, subject) -> int:
        self.last_id += 1
        self.waiting[self.last_id] = []
        self._send(f"SUB {subject} {self.last_id}\r\nPING\r\n".encode())
        self._until(lambda line: line == b"PONG")
        return self.last_id

    def publish(self, subject, message, reply="", headers=None):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        if headers:
            head = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
            start = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n{head}"
        else:
            start = f"PUB {subject} {reply} {len(data)}\r\n"
        self._send(start.encode() + data + b"\r\n")

    def request(self, subject, message, timeout=10, headers=None) -> dict:
        to = f"{self.inbox}.{uuid.uuid4().hex}"
        self.publish(subject, message, to, headers)
        while True:
            got_subject, data = self.next(self.replies, timeout)
            if got_subject == to:
                return json.loads(data) if data else {"error": {"status": "unavailable"}}

    def next(self, subscription, timeout=10):
        """The subscription's next message as (subject, bytes)."""
        end = time.monotonic() + timeout
        while not self.waiting[subscription]:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            self._until(lambda line: True)
        return self.waiting[subscription].pop(0)

    def _send(self, data):
        self.socket.settimeout(10)
        self.socket.sendall(data)

    def _more(self):
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("NATS closed the connection")
        self.bytes += part

    def _line(self) -> bytes:
        while b"\r\n" not in self.bytes:
            self._more()
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def _until(self, wanted):
        """Reads, keeping messages for their subscriptions, until a line (or a message) is the wanted one."""
        while True:
            line = self._line()
            words = line.split()
            if words and words[0] in (b"MSG", b"HMSG"):
                size = int(words[-1])
                while len(self.bytes) < size + 2:
                    self._more()
                data, self.bytes = self.bytes[:size], self.bytes[size + 2:]
                if words[0] == b"HMSG":
                    data = data[int(words[-2]):]
                self.waiting[int(words[2])].append((words[1].decode(), data))
            elif line == b"PING":
                self._send(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise ConnectionError(line.decode())
            if wanted(line):
                return
