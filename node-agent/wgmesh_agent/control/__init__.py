"""The agent's socket: API of a running agent for the command line."""
