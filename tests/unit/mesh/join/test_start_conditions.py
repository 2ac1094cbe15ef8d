"""Waiting for what a machine lacks at its start: what passes, what is said of it, and what ends the wait."""

from __future__ import annotations

import errno

import pytest
import structlog

from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint, UnusableEndpoint
from wgmesh_agent.mesh.join.start_conditions import Waiting, is_passing, sentence
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError, UapiError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        NoUsableEndpoint("no address"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        caused(KernelError("port"), OSError(errno.EADDRINUSE, "Address already in use")),
        caused(UapiError("port"), OSError(errno.EADDRINUSE, "errno=-98")),
    ],
)
def test_what_a_machine_may_get_is_waited_for(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        UnusableEndpoint("inside the mesh"),
        ForeignInterfaceError("not ours"),
        KernelError("no such"),
        OSError(errno.EACCES, "Permission denied"),
        ValueError("a mistake of ours"),
    ],
)
def test_what_only_somebody_can_mend_is_not_waited_for(error: Exception) -> None:
    assert not is_passing(error)


async def test_it_is_tried_until_it_succeeds_and_said_once_for_each_reason() -> None:
    answers: list[Exception] = [NoUsableEndpoint("no address")] * 5 + [
        OSError(errno.ENOSPC, "No space left", "/state")
    ] * 5

    async def attempt() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    with structlog.testing.capture_logs() as lines:
        async with Waiting(try_seconds=0.001) as host:
            assert await host.until(attempt) == "done"
    assert [line["reason"] for line in lines] == ["no address", "cannot use /state: no space left"]


async def test_what_will_not_pass_is_raised_at_once() -> None:
    async def attempt() -> None:
        raise UnusableEndpoint("inside the mesh")

    async with Waiting(try_seconds=0.001) as host:
        with pytest.raises(UnusableEndpoint):
            await host.until(attempt)


def test_what_lasts_is_said_ever_more_seldom() -> None:
    now = 0.0
    host = Waiting(clock=lambda: now)
    with structlog.testing.capture_logs() as lines:
        for now in range(3600):  # noqa: B007 - the clock reads it
            host.say("port 54540 is taken")
    # At 0, 2, 6, 14 and 30 minutes.
    assert len(lines) == 5


def test_a_fault_of_a_file_names_it() -> None:
    assert (
        sentence(OSError(errno.EROFS, "Read-only file system", "/a"))
        == "cannot use /a: read-only file system"
    )
    assert sentence(OSError(errno.EADDRINUSE, "Address already in use")) == "Address already in use"
