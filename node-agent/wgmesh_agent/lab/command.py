"""Runs other programs: argument lists, never a shell; an error contains the command and its output."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence


class LabError(Exception):
    """The lab cannot be set up, or a command in it failed."""


def run(
    command: Sequence[str],
    *,
    check: bool = True,
    seconds: float = 30.0,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end.

    Args:
        text: its standard input.

    Raises:
        LabError: it is not installed, took longer than `seconds`, or failed while `check` is set.
    """
    if shutil.which(command[0]) is None:
        raise LabError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603
            list(command), capture_output=True, text=True, timeout=seconds, env=env, input=text, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)} did not end within {seconds:g} s") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(command)} failed with status {done.returncode}: {said}")
    return done
