"""The flag `-o`: for people or for programs."""

from __future__ import annotations

import click

OUTPUT = click.Option(
    ["-o", "--output"],
    type=click.Choice(["text", "json"]),
    default="text",
    metavar="text|json",
    help="how to print; json is for programs and stays as documented",
)
