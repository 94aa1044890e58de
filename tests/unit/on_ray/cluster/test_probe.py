"""A cluster that is not there is told in seconds."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.probe import refuse_dead


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Listens, and does nothing else."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def answer(server: socket.socket, words: bytes) -> None:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()


def test_a_port_that_nobody_holds_is_refused(server: socket.socket) -> None:
    address = address_of(server)
    server.close()
    with pytest.raises(ResourceError, match=rf"RAY_ADDRESS is {address}, which does not answer.*unset"):
        refuse_dead(address)


def test_a_host_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ResourceError, match="does not answer within"):
        refuse_dead("no-such-host.invalid:6379")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_server_that_says_nothing_is_refused(server: socket.socket, scheme: str) -> None:
    with pytest.raises(ResourceError, match="takes connections and says nothing"):
        refuse_dead(scheme + address_of(server), wait_s=0.2)


def test_a_server_that_is_not_ray_is_refused(server: socket.socket) -> None:
    answer(server, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ResourceError, match="which is not Ray"):
        refuse_dead(address_of(server))


def test_a_grpc_server_is_taken_for_ray(server: socket.socket) -> None:
    # RFC 9113, 6.5: an empty SETTINGS frame, length 0, type 4, no flags, stream 0.
    answer(server, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    refuse_dead(address_of(server))


@pytest.mark.parametrize("name", ["auto", "local"])
def test_names_without_a_port_are_left_to_ray(name: str) -> None:
    refuse_dead(name)
