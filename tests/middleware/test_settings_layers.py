"""Tests the order of the settings' layers, and that an error names the place where the value was written."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from middleware.configuration import load_settings
from offload.settings import Settings, SettingsError, redacted


def _file(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def test_later_layers_win(tmp_path: Path) -> None:
    file = _file(tmp_path, "preset: demo\ntime: {slots: 10, slot_s: 200 ms}\nseed: 3\n")
    settings = load_settings(None, file, ["time.slots=30"], {"OFFLOAD_TIME__SLOTS": "20", "OFFLOAD_SEED": "4"})
    assert settings.time.slots == 30  # command line over environment over file
    assert settings.seed == 4  # environment over file
    assert settings.time.slot_s == 0.2  # file over preset
    assert settings.network.nodes == 5  # the file's preset over the defaults
    assert settings.tasks.deadline_s == 1.0


def test_a_preset_of_the_command_line_replaces_the_files(tmp_path: Path) -> None:
    file = _file(tmp_path, "preset: demo\n")
    assert load_settings("paper-simulation", file, (), {}).network.nodes == 20


def test_nothing_is_the_defaults(tmp_path: Path) -> None:
    assert load_settings(None, None, (), {}) == Settings()
    assert load_settings(None, _file(tmp_path, ""), (), {}) == Settings()


def test_keys_may_be_written_flat_or_nested_in_a_file(tmp_path: Path) -> None:
    assert load_settings(None, _file(tmp_path, "time.slots: 7\n"), (), {}).time.slots == 7


def test_values_are_yaml_with_units() -> None:
    sets = [
        "network.rate_bps=[10 MB/s, 40 MB/s]",
        "scheduler.model=null",
        "tasks.deadline_s= 500 ms",
        "log_level=DEBUG",
    ]
    settings = load_settings(None, None, sets, {})
    assert settings.network.rate_bps == (80e6, 320e6)
    assert settings.scheduler.model is None
    assert settings.tasks.deadline_s == 0.5


def test_who_a_pod_is_is_no_setting() -> None:
    environment = {
        "OFFLOAD_RUN": "demo",
        "OFFLOAD_NODE": "3",
        "OFFLOAD_BIND": "127.0.0.1:0",
        "OFFLOAD_DATA_DIR": "/tmp/x",
        "OFFLOAD_LIFELINE": "1",
        "OFFLOAD_TEST_MYSQL_URL": "mysql+pymysql://x",
        "OFFLOAD_CONTROLLER_SERVICE_HOST": "10.0.0.1",
        "OFFLOAD_SERVICES__STORAGE": "database:",
    }
    settings = load_settings(None, None, (), environment)
    assert settings.services.storage == "database:"
    assert settings.model_copy(update={"services": Settings().services}) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("network.nodse", "3", r"network\.nodse: is not a setting, did you mean nodes\? Keys of this section: nodes"),
        ("netwrok.nodes", "3", "netwrok: is not a setting"),
        ("network.nodes", "0", r"network\.nodes: 0 is not a whole number from 1 to 1000"),
        ("network.arrival_probability", "[0, 1.5]", r"network\.arrival_probability: .*not probabilities"),
        ("network.rate_bps", "[0, 1]", r"network\.rate_bps: .*above 0"),
        ("tasks.deadline_s", "3 GHz", r"tasks\.deadline_s: '3 GHz' is not a duration.*500 ms"),
        ("tasks.size_bits", "[1 s, 2 s]", r"tasks\.size_bits\[0\]: '1 s' is not an amount of data"),
        ("time.failure_timing", "never", r"time\.failure_timing: .*'end' or 'event'"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_path_in_every_layer(
    tmp_path: Path, key: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        load_settings(None, None, [f"{key}={value}"], {})
    with pytest.raises(SettingsError, match=expected):
        load_settings(None, None, (), {f"OFFLOAD_{key.upper().replace('.', '__')}": value})
    with pytest.raises(SettingsError, match=expected):
        load_settings(None, _file(tmp_path, f"{key}: {value}\n"), (), {})


def test_what_is_not_an_assignment_or_not_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--set 'time\.slots': write section\.key=value"):
        load_settings(None, None, ["time.slots"], {})
    with pytest.raises(SettingsError, match=r"--set network\.cores: '\[1, 2' is not a value"):
        load_settings(None, None, ["network.cores=[1, 2"], {})
    with pytest.raises(SettingsError, match=r"OFFLOAD_NETWORK__CORES: .* is not a value"):
        load_settings(None, None, (), {"OFFLOAD_NETWORK__CORES": "[1, 2"})


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_settings(None, tmp_path / "nowhere.yaml", (), {})
    for text, expected in (
        ("a: [", "is not YAML"),
        ("- 1", "contains \\[1\\], not settings"),
        ("preset: dmeo", "unknown preset 'dmeo', did you mean demo"),
        ("preset: [demo]", "unknown preset"),
        ("time.slots: 3\ntime: {slots: 4}", "twice|as well"),
    ):
        with pytest.raises(SettingsError, match=expected):
            load_settings(None, _file(tmp_path, text), (), {})
    (tmp_path / "experiment.yaml").write_bytes(b"\xffx")
    with pytest.raises(SettingsError, match="is not YAML"):
        load_settings(None, tmp_path / "experiment.yaml", (), {})


def test_a_preset_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match=r"unknown preset 'x'; available: demo, paper-testbed"):
        load_settings("x", None, (), {})


@pytest.mark.parametrize("password", ["Geheim-7", "{Geheim-7", "Geheim-7: [", "'Geheim-7", "Geheim-7/x@y"])
def test_a_password_is_not_taken_for_yaml_nor_shown(password: str) -> None:
    url = f"mysql+pymysql://root:{password}@db/offload"
    assert load_settings(None, None, (), {"OFFLOAD_SERVICES__DATABASE": url}).services.database == url
    wrong = {"OFFLOAD_SERVICES__DATABASE": url.replace("mysql+pymysql", "postgresql")}
    with pytest.raises(SettingsError, match=r"services\.database: .*mysql\+pymysql") as refused:
        load_settings(None, None, (), wrong)
    assert "Geheim-7" not in str(refused.value)
    with pytest.raises(SettingsError, match="set OFFLOAD_DATABASE_PASSWORD to the password") as refused:
        load_settings(None, None, [f"services.database={url}"], {})
    assert "Geheim-7" not in str(refused.value)
    assert "mysql+pymysql://root@db/offload" in str(refused.value)
    with pytest.raises(SettingsError, match="set OFFLOAD_DATABASE_PASSWORD to the password"):
        load_settings(None, None, ["services={database: 'mysql+pymysql://root:geheim@db/offload'}"], {})


def test_a_password_among_the_options_of_a_url_is_not_shown() -> None:
    assert redacted("mysql+pymysql://u@h/d?password=geheim&ssl_ca=/x") == "mysql+pymysql://u@h/d?password=***&ssl_ca=/x"


@pytest.mark.parametrize("password", ["Geheim-7", "G/h@i:m 7%"])
def test_password_comes_from_the_environment_or_a_file(tmp_path: Path, password: str) -> None:
    urls = ["services.database=mysql+pymysql://root@db:3306/offload", "services.registry=nacos://u@n:8848/ns?group=g"]
    (tmp_path / "secret").write_text(f"{password}\n")
    for environment in (
        {"OFFLOAD_DATABASE_PASSWORD": password, "OFFLOAD_NACOS_PASSWORD": password},
        {f"OFFLOAD_{name}_PASSWORD_FILE": str(tmp_path / "secret") for name in ("DATABASE", "NACOS")},
    ):
        services = load_settings(None, None, urls, environment).services
        parsed = sa.make_url(services.database)
        assert (parsed.username, parsed.password, parsed.host, parsed.database) == ("root", password, "db", "offload")
        assert services.registry == f"nacos://u:{quote(password, safe='')}@n:8848/ns?group=g"
        assert services.storage == Settings().services.storage
        assert "***" in redacted(services.database)
        assert password not in redacted(services.database)
    whole = {"OFFLOAD_SERVICES__DATABASE": "mysql+pymysql://root:own@db/x", "OFFLOAD_DATABASE_PASSWORD": password}
    assert load_settings(None, None, (), whole).services.database == "mysql+pymysql://root:own@db/x"
    with pytest.raises(SettingsError, match="OFFLOAD_DATABASE_PASSWORD_FILE=/nowhere: cannot be read"):
        load_settings(None, None, (), {"OFFLOAD_DATABASE_PASSWORD_FILE": "/nowhere"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OFFLOAD_NETWORK_NODES", "OFFLOAD_NETWORK__NODES"),
        ("OFFLOAD_TIME_SLOT_S", "OFFLOAD_TIME__SLOT_S"),
        ("OFFLOAD_SEEED", "OFFLOAD_SEED"),
        ("OFFLOAD_LOG_LEVL", "OFFLOAD_LOG_LEVEL"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_not_ignored(name: str, meant: str) -> None:
    """Regression: the variable was ignored, and the experiment ran with other settings than the user meant."""
    with pytest.raises(SettingsError, match=rf"{name} is not a setting; did you mean {meant}\?"):
        load_settings(environment={name: "4"})


@pytest.mark.parametrize(
    "name", ["OFFLOAD_RUN", "OFFLOAD_NODE", "OFFLOAD_BIND", "OFFLOAD_HOLDER", "OFFLOAD_EPOCH", "OFFLOAD_TLS_KEY",
            "OFFLOAD_DATABASE_PASSWORD", "OFFLOAD_CONTROLLER_SERVICE_HOST", "OFFLOAD_TESTBED_PORT",
             "OFFLOAD_LEAVING_S",
             "OFFLOAD_DATA_DIR", "OFFLOAD_TOKEN", "OFFLOAD_PODS", "OFFLOAD_KILLINGS_PER_HOUR", "OFFLOAD_LIFELINE"]
)  # fmt: skip
def test_what_says_who_a_pod_is_is_no_setting(name: str) -> None:
    load_settings(environment={name: "x"})
