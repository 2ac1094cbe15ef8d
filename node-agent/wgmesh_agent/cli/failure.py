"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations


class CommandFailed(Exception):
    """A foreseeable failure (exit code 1). The text is one sentence: what happened, to whom, what to do."""
