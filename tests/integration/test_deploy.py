"""deploy/: the manifests are what their schemas allow, and say the same as the server and each other.

They cannot be run here. What can be: their settings are loaded as the server would, the health check is asked.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.commands import output_of
from tests.support.node import ROOT
from tests.support.processes import Servers
from tocsin_server import __version__
from tocsin_server.bootstrap.fleet import KILL_MARGIN_SECONDS
from tocsin_server.rpc.standard import LIVENESS
from tocsin_server.settings import Settings, load

DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# Secrets, and where a variable of whoever deploys stands.
SECRETS = {"database-url": "postgresql://u:p@h/d", "redis-url": "rediss://h"}
RESERVED_CONNECTIONS = 3  # Postgres keeps these for superusers
OPERATORS_CONNECTIONS = 10  # the command line, backups, whoever looks


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8"))


def pod(name: str) -> dict[str, Any]:
    spec = manifest(name)["spec"]["template"]["spec"]
    assert len(spec["containers"]) == 1
    return spec


def container(name: str) -> dict[str, Any]:
    return pod(name)["containers"][0]


def container_settings(name: str) -> Settings:
    """What a pod of the cluster runs with. Fails for a variable that no setting is named after."""
    given = dict(manifest("configmap")["data"])
    for variable in container(name)["env"]:
        given[variable["name"]] = SECRETS[variable["valueFrom"]["secretKeyRef"]["key"]]
    return settings_of(given, container(name)["args"])


def compose_settings(service: str) -> Settings:
    found = compose()["services"][service]
    return settings_of(found["environment"], found["command"])


def settings_of(environ: Mapping[str, str], command: list[str]) -> Settings:
    names = {name.removeprefix("TOCSIN_").lower() for name in environ if name.startswith("TOCSIN_")}
    assert names <= set(Settings.__struct_fields__)
    options = dict(zip(command[1::2], command[2::2], strict=True)) if command[0] == "serve" else {}
    overrides: dict[str, Any] = {option.removeprefix("--"): value for option, value in options.items()}
    return load(environ, **overrides).settings


def connections(settings: Settings) -> int:
    """To Postgres, of all processes with these settings on one machine."""
    return settings.workers * (settings.reader_threads + settings.writer_threads)


async def test_compose_keeps_its_schema() -> None:
    arguments = ("--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    await output_of(sys.executable, "-m", "check_jsonschema", *arguments)


@pytest.mark.parametrize("version", ["1.34", "1.37"])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_manifests_keep_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    kubernetes_validate.validate(document, version, strict=True)


def images() -> Iterator[str]:
    yield from re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    yield from (service["image"] for service in compose()["services"].values())
    yield from (container(name)["image"] for name in ("deployment", "migrate"))


def test_images_name_no_registry_and_ours_is_of_this_version() -> None:
    for image in images():
        name, _, tag = image.partition(":")
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?", name), image
        assert tag not in ("", "latest"), image
        assert name != "tocsin" or tag == __version__


def test_nothing_runs_as_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    user = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)[-1]
    assert int(user) > 0
    for name in ("deployment", "migrate"):
        context = pod(name)["securityContext"]
        assert (context["runAsNonRoot"], str(context["runAsUser"])) == (True, user)
        own = container(name)["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    for name in ("tocsin", "migrate"):
        service = compose()["services"][name]
        assert (service["user"].partition(":")[0], service["read_only"], service["cap_drop"]) == (
            user,
            True,
            ["ALL"],
        )


def test_settings_are_those_of_the_server() -> None:
    for settings in (container_settings("deployment"), compose_settings("tocsin")):
        assert settings.database_url
        assert settings.redis_url
        assert settings.address.host == "0.0.0.0"
    assert compose_settings("tocsin").workers == 2
    assert container_settings("migrate").database_url == container_settings("deployment").database_url
    assert compose_settings("migrate").database_url == compose_settings("tocsin").database_url


def test_nobody_is_cut_off_before_it_has_drained() -> None:
    settings = container_settings("deployment")
    before = container("deployment")["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = pod("deployment")["terminationGracePeriodSeconds"]
    assert before + settings.drain_timeout + settings.drain_delay < grace

    settings = compose_settings("tocsin")
    grace = float(compose()["services"]["tocsin"]["stop_grace_period"].removesuffix("s"))
    assert settings.drain_timeout + settings.drain_delay + KILL_MARGIN_SECONDS < grace


def test_ports_agree_in_the_cluster() -> None:
    settings, deployed = container_settings("deployment"), container("deployment")
    ports = {port["name"]: port["containerPort"] for port in deployed["ports"]}
    assert ports == {"grpc": settings.address.port, "metrics": settings.metrics_port}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert deployed[probe]["grpc"]["port"] == ports["grpc"]
    for probe in ("startupProbe", "livenessProbe"):
        assert deployed[probe]["grpc"]["service"] == LIVENESS
    assert "service" not in deployed["readinessProbe"]["grpc"]
    served = {
        port["name"]: (port["port"], port["targetPort"]) for port in manifest("service")["spec"]["ports"]
    }
    assert served == {name: (port, name) for name, port in ports.items()}
    allowed = {rule["ports"][0]["port"] for rule in manifest("networkpolicy")["spec"]["ingress"]}
    assert allowed == set(ports)


def test_ports_agree_in_compose() -> None:
    settings = compose_settings("tocsin")
    assert settings.metrics_port
    last = settings.metrics_port + settings.workers - 1
    published = [port.split(":", 1) for port in compose()["services"]["tocsin"]["ports"]]
    port, metrics = settings.address.port, f"{settings.metrics_port}-{last}"
    # On loopback: without API keys and TLS everyone who can connect may do everything.
    assert published == [["127.0.0.1", f"{port}:{port}"], ["127.0.0.1", f"{metrics}:{metrics}"]]
    exposed = re.findall(r"^EXPOSE (.+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert exposed == [f"{port} {settings.metrics_port}"]


def test_postgres_has_connections_for_all() -> None:
    arguments = compose()["services"]["postgres"]["command"][1:]
    given = dict(argument.removeprefix("-c").split("=") for argument in arguments)
    assert given["synchronous_commit"] == "on"
    room = int(given["max_connections"]) - RESERVED_CONNECTIONS - OPERATORS_CONNECTIONS
    assert connections(compose_settings("tocsin")) <= room

    pods = manifest("autoscaler")["spec"]["maxReplicas"]
    pods += manifest("deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    default_max_connections = 100
    assert pods * connections(container_settings("deployment")) <= (
        default_max_connections - RESERVED_CONNECTIONS - OPERATORS_CONNECTIONS
    )


def test_what_names_a_part_of_the_cluster_finds_it() -> None:
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("disruption")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == labels
    for constraint in pod("deployment")["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    # A migration is no server: no client may be sent to it.
    assert manifest("migrate")["spec"]["template"]["metadata"]["labels"].items() != labels.items()
    target = manifest("autoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    for name in ("deployment", "migrate"):
        assert container(name)["envFrom"] == [
            {"configMapRef": {"name": manifest("configmap")["metadata"]["name"]}}
        ]


async def test_the_health_check_asks_a_server(tmp_path: Path) -> None:
    async with Servers(tmp_path) as servers:
        server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
        check = (sys.executable, DEPLOY / "healthcheck.py", "--target", server.address)
        assert await output_of(*check) == "SERVING\n"
        assert await output_of(*check, "--service", LIVENESS) == "SERVING\n"
        await server.stop()
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            await output_of(*check)
