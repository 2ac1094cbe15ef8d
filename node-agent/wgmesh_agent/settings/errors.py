"""The one way settings go wrong: somebody wrote something that cannot be used."""


class SettingsError(Exception):
    """Wrong use (exit code 2). The text is one plain sentence naming the flag, variable, or file and line."""
