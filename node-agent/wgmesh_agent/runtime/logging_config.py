"""Logging: one line per record, text or JSON, with secrets redacted whatever the caller passes.

`structlog.get_logger()` everywhere; records of libraries that use `logging` are formatted the same way.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from wgmesh_agent.runtime.log_levels import LogFormat, Verbosity
from wgmesh_agent.runtime.log_output import LogOutput

REDACTED = "[redacted]"

_SECRET_WORDS = ("key", "token", "secret", "password", "authorization")
_PUBLIC_FIELDS = ("pubkey", "public_key", "publickey")
_LEVELS = {
    Verbosity.DEFAULT: logging.WARNING,
    Verbosity.VERBOSE: logging.INFO,
    Verbosity.DEBUG: logging.DEBUG,
}
_LEVEL_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
# pyroute2 and asyncio log every message at debug level, which would hide this program's own records
_LIBRARIES_LEVEL = logging.INFO


def configure_logging(verbosity: Verbosity, log_format: LogFormat, stream: TextIO) -> LogOutput:
    """Sends this process's log records to `stream` from now on, where they never raise; returns that output.

    Colour only if `stream` is a terminal.
    """
    level = _LEVELS[verbosity]
    shared = _shared_processors(log_format)
    output = LogOutput(stream)
    renderer = _renderer(log_format, colour=output.isatty())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, output)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shared, renderer],
            pass_foreign_args=False,
        )
    )
    logging.basicConfig(level=max(level, _LIBRARIES_LEVEL), handlers=[handler], force=True)
    return output


def redact_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redacts the value of each field, at any depth, whose name contains key, token or secret.

    Public keys are not secret: a name with `pubkey` or `public_key` in it keeps its value.
    """
    return {name: _redacted(name, value) for name, value in event.items()}


def one_line_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Converts `exc_info` into the field `exception`: type, text, calls; causes after `because`."""
    exc_info = event.pop("exc_info", None)
    error = _exception_of(exc_info)
    if error is not None:
        event["exception"] = _described(error)
    return event


def _shared_processors(log_format: LogFormat) -> list[Processor]:
    as_json = log_format is LogFormat.JSON
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%Y-%m-%d %H:%M:%S", utc=as_json),
        one_line_exception,
        redact_secrets,
    ]


def _renderer(log_format: LogFormat, *, colour: bool) -> Processor:
    if log_format is LogFormat.JSON:
        return structlog.processors.JSONRenderer(default=str)

    def render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        level = str(event.pop("level", ""))
        label = f"{level.upper():7}"
        if colour and level in _LEVEL_COLOURS:
            label = f"\x1b[{_LEVEL_COLOURS[level]}m{label}\x1b[0m"
        line = f"{event.pop('timestamp', '')} {label} {_printable(str(event.pop('event', '')))}"
        return " ".join([line, *(f"{name}={_field(value)}" for name, value in event.items())])

    return render_text


def _redacted(name: str, value: Any) -> Any:
    lowered = name.lower()
    if any(word in lowered for word in _PUBLIC_FIELDS):
        return value
    if any(word in lowered for word in _SECRET_WORDS):
        return REDACTED
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), inner_value) for inner, inner_value in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item) for item in value]
    return value


def _field(value: Any) -> str:
    text = _printable(str(value))
    return f'"{text}"' if not text or " " in text else text


def _printable(text: str) -> str:
    # names and tags are untrusted: terminal control sequences must be escaped
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        error = exc_info[1]
        return error if isinstance(error, BaseException) else None
    if exc_info:
        return sys.exc_info()[1]
    return None


def _described(error: BaseException) -> str:
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append(f"{type(current).__name__}: {current} (at {_calls(current.__traceback__)})")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " because ".join(parts)


def _calls(tb: TracebackType | None) -> str:
    frames = traceback.extract_tb(tb)
    return (
        " < ".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        or "?"
    )


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 2)[-2:])
