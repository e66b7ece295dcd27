"""Runs the program in a fork of one process that has loaded it, since a page has dozens of commands and loading takes
most of a short one's time.

``python -m tests.docs.forks SOCKET`` serves; ``call.py`` is the program that stands on PATH as `stocktake`. Arguments,
environment, working directory and the three standard files are the caller's, signals are passed on, and so is the exit
code. Nothing is loaded before a fork but modules.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from select import select
from typing import Final

from stocktake.cli import main, parser

_LONGEST: Final = 1 << 20


def serve(path: str) -> None:
    """Answer until the process is ended; one fork watches over each call, and one more is the call."""
    for name in ("redis.cluster", "redis.sentinel", "kafka.admin", "uvicorn", "pydicom", "encodings.idna"):
        import_module(name)
    parser()  # loads every command
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        while True:
            caller, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _watch(caller)
                os._exit(0)
            caller.close()


def _watch(caller: socket.socket) -> None:
    """Start the call, pass signals on to it, tell how it ended."""
    given, files, _, _ = socket.recv_fds(caller, _LONGEST, 3)
    while len(given) < 4 + int.from_bytes(given[:4], "big"):
        given += caller.recv(_LONGEST)
    called = os.fork()
    if called == 0:
        caller.close()
        _become(given[4:], files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(called)
    while True:
        ready, _, _ = select([caller.fileno(), ended], [], [])
        if ended in ready:
            break
        word = caller.recv(1)
        os.kill(called, word[0] if word else signal.SIGKILL)
        if not word:
            break
    _, status = os.waitpid(called, 0)
    code = os.waitstatus_to_exitcode(status)
    caller.sendall(bytes([code if code >= 0 else 128 - code]))


def _become(given: bytes, files: list[int]) -> None:
    code = 70
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        arguments, environ, folder = marshal.loads(given)  # noqa: S302 -- of call.py, by a socket of this test
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = ["stocktake", *arguments]
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
