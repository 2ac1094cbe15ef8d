"""An agent's stored state of its mesh, in `<state-dir>/<mesh>/`."""
