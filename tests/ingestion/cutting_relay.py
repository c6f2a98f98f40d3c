"""A TCP relay on a port of its own, run by a test as a process: `cutting_relay.py PORT LIMIT [gone]`.

It writes its port, and `cut` when a connection had more than LIMIT bytes from the server: that one is dropped then, and
with `gone` the relay ends with it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

PORT, LIMIT, GONE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["gone"]


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    _say(str(listening.getsockname()[1]))
    while True:
        client, _ = listening.accept()
        server = socket.create_connection(("127.0.0.1", PORT))
        threading.Thread(target=_pass_on, args=(client, server, None), daemon=True).start()
        threading.Thread(target=_pass_on, args=(server, client, LIMIT), daemon=True).start()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _pass_on(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    passed = 0
    try:
        while data := source.recv(65_536):
            passed += len(data)
            if limit is not None and passed > limit:
                _say("cut")
                if GONE:
                    os._exit(0)
                break
            target.sendall(data)
        for end in (source, target):
            end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other direction ended this pair


if __name__ == "__main__":
    main()
