"""`stocktake` on the PATH of the pages: has tests/docs/forks.py do it. It loads as little as it can."""

import marshal
import os
import signal
import socket
import sys


def main() -> int:
    """Hand the call over, pass signals on, and end as it ends; 70 if nobody took it."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(os.environ["DOCS_FORKS"])
    environ = {name: value for name, value in os.environ.items() if name != "DOCS_FORKS"}
    given = marshal.dumps((sys.argv[1:], environ, os.getcwd()))
    socket.send_fds(server, [len(given).to_bytes(4, "big") + given], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda which, _: server.sendall(bytes([which])))
    answer = server.recv(1)
    return answer[0] if answer else 70


sys.exit(main())
