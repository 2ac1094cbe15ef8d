"""Failure of a command, as an exception."""

from __future__ import annotations


class CommandFailed(Exception):
    """A foreseeable failure (exit code 1). The text is one sentence: what happened, to which object, what to do."""
