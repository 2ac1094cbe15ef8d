"""Errors in settings that a user wrote."""


class SettingsError(Exception):
    """Usage error (exit code 2). The text is one plain sentence naming the flag, variable, or file and line."""
