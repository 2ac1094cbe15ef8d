"""The `wgmesh` command. Help imports click and the settings table, nothing heavier."""
