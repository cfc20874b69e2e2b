"""A program at a terminal: with colors, as wide as the terminal, and with somebody who types an answer."""

import contextlib
import os
import pty
import struct
import subprocess
import termios
from fcntl import ioctl

from localcluster.controlplane import CHECKOUT

LINES = 40


def at_terminal(
    command: list[str], environment: dict[str, str], answer: str = "", columns: int = 80
) -> tuple[int, str]:
    """Run a program until it ends; `answer` is a line that is typed. Returns its status and what the terminal got."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    variables = {**environment, "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=CHECKOUT, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        with contextlib.suppress(OSError):  # the program has ended, and with it the other end
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    return process.returncode, shown.decode(errors="replace").replace("\r\n", "\n")
