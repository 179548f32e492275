"""Where a setting comes from, what it may be, and that everything wrong is said at once."""

from pathlib import Path

import pytest

from tocsin_server.domain.listening import Address
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.value import field_names
from tocsin_server.settings import ROLES, Settings, SettingsInvalid, load, shown

DAY = 86400.0


def problems(environ: dict[str, str], **rest: object) -> list[str]:
    with pytest.raises(SettingsInvalid) as raised:
        load(environ, **rest)  # type: ignore[arg-type]
    return raised.value.problems


def test_defaults_stand_by_themselves() -> None:
    loaded = load({})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.settings.address == Address("127.0.0.1", 7700)


def test_a_later_source_wins(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text('drain_delay = "2s"\nretention = "30d"\nmax_in_flight = 7\n')
    environ = {"TOCSIN_CONFIG": str(config), "TOCSIN_RETENTION": "40d", "TOCSIN_MAX_IN_FLIGHT": "8"}
    loaded = load(environ, max_in_flight=9, listen=None)
    assert (loaded.settings.drain_delay, loaded.sources["drain_delay"]) == (2.0, str(config))
    assert (loaded.settings.retention, loaded.sources["retention"]) == (40 * DAY, "TOCSIN_RETENTION")
    assert (loaded.settings.max_in_flight, loaded.sources["max_in_flight"]) == (9, "command line")
    assert loaded.sources["listen"] == "default"


def test_the_given_file_is_read_instead_of_the_one_in_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text("insecure = true")
    assert load({"TOCSIN_CONFIG": "/nowhere"}, config=config).settings.insecure


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("drain_timeout", "30s", 30.0),
        ("drain_timeout", "1.5", 1.5),
        ("poll_interval", "500ms", 0.5),  # not 500 m
        ("drain_timeout", "5 m", 300.0),
        ("request_id_retention", "48h", 2 * DAY),
        ("drain_delay", "0", 0.0),
        ("max_queue_bytes", "4194304", 4 << 20),
        ("max_queue_bytes", "4MiB", 4 << 20),
        ("max_queue_bytes", "1 GiB", 1 << 30),
        ("max_queue_bytes", "5000B", 5000),
        ("insecure", "true", True),
        ("insecure", "0", False),
        ("tls_client_ca", "", None),  # empty counts as not set
        ("log_format", "json", "json"),
        ("port_file", "port", Path("port")),
        ("metrics_port", "9464", 9464),
    ],
)
def test_a_variable_becomes_a_value(name: str, text: str, value: object) -> None:
    assert getattr(load({f"TOCSIN_{name.upper()}": text}).settings, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("drain_timeout", "30y"),
        ("drain_timeout", "-1"),
        ("drain_timeout", "nan"),
        ("drain_timeout", "inf"),
        ("drain_timeout", "s"),
        ("sweep_interval", "0"),  # a loop without a pause
        ("request_id_retention", "23h"),
        ("keepalive_time", "100ms"),
        ("max_message_bytes", "1.5MiB"),
        ("max_message_bytes", "4MB"),
        ("max_in_flight", "0"),
        ("max_in_flight", "many"),
        ("max_recipients_per_subscribe", "1001"),
        ("max_recipients_per_attach", "100001"),
        ("reader_threads", "65"),
        ("writer_threads", "65"),
        ("insecure", "maybe"),
        ("log_format", "xml"),
        ("metrics_port", "65536"),
        ("listen", "7700"),
        ("jwt_issuer", "https://id.example"),  # without keys nothing is checked against it
        ("jwt_audience", "tocsin"),
        ("tls_cert", "cert.pem"),
        ("tls_key", "key.pem"),
        ("tls_client_ca", "ca.pem"),
        ("prune_after", "89d"),
        ("drain_delay", "20s"),
        ("max_content_bytes", "5MiB"),
        ("roles", "api,clock,cook"),
        ("roles", ","),
        ("log_channels", "email,pigeon"),
        ("log_channels", "inbox"),  # needs no provider
        ("delivery_concurrency", "1001"),
        ("delivery_timeout", "6m"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name: str, text: str) -> None:
    (problem, *others) = problems({f"TOCSIN_{name.upper()}": text})
    assert name in problem
    assert not others


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text('lisen = "127.0.0.1:1"\nmax_in_flight = 0\n')
    found = problems({"TOCSIN_DRAIN_DELAY": "soon", "TOCSIN_TLS_KEY": "k"}, config=config, log_level="loud")
    assert len(found) == 5
    assert any("lisen" in problem and "did you mean listen?" in problem for problem in found)
    assert any(problem.startswith("drain_delay (from TOCSIN_DRAIN_DELAY)") for problem in found)
    assert any(problem.startswith("log_level (from command line)") for problem in found)


def test_metrics_and_calls_cannot_share_a_port() -> None:
    assert problems({"TOCSIN_METRICS_PORT": "7700"}) == ["metrics_port: is the port of listen"]
    assert load({"TOCSIN_METRICS_PORT": "0", "TOCSIN_LISTEN": "127.0.0.1:0"}).settings.metrics_port == 0


@pytest.mark.parametrize("text", ["x = ", "\xff"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_bytes(text.encode("latin-1"))
    (problem,) = problems({}, config=config)
    assert "is not a TOML file" in problem


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (problem,) = problems({}, config=tmp_path / "none.toml")
    assert "cannot be read" in problem


def test_the_clients_variables_are_left_alone() -> None:
    assert load({"TOCSIN_API_KEY": "tsk_x_y", "TOCSIN_TARGET": "localhost:1"}).settings == Settings()


def test_an_unknown_override_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="colour"):
        load({}, colour="red")


def test_every_setting_is_described() -> None:
    for setting in load({}).describe():
        assert setting.doc.endswith(".")
        assert setting.value == getattr(Settings(), setting.name)


def test_every_quota_has_a_default() -> None:
    quotas = Settings().default_quotas
    assert all(getattr(quotas, name) for name in field_names(Quotas))


FLEET = {"TOCSIN_DATABASE_URL": "postgresql://db/tocsin", "TOCSIN_REDIS_URL": "redis://bus"}
NEEDS = {"TOCSIN_DATABASE_URL": "database_url (Postgres)", "TOCSIN_REDIS_URL": "redis_url (Redis or Valkey)"}


@pytest.mark.parametrize(("name", "text"), [("workers", "2"), ("roles", "api"), ("roles", "clock,deliver")])
@pytest.mark.parametrize("given", [set(), {"TOCSIN_DATABASE_URL"}, {"TOCSIN_REDIS_URL"}, set(FLEET)])
def test_several_processes_need_postgres_and_redis_each_said_by_itself(
    name: str, text: str, given: set[str]
) -> None:
    environ = {f"TOCSIN_{name.upper()}": text, **{variable: FLEET[variable] for variable in given}}
    if given == set(FLEET):
        assert str(getattr(load(environ).settings, name)) == text
        return
    found = problems(environ)
    assert [problem.partition(":")[0] for problem in found] == [name] * len(found)
    assert [problem.partition(" need ")[2] for problem in found] == [
        needed for variable, needed in NEEDS.items() if variable not in given
    ]


def test_roles_are_names_between_commas() -> None:
    assert load({}).settings.role_names == set(ROLES)
    assert load({**FLEET, "TOCSIN_ROLES": " clock ,"}).settings.role_names == {"clock"}
    assert load({"TOCSIN_ROLES": "broadcast, clock, deliver, api"}).settings.role_names == set(ROLES)


def test_channels_that_are_logged_are_names_between_commas() -> None:
    assert load({}).settings.logged_channels == set()
    given = load({"TOCSIN_LOG_CHANNELS": "sms, email,"}).settings
    assert given.logged_channels == {Channel.EMAIL, Channel.SMS}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LISTEN": "unix:tocsin.sock"}, "workers: more than one cannot share a Unix socket, only a port"),
        ({"WORKERS": "257"}, "workers: is above 256"),
        ({"METRICS_PORT": "7698"}, "metrics_port: is the port of listen"),  # the third worker's
        ({"METRICS_PORT": "65534"}, "metrics_port: leaves no port for the last of the workers"),
        ({"ROLES": "api,cook"}, "roles: there is no role 'cook', only api, clock, deliver and broadcast"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(settings: dict[str, str], told: str) -> None:
    given = {f"TOCSIN_{name}": value for name, value in settings.items()}
    assert problems({**FLEET, "TOCSIN_WORKERS": "3", **given}) == [told]


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (
            "postgresql://tocsin:secret@db:5432/tocsin?sslmode=require",
            "postgresql://tocsin:***@db:5432/tocsin?sslmode=require",
        ),
        ("postgresql://tocsin@db/tocsin", "postgresql://tocsin@db/tocsin"),
        (
            "postgresql:///db?user=tocsin&password=secret&sslmode=require",
            "postgresql:///db?user=tocsin&password=***&sslmode=require",
        ),
        ("redis+cluster://:se@cret@one:1,two:2", "redis+cluster://:***@one:1,two:2"),
        ("redis://host", "redis://host"),
    ],
)
def test_a_password_in_a_url_is_shown_to_nobody(url: str, seen: str) -> None:
    assert shown(url) == seen
    loaded = load({"TOCSIN_REDIS_URL": url} if url.startswith("redis") else {"TOCSIN_DATABASE_URL": url})
    assert seen in [setting.value for setting in loaded.describe()]
