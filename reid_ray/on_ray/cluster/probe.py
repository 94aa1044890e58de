"""Find out in seconds whether a Ray cluster answers at an address; Ray itself would try for minutes.

In: the address of a cluster, as in RAY_ADDRESS. Out: nothing, or an error that says what is wrong.
"""

import os
import socket

from reid_ray.errors import ResourceError

WAIT_S = 5.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How an HTTP/2 client begins: the preface and empty settings."""
_SETTINGS = 4
"""The kind of frame with which every HTTP/2 server, so every gRPC server, begins."""


def refuse_dead(address: str, *, wait_s: float = WAIT_S) -> None:
    """Return if something that may be Ray answers there.

    Names without a port (`auto`, `local`) are left to Ray, which knows soon.

    Raises:
        ResourceError: no such host, nobody answers within `wait_s`, or something that is not Ray.
    """
    host, port = _host_and_port(address)
    if not host:
        return
    try:
        with socket.create_connection((host, port), timeout=wait_s) as connection:
            wrong = "" if os.environ.get("RAY_USE_TLS") == "1" else _silent(connection)
    except OSError as error:
        wrong = f"does not answer within {wait_s:.0f} s ({error})"
    if wrong:
        raise ResourceError(
            f"RAY_ADDRESS is {address}, which {wrong}; start that cluster or give the right address, or "
            "unset RAY_ADDRESS to use this machine alone"
        )


def _silent(connection: socket.socket) -> str:
    """What is wrong with who took the connection; "" where it speaks as Ray does."""
    connection.sendall(_HELLO)
    head = b""
    try:
        while len(head) < 4 and (part := connection.recv(4 - len(head))):
            head += part
    except TimeoutError:
        return "takes connections and says nothing"
    return "" if len(head) == 4 and head[3] == _SETTINGS else "is not Ray"


def _host_and_port(address: str) -> tuple[str, int]:
    """("", 0) where it has no port."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdecimal() else ("", 0)
