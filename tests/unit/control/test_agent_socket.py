"""The agent's socket: leftovers of a killed agent are removed, and nothing else."""

import socket
from pathlib import Path

import pytest

from wgmesh_agent.control.server import SocketInUse, remove_stale_socket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


def test_nothing_there_is_fine(path: Path) -> None:
    remove_stale_socket(path)
    assert not path.exists()


def test_the_socket_of_a_killed_agent_is_removed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    remove_stale_socket(path)
    assert not path.exists()


def test_a_socket_that_somebody_answers_at_stays_and_is_reported(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(SocketInUse, match=r"another agent answers at .*agent-grpc-bind-socket"):
            remove_stale_socket(path)
    assert path.is_socket()


def test_a_file_of_that_name_is_never_removed(path: Path) -> None:
    path.write_text("somebody's")
    with pytest.raises(OSError, match="exists and is not a socket"):
        remove_stale_socket(path)
    assert path.read_text() == "somebody's"


def test_a_link_to_another_s_socket_is_not_followed(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(elsewhere))
    path.symlink_to(elsewhere)
    with pytest.raises(OSError, match="exists and is not a socket"):
        remove_stale_socket(path)
    assert elsewhere.is_socket()
