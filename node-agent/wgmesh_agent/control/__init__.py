"""The agent's socket: what the command line asks a running agent."""
