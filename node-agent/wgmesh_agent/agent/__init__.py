"""The agent as a process: composition, sessions, start and end."""
