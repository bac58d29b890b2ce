"""A command on a terminal of its own: what a person would see."""

import fcntl
import os
import pty
import struct
import subprocess
import termios


def on_a_terminal(columns, *command, env=None, cwd=None):
    """What a terminal of so many columns is sent, once the command has ended well."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    sent = b""
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env, cwd=cwd) as process:
        os.close(follower)
        try:
            while part := os.read(leader, 65536):
                sent += part
        except OSError:  # Linux says so when the other end is closed
            pass
        os.close(leader)
    assert process.returncode == 0, sent
    return sent.decode()
