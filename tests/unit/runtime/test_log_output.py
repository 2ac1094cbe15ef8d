"""Log lines that are not accepted: lost and counted, without an error and without waiting."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.runtime.log_output import ATOMIC_BYTES, LogOutput, lost_lines
from wgmesh_agent.runtime.logging_config import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_whose_reader_has_gone_is_lost_and_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    before = lost_lines()
    with os.fdopen(writer, "w") as stream:
        configure_logging(Verbosity.DEBUG, LogFormat.TEXT, stream)
        structlog.get_logger().error("nobody reads this")
        logging.getLogger("library").error("nor this")
    assert lost_lines() == before + 2


def test_a_reader_that_stops_reading_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    before = lost_lines()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "w") as stream:
        output = LogOutput(stream)
        for _ in range(100):
            output.write("x" * 1023 + "\n")
        assert lost_lines() > before
        assert source.read1(1 << 20).endswith(b"x\n")
        lost = lost_lines()
        output.write("again\n")
        assert lost_lines() == lost
        assert source.read1(1 << 20) == b"again\n"


def test_a_full_disk_costs_the_line_alone() -> None:
    before = lost_lines()
    with Path("/dev/full").open("w") as stream:
        LogOutput(stream).write("a line\n")
    assert lost_lines() == before + 1


def test_a_closed_stream_costs_the_line_alone() -> None:
    stream = StringIO()
    stream.close()
    before = lost_lines()
    LogOutput(stream).write("a line\n")
    assert lost_lines() == before + 1


def test_long_lines_and_odd_text_come_through_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = "ä" * ATOMIC_BYTES + "\udcff\n"
    with path.open("w") as stream:
        LogOutput(stream).write(line)
    assert path.read_text() == "ä" * ATOMIC_BYTES + "\\udcff\n"
