"""The agent process: composition, sessions, start and end."""
