"""Tests that `compose.yaml` and its settings fit each other, and are safe to start on a laptop.

The images are not started. The commands in containers are checked as far as a shell can.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from middleware.configuration import load_settings
from middleware.nacos import NacosServer

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "examples" / "compose.settings.yaml"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ASKED_FOR = re.compile(r"\$\{OFFLOAD_DATABASE_PASSWORD:\?[^}]+\}")
HADOOP = re.compile(r"(?:CORE|HDFS)-SITE\.XML_(?:fs|dfs)\.[\w.-]+")

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def published(name: str) -> list[tuple[str, str, str]]:
    """Host address, host port and container port of each published port."""
    return [tuple(port.split(":")) for port in SERVICES[name]["ports"]]


def test_it_has_the_services_that_the_settings_speak_of():
    assert set(SERVICES) == {"mysql", "nacos", "namenode", "datanode"}


@each_service
def test_an_image_is_pinned_to_a_patch_release(service):
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+\.\d+\.\d+", service["image"])


def test_nacos_is_one_that_the_client_can_speak_to():
    major, minor = re.search(r":v(\d+)\.(\d+)", SERVICES["nacos"]["image"]).groups()
    assert (1, 0) <= (int(major), int(minor)) < (3, 2)


def test_both_parts_of_hdfs_are_of_one_version():
    assert SERVICES["namenode"]["image"] == SERVICES["datanode"]["image"]


@each_service
def test_it_says_whether_it_works_and_comes_back_within_limits(service):
    health = service["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL") and len(health["test"]) > 1
    assert {"interval", "timeout", "retries", "start_period"} <= set(health)
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])


@each_service
def test_nobody_outside_this_machine_reaches_it(service):
    assert service["ports"]
    for port in service["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert "network_mode" not in service


@each_service
def test_its_data_survive_the_container(service):
    names = [volume.split(":")[0] for volume in service["volumes"]]
    assert names
    assert set(names) <= set(COMPOSE["volumes"])


def test_no_two_services_share_a_volume_or_a_port():
    volumes = [volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]]
    ports = [port for name in SERVICES for _, port, _ in published(name)]
    assert len(set(volumes)) == len(volumes)
    assert len(set(ports)) == len(ports)


@each_service
def test_no_password_stands_in_it(service):
    for name, value in service["environment"].items():
        if re.search("PASSWORD|TOKEN|SECRET", name) and name != "MYSQL_RANDOM_ROOT_PASSWORD":
            assert ASKED_FOR.fullmatch(value), name


def test_the_password_is_asked_for_by_the_variable_that_the_program_reads():
    environment = SERVICES["mysql"]["environment"]
    assert ASKED_FOR.fullmatch(environment["MYSQL_PASSWORD"])
    assert environment["MYSQL_RANDOM_ROOT_PASSWORD"] == "yes"


def test_the_data_node_waits_for_a_name_node_that_works():
    assert SERVICES["datanode"]["depends_on"] == {"namenode": {"condition": "service_healthy"}}


def test_the_settings_are_accepted_and_lead_to_what_is_published():
    services = load_settings(file=SETTINGS, environment={}).services
    database = sa.make_url(services.database)
    assert [(database.host, str(database.port), "3306")] == published("mysql")
    storage = sa.make_url(services.storage)
    assert [(storage.host, str(storage.port), "9870")] == published("namenode")
    for url in (services.registry, services.configuration):
        registry = sa.make_url(url)
        assert [(registry.host, str(registry.port), "8848")] == published("nacos")
        NacosServer(url, "registry")


def test_the_settings_name_what_the_servers_make_at_their_first_start():
    services = load_settings(file=SETTINGS, environment={}).services
    database, made = sa.make_url(services.database), SERVICES["mysql"]["environment"]
    assert (database.username, database.database) == (made["MYSQL_USER"], made["MYSQL_DATABASE"])
    folder = "/" + sa.make_url(services.storage).database
    script = SERVICES["namenode"]["command"][0]
    assert f"/webhdfs/v1{folder}\n" in script
    assert "op=SETOWNER&owner=offload&" in script
    assert f"/webhdfs/v1{folder}?" in SERVICES["namenode"]["healthcheck"]["test"][1]


def test_compose_settings_are_the_demo_without_passwords():
    services = load_settings(file=SETTINGS, environment={}).services
    for url in services.model_dump().values():
        assert sa.make_url(url).password is None
    assert (
        load_settings(file=SETTINGS, environment={}).experiment() == load_settings("demo", environment={}).experiment()
    )


def test_the_data_node_announces_the_address_at_which_it_is_published():
    [(address, outside, inside)] = published("datanode")
    for name in ("namenode", "datanode"):
        environment = SERVICES[name]["environment"]
        assert environment["HDFS-SITE.XML_dfs.datanode.hostname"] == address
        assert environment["HDFS-SITE.XML_dfs.datanode.http.address"] == f"0.0.0.0:{inside}"
        assert environment["HDFS-SITE.XML_dfs.namenode.datanode.registration.ip-hostname-check"] == "false"
    assert outside == inside, "the name node's redirections name the port at which the data node listens"


@pytest.mark.parametrize("name", ["namenode", "datanode"])
def test_hadoop_variables_have_names_that_its_image_reads(name):
    environment = SERVICES[name]["environment"]
    others = {key for key in environment if not HADOOP.fullmatch(key)}
    assert others <= {"HADOOP_HEAPSIZE_MAX", "ENSURE_NAMENODE_DIR"}
    assert environment["CORE-SITE.XML_fs.defaultFS"] == f"hdfs://{SERVICES['namenode']['hostname']}:8020"
    assert all(isinstance(value, str) for value in environment.values()), "YAML's false would be False in Hadoop"
    for key in ("namenode.name.dir", "datanode.data.dir"):
        assert environment[f"HDFS-SITE.XML_dfs.{key}"].startswith("file:///data/")
    assert SERVICES[name]["volumes"] == [f"{name}:/data"]


def test_the_name_node_is_formatted_only_when_its_folder_is_empty():
    environment = SERVICES["namenode"]["environment"]
    folder = environment["HDFS-SITE.XML_dfs.namenode.name.dir"].removeprefix("file://")
    assert environment["ENSURE_NAMENODE_DIR"] == f"{folder}/current"
    assert "-format" not in SERVICES["namenode"]["command"][0]


def scripts() -> Iterator[tuple[str, str]]:
    """Every shell script, with `$$` replaced as compose does."""
    for name, service in SERVICES.items():
        for text in (*service.get("command", ()), service["healthcheck"]["test"][-1]):
            yield name, text.replace("$$", "$")


@pytest.mark.parametrize(("name", "script"), list(scripts()))
def test_a_shell_understands_it(name, script):
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@each_service
def test_compose_replaces_nothing_in_what_a_shell_reads(service):
    for text in (*service.get("command", ()), *service["healthcheck"]["test"]):
        assert "$" not in text.replace("$$", "")


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (500, False), (None, False)])
def test_nacos_is_healthy_when_it_says_so(status, healthy):
    asked = []

    class Nacos(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Nacos)
    port = server.server_port
    if status is None:
        server.server_close()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    _, *command = SERVICES["nacos"]["healthcheck"]["test"]
    command[-1] = command[-1].replace("$$", "$").replace("/8848", f"/{port}")
    result = subprocess.run(command, capture_output=True, timeout=10, check=False)
    if status is not None:
        server.shutdown()
        server.server_close()
        assert asked == ["/nacos/v1/console/health/readiness"]
    assert (result.returncode == 0) is healthy
