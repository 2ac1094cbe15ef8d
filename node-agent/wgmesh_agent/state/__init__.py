"""What an agent remembers of its mesh, in `<state-dir>/<mesh>/`."""
