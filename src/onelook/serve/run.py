"""The server in a process of its own."""

import logging
import socket

import uvicorn
from fastapi import FastAPI

from onelook.errors import Error
from onelook.runtime.picture import reason

KEEP_ALIVE = 75  # seconds for which a connection without a request stays open, as other servers have it
DRAIN = 1.0  # seconds beyond the deadline in which what was accepted is answered after SIGTERM


def run(app: FastAPI, host: str, port: int, deadline: float) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted by then is answered.

    Args:
        app: as of `create_app`.
        host, port: to listen at; port 0 takes a free one.
        deadline: of a request, seconds.

    Raises:
        Error: the address cannot be listened at.
    """
    listener = _listen(host, port)
    own_host, own_port = listener.getsockname()[:2]
    shown = f"[{own_host}]" if ":" in own_host else own_host
    print(f"http://{shown}:{own_port}", flush=True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every form that is none
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(deadline + DRAIN) + 1,
        server_header=False,
    )
    uvicorn.Server(config).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.set_inheritable(True)
    except (OSError, OverflowError, UnicodeError) as error:
        raise Error(f"cannot listen at {host}:{port}: {reason(error)}") from None
    return listener
