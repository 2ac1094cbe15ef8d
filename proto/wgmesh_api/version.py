"""The version of this distribution; pyproject.toml reads it from here.

A constant, as `importlib.metadata` costs each agent a megabyte of memory for the same text.
"""

VERSION = "0.1.0"
