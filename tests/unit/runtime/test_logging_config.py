"""Log records: one line each, readable or JSON, at the level asked, without secrets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.runtime.logging_config import REDACTED, configure_logging, redact_secrets


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def text_log(verbosity: Verbosity = Verbosity.DEBUG) -> StringIO:
    stream = StringIO()
    configure_logging(verbosity, LogFormat.TEXT, stream)
    return stream


def json_log() -> StringIO:
    stream = StringIO()
    configure_logging(Verbosity.DEBUG, LogFormat.JSON, stream)
    return stream


def only(stream: StringIO) -> Any:
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def test_a_text_line_says_when_how_grave_what_and_about_what() -> None:
    stream = text_log()
    structlog.get_logger().info("member joined", node="alpha", addr="10.232.1.2", note="a b", empty="")
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO    member joined node=alpha addr=10\.232\.1\.2 note="a b" empty=""\n',
        stream.getvalue(),
    )


def test_a_json_line_is_a_document_with_utc_time() -> None:
    stream = json_log()
    structlog.get_logger().warning("claim rejected", reason="key taken", count=3)
    record = only(stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"level": "warning", "event": "claim rejected", "reason": "key taken", "count": 3}


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (Verbosity.DEFAULT, ["warning", "error"]),
        (Verbosity.VERBOSE, ["info", "warning", "error"]),
        (Verbosity.DEBUG, ["debug", "info", "warning", "error"]),
    ],
)
def test_flags_choose_what_is_shown(verbosity: Verbosity, shown: list[str]) -> None:
    stream = StringIO()
    configure_logging(verbosity, LogFormat.JSON, stream)
    log = structlog.get_logger()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("x")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == shown


def test_loggers_made_before_configuring_follow_it() -> None:
    log = structlog.get_logger()
    stream = json_log()
    log.info("late")
    assert only(stream)["event"] == "late"


def test_records_of_libraries_come_out_the_same_way() -> None:
    stream = json_log()
    logging.getLogger("pyroute2").warning("odd message %s", 7)
    record = only(stream)
    assert (record["event"], record["level"], record["logger"]) == ("odd message 7", "warning", "pyroute2")


def test_libraries_do_not_drown_ours_in_debug() -> None:
    stream = text_log()
    logging.getLogger("asyncio").debug("Using selector")
    assert stream.getvalue() == ""


def test_colour_is_for_terminals_only() -> None:
    stream = Terminal()
    configure_logging(Verbosity.DEBUG, LogFormat.TEXT, stream)
    structlog.get_logger().error("x")
    assert "\x1b[31m" in stream.getvalue()
    plain = text_log()
    structlog.get_logger().error("x")
    assert "\x1b" not in plain.getvalue()


@pytest.mark.parametrize(
    "name",
    ["key", "private_key", "encryptionKey", "join_token", "SECRET", "password", "authorization", "keys"],
)
def test_values_of_secret_fields_are_blotted_out(name: str) -> None:
    for start in (text_log, json_log):
        stream = start()
        structlog.get_logger().info("x", **{name: "hunter2"})
        assert "hunter2" not in stream.getvalue()
        assert REDACTED in stream.getvalue()


def test_secrets_deeper_down_are_blotted_out_too() -> None:
    stream = json_log()
    structlog.get_logger().info("x", answer={"joinToken": "hunter2", "list": [{"key": "hunter2"}], "ok": 1})
    assert only(stream)["answer"] == {"joinToken": REDACTED, "list": [{"key": REDACTED}], "ok": 1}


@pytest.mark.parametrize("name", ["pubkey", "peer_pubkey", "public_key", "PublicKey"])
def test_public_keys_are_no_secrets(name: str) -> None:
    stream = text_log()
    structlog.get_logger().info("x", **{name: "abc="})
    assert f"{name}=abc=" in stream.getvalue()


def test_fields_of_libraries_are_blotted_out_as_well() -> None:
    stream = json_log()
    with structlog.contextvars.bound_contextvars(token="hunter2"):
        logging.getLogger("x").warning("y")
    assert "hunter2" not in stream.getvalue()


@given(st.text(), st.text())
def test_no_text_breaks_a_line_or_reaches_the_terminal_raw(event: str, value: str) -> None:
    stream = text_log()
    structlog.get_logger().info(event, value=value)
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()


def test_an_exception_is_one_line_with_where_and_why() -> None:
    def inner() -> None:
        raise KeyError("deep\nreason")

    stream = text_log()
    try:
        try:
            inner()
        except KeyError as error:
            raise RuntimeError("could not") from error
    except RuntimeError:
        structlog.get_logger().exception("task failed")
    (line,) = stream.getvalue().splitlines()
    assert "RuntimeError: could not" in line
    assert "because KeyError: " in line
    assert re.search(r"test_logging_config\.py:\d+ inner", line)


def test_an_exception_given_by_itself_is_described() -> None:
    stream = json_log()
    structlog.get_logger().error("x", exc_info=ValueError("bad"))
    assert only(stream)["exception"].startswith("ValueError: bad")


def test_an_exception_of_a_library_is_described() -> None:
    stream = json_log()
    logging.getLogger("asyncio").error("Task exception", exc_info=ValueError("bad"))
    assert only(stream)["exception"].startswith("ValueError: bad")


def test_values_json_does_not_know_are_written_as_text() -> None:
    stream = json_log()
    structlog.get_logger().info(
        "x",
        value={
            1,
        },
    )
    assert only(stream)["value"] == "{1}"


def test_redaction_leaves_other_fields_alone() -> None:
    event = {"event": "x", "node": "alpha", "count": 2}
    assert redact_secrets(None, "info", dict(event)) == event
