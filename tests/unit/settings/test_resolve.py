"""Flag before variable before file before default, for every setting there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wgmesh_agent.settings import bootstrap_table, table
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.resolve import Layer, resolve
from wgmesh_agent.settings.setting import Command, Setting

# for each way of reading a setting, three texts that mean different things
SAMPLES: dict[str, tuple[str, str, str]] = {
    "name": ("one", "two", "three"),
    "node-name": ("one", "two", "three"),
    "cidr": ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"),
    "cidr-ipam": ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"),
    "ip": ("10.1.1.1", "10.2.1.1", "10.3.1.1"),
    "grpc-bind-addr": ("10.1.1.1", "10.2.1.1", "10.3.1.1"),
    "mesh-encryption-key": ("A" * 42 + "A=", "A" * 42 + "E=", "A" * 42 + "I="),
    "bootstrap-addr": ("a:1", "b:2", "c:3"),
    "agent-grpc-bind-socket-id": ("1:1", "2:2", "3:3"),
    "profile": ("lan", "wan", "local"),
    "backend": ("kernel", "userspace", "auto"),
    "stun-server": ("a:1", "b:2", "c:3"),
    "relays": ("a", "b", "c"),
    "listen-addr": ("eth1", "eth2", "eth3"),
}
PORTS = ("1001", "1002", "1003")
PATHS = ("/one", "/two", "/three")
FIRST_COMMAND = {
    setting: next(c for c in Command if c & setting.commands) for setting in table.SETTINGS if setting.yaml
}


def samples(setting: Setting[Any]) -> tuple[str, str, str]:
    name = setting.flags[0]
    if name in SAMPLES:
        return SAMPLES[name]
    if name.endswith("port") or name == "join-timeout":
        return PORTS
    return PATHS


def nested(dotted: str, text: str) -> str:
    keys = dotted.split(".")
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    return "\n".join(lines) + f" '{text}'\n"


def write_config(folder: Path, dotted: str, text: str) -> str:
    path = folder / "wgmesh.yaml"
    path.write_text(nested(dotted, text))
    return str(path)


VALUED = [s for s in table.SETTINGS if s.yaml and not s.is_switch and s.flags[0] != "log-format"]


@pytest.mark.parametrize("setting", VALUED, ids=lambda s: f"{s.commands.value}-{s.flags[0]}")
def test_a_flag_beats_its_variable_beats_the_file_beats_the_default(
    setting: Setting[Any], tmp_path: Path
) -> None:
    by_flag, by_env, by_yaml = samples(setting)
    command = FIRST_COMMAND[setting]
    flags = {setting.flags[0]: [by_flag]}
    environment = {setting.env[0]: by_env}
    config = {"config": [write_config(tmp_path, setting.yaml[0], by_yaml)]}

    assert resolve(command, {**flags, **config}, environment).value(setting) == setting.parse(by_flag)
    assert resolve(command, config, environment).value(setting) == setting.parse(by_env)
    assert resolve(command, config, {}).value(setting) == setting.parse(by_yaml)
    assert resolve(command, {}, {}).value(setting) == setting.default


@pytest.mark.parametrize("setting", VALUED, ids=lambda s: f"{s.commands.value}-{s.flags[0]}")
def test_a_wrong_value_names_the_flag_the_variable_or_the_line(setting: Setting[Any], tmp_path: Path) -> None:
    wrong = "\0"
    command = FIRST_COMMAND[setting]
    with pytest.raises(SettingsError) as by_flag:
        resolve(command, {setting.flags[0]: [wrong]}, {})
    assert str(by_flag.value).startswith(f"-{setting.flags[0]}: ")
    with pytest.raises(SettingsError) as by_env:
        resolve(command, {}, {setting.env[0]: wrong})
    assert str(by_env.value).startswith(f"{setting.env[0]}: ")
    dotted = setting.yaml[0]
    config = tmp_path / "wgmesh.yaml"
    config.write_text(nested(dotted, "@").replace("'@'", '"\\0"'))
    with pytest.raises(SettingsError) as by_yaml:
        resolve(command, {"config": [str(config)]}, {})
    assert str(by_yaml.value).startswith(f"{config}:{dotted.count('.') + 1}: {dotted}: ")


@pytest.mark.parametrize("setting", [s for s in table.SETTINGS if len(s.env) > 1], ids=lambda s: s.env[1])
def test_older_spellings_of_variables_still_work(setting: Setting[Any]) -> None:
    text = samples(setting)[0]
    resolved = resolve(FIRST_COMMAND[setting], {}, {setting.env[1]: text})
    assert resolved.value(setting) == setting.parse(text)


def test_the_memberlist_file_may_stand_under_bootstrap_as_it_used_to(tmp_path: Path) -> None:
    config = write_config(tmp_path, "bootstrap.memberlist-file", "/m.json")
    resolved = resolve(Command.BOOTSTRAP, {"config": [config]}, {})
    assert resolved.value(table.MEMBERLIST_FILE) == Path("/m.json")


def test_the_config_file_may_be_named_by_variable(tmp_path: Path) -> None:
    config = write_config(tmp_path, "mesh-name", "blue")
    assert resolve(Command.JOIN, {}, {"WGMESH_CONFIG": config}).value(table.MESH_NAME) == "blue"


def test_a_repeated_list_flag_adds_up_and_another_repeated_flag_means_its_last() -> None:
    resolved = resolve(Command.JOIN, {"bootstrap-addr": ["a,b", "c"], "name": ["one", "two"]}, {})
    assert [peer.host for peer in resolved.value(table.BOOTSTRAP_ADDRS)] == ["a", "b", "c"]
    assert resolved.value(table.MESH_NAME) == "two"


def test_an_empty_flag_means_the_default_whatever_weaker_sources_say(tmp_path: Path) -> None:
    config = write_config(tmp_path, "bootstrap.mesh-cidr-range", "10.3.0.0/16")
    resolved = resolve(
        Command.BOOTSTRAP, {"cidr": [""], "config": [config]}, {"WGMESH_CIDR_RANGE": "10.2.0.0/16"}
    )
    assert resolved.value(bootstrap_table.CIDRS) == bootstrap_table.CIDRS.default


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    config = write_config(tmp_path, "mesh-name", "blue")
    resolved = resolve(Command.JOIN, {"config": [config]}, {"WGMESH_MESH_NAME": " "})
    assert resolved.value(table.MESH_NAME) == "blue"


def test_switches_from_every_source(tmp_path: Path) -> None:
    setting = bootstrap_table.SERF_MODE_LAN
    config = {"config": [write_config(tmp_path, setting.yaml[0], "true")]}
    assert resolve(Command.BOOTSTRAP, config, {}).value(setting) is True
    assert resolve(Command.BOOTSTRAP, config, {"WGMESH_SERF_MODE_LAN": "off"}).value(setting) is False
    assert resolve(Command.BOOTSTRAP, {"serf-mode-lan": ["true"]}, {"WGMESH_SERF_MODE_LAN": "0"}).value(
        setting
    )


def test_the_file_is_checked_whole_whatever_command_reads_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, "bootstrap.grpc-bind-port", "none")
    with pytest.raises(SettingsError, match=r"wgmesh\.yaml:2: bootstrap\.grpc-bind-port: "):
        resolve(Command.JOIN, {"config": [config]}, {})


def test_a_variable_of_another_command_is_not_looked_at() -> None:
    resolve(Command.CLIENT, {}, {"WGMESH_GRPC_BIND_PORT": "none"})


def test_join_and_bootstrap_read_the_same_variable_but_different_keys(tmp_path: Path) -> None:
    config = {"config": [write_config(tmp_path, "join.bootstrap-endpoint", "a")]}
    assert resolve(Command.JOIN, config, {}).value(table.BOOTSTRAP_ADDRS) != ()
    assert resolve(Command.BOOTSTRAP, config, {}).value(bootstrap_table.BOOTSTRAP_PEERS) == ()


def test_an_origin_knows_its_layer() -> None:
    resolved = resolve(Command.JOIN, {"name": ["blue"]}, {"WGMESH_NODE_NAME": "x"})
    assert resolved.origin(table.MESH_NAME).layer is Layer.FLAG
    assert resolved.origin(table.NODE_NAME).layer is Layer.ENVIRONMENT
    assert resolved.origin(table.LISTEN_PORT).layer is Layer.DEFAULT
    assert not resolved.is_given(table.LISTEN_PORT)
