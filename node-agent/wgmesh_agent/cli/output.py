"""The flag `-o`: output as text or JSON."""

from __future__ import annotations

import click

OUTPUT = click.Option(
    ["-o", "--output"],
    type=click.Choice(["text", "json"]),
    default="text",
    metavar="text|json",
    help="output format; json is for programs and stable as documented",
)
