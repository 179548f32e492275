"""The settings of a server: what there is, where a value comes from, and what must hold.

A later source wins: the defaults below, a TOML file (`--config` or `TOCSIN_CONFIG`), the environment (`TOCSIN_` and the
name in capitals), and what the command line gives. Durations are seconds, as a number or with a unit: `1.5`, `500ms`,
`30s`, `5m`, `48h`, `90d`. Sizes are bytes: `4194304`, `64KiB`, `4MiB`, `1GiB`. Relative paths start at the working
directory. An environment variable that is empty counts as not set; one that no setting is named after is left alone, as
the client has some of its own.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tocsin_server.domain.listening import Address
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.tenant import Quotas

ENVIRONMENT_PREFIX = "TOCSIN_"
CONFIG_VARIABLE = "TOCSIN_CONFIG"

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_HOUR, _DAY = 3600.0, 86400.0
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": _HOUR, "d": _DAY}
_SIZE_UNITS = {"B": 1, "KiB": _KIB, "MiB": _MIB, "GiB": _GIB}

Name = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1 << 53)]
Bytes = Annotated[int, Meta(ge=_KIB, le=1 << 53, extra={"units": _SIZE_UNITS})]
Delay = Annotated[float, Meta(ge=0, le=36500 * _DAY, extra={"units": _TIME_UNITS})]
Seconds = Annotated[float, Meta(ge=0.01, le=36500 * _DAY, extra={"units": _TIME_UNITS})]
Url = Annotated[str, Meta(pattern="^[a-z0-9+]+://")]
"""May hold a password, which `shown` leaves out."""
Level = Literal["debug", "info", "warning", "error"]

ROLES = ("api", "clock", "deliver", "broadcast")
"""What a process does: `api` serves callers, `clock` does what happens at a time (timers, retention, erasure),
`deliver` calls the providers of channels, `broadcast` carries out broadcasts."""

_OUTSIDE_CHANNELS = {channel.name.lower(): channel for channel in Channel if channel is not Channel.INBOX}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server: durations in seconds, sizes in bytes. What `tocsin config` says stands beside each."""

    # where it listens and stores
    listen: Annotated[str, "host:port, [IPv6]:port or unix:path to listen on; port 0: any."] = (
        "127.0.0.1:7700"
    )
    database: Annotated[Name, "Path of the SQLite file; created when it is missing."] = "tocsin.db"
    database_url: Annotated[Url | None, "postgresql://…: stores in Postgres instead of the file."] = None
    redis_url: Annotated[
        Url | None,
        "redis://, redis+sentinel://host,…/service or redis+cluster://host,…: hints to other processes.",
    ] = None
    workers: Annotated[Count, "Processes on this machine; more than one need Postgres and Redis."] = 1
    roles: Annotated[
        Name,
        "What the processes do, of api, clock, deliver, broadcast; less than all needs Postgres and Redis.",
    ] = "api,clock,deliver,broadcast"
    port_file: Annotated[Path | None, "Written with the bound port once the server answers."] = None
    metrics_port: Annotated[
        Port | None, "Prometheus reads here, worker i at this + i; OTEL_EXPORTER_PROMETHEUS_HOST: where."
    ] = None

    # what it says
    log_format: Annotated[Literal["console", "json"], "How log lines look: console, json."] = "console"
    log_level: Annotated[Level, "What is logged, and what is worse: debug, info, warning, error."] = "info"

    # who may call; files are read again when they change
    tls_cert: Annotated[Path | None, "The server's certificate chain (PEM)."] = None
    tls_key: Annotated[Path | None, "The certificate's private key (PEM)."] = None
    tls_client_ca: Annotated[Path | None, "Callers need a certificate of these authorities (PEM)."] = None
    insecure: Annotated[bool, "Listens beyond loopback even without API keys or TLS."] = False
    jwt_secret_file: Annotated[Path | None, "Secret of end users' HS256 tokens, at least 32 bytes."] = None
    jwks_file: Annotated[Path | None, "Public keys of end users' tokens, a JSON Web Key Set."] = None
    jwt_issuer: Annotated[Name | None, "What a token's `iss` must be."] = None
    jwt_audience: Annotated[Name | None, "What a token's `aud` must be, or hold."] = None
    jwt_tenant: Annotated[Name, "Tenant of tokens without a `tenant` claim."] = "default"

    # what goes out on other channels than the inbox
    log_channels: Annotated[
        str, "Channels whose provider is the log, of email, push, sms, webhook, chat: for trying out."
    ] = ""
    delivery_concurrency: Annotated[Count, "Calls of providers under way at once, in each process."] = 64
    delivery_timeout: Annotated[Seconds, "Within which a provider has answered, or has failed."] = 30.0

    # limits of a call
    max_message_bytes: Annotated[Bytes, "Largest request message."] = 4 * _MIB
    max_content_bytes: Annotated[Bytes, "Largest content of one notification, encoded."] = 256 * _KIB
    max_in_flight: Annotated[Count, "Requests in work at once; more are refused."] = 2048
    max_recipients_per_subscribe: Annotated[Count, "Recipients of one Subscribe, at most 1,000."] = 1_000
    max_recipients_per_attach: Annotated[Count, "Recipients of one Attach, at most 100,000."] = 100_000
    max_streams_per_key: Annotated[Count, "Open streams of one API key or token's subject."] = 10_000
    session_buffer_bytes: Annotated[Bytes, "A stream's buffer; over it storage serves the stream."] = _MIB
    request_timeout: Annotated[Seconds, "Within which a request message must have come in."] = 30.0
    keepalive_time: Annotated[Seconds, "A quiet connection is pinged after this time, at least 1 s."] = 30.0
    keepalive_timeout: Annotated[Seconds, "A ping without an answer closes the connection."] = 10.0

    # limits of a tenant that has none of its own
    quota_max_recipients: Annotated[Count, "Recipients of a tenant."] = 10_000_000
    quota_max_pending: Annotated[Count, "Notifications of a tenant that wait for a time."] = 10_000_000
    quota_max_api_keys: Annotated[Count, "API keys of a tenant, neither revoked nor expired."] = 1_000
    quota_max_streams: Annotated[Count, "Open streams of a tenant."] = 100_000
    quota_max_sends_per_second: Annotated[Count, "Notifications a second, in bursts as large."] = 1_000_000
    max_queue_bytes: Annotated[Bytes, "Bytes of a tenant that wait before the writer."] = 64 * _MIB

    # time
    drain_delay: Annotated[Delay, "From NOT_SERVING to the end of the first stream."] = 1.0
    drain_timeout: Annotated[Seconds, "Within which a server that was asked to stop has stopped."] = 20.0
    poll_interval: Annotated[Seconds, "How often streams look into storage, should a hint be lost."] = 1.0
    retention: Annotated[Seconds, "Older entries expire: their content is dropped."] = 90 * _DAY
    prune_after: Annotated[Seconds, "Rows are removed when their last change is older."] = 120 * _DAY
    request_id_retention: Annotated[Seconds, "How long a repeat gets its first answer; >= 24 h."] = 48 * _HOUR
    event_retention: Annotated[Seconds, "How long timelines are kept."] = 90 * _DAY
    position_retention: Annotated[Seconds, "How long an acknowledged position is kept."] = 90 * _DAY
    sweep_interval: Annotated[Seconds, "How often retention looks for work."] = 60.0

    # resources
    reader_threads: Annotated[Count, "Threads that read storage."] = 2
    writer_threads: Annotated[Count, "Threads that write, on Postgres; on SQLite it is one."] = 2
    page_cache_bytes: Annotated[Bytes, "Memory in which the database caches pages."] = 64 * _MIB

    @property
    def address(self) -> Address:
        """Where to listen."""
        return Address.parse(self.listen)

    @property
    def role_names(self) -> frozenset[str]:
        """What the processes do, of ROLES."""
        return _names_in(self.roles)

    @property
    def logged_channels(self) -> frozenset[Channel]:
        """The channels whose provider is the log."""
        return frozenset(map(_OUTSIDE_CHANNELS.__getitem__, _names_in(self.log_channels)))

    @property
    def storage(self) -> str:
        """What it stores in, to be shown: the URL of Postgres may hold a password."""
        return str(shown(self.database_url)) if self.database_url else self.database

    @property
    def default_quotas(self) -> Quotas:
        """What a tenant may use that has no quota of its own."""
        return Quotas(
            max_recipients=self.quota_max_recipients,
            max_pending=self.quota_max_pending,
            max_api_keys=self.quota_max_api_keys,
            max_streams=self.quota_max_streams,
            max_queue_bytes=self.max_queue_bytes,
            max_sends_per_second=self.quota_max_sends_per_second,
        )


class SettingsInvalid(Exception):
    """Settings break rules; `problems` names all of them, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `tocsin config` shows it."""

    name: str
    value: object
    source: str
    """`default`, the file's path, the environment variable's name, or `command line`."""
    doc: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value came from."""

    settings: Settings
    sources: Mapping[str, str]

    def describe(self) -> list[Setting]:
        """All settings in the order of their declaration, without a secret: only URLs may hold one."""
        return [
            Setting(name, shown(getattr(self.settings, name)), self.sources[name], _doc(field))
            for name, field in _fields().items()
        ]


def shown(value: object) -> object:
    """The value; of a URL without its password."""
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme, _, rest = value.partition("://")
    # Several hosts stand after one user: the usual parsers know only one.
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name, colon, _ = user.partition(":")
    path = re.sub("(?<=password=)[^&]*", "***", path)
    return f"{scheme}://{name}{colon and ':***'}{at}{hosts}{slash}{path}"


def load(environ: Mapping[str, str], *, config: Path | None = None, **overrides: object) -> Loaded:
    """The settings in force; an override that is None counts as not given.

    Raises SettingsInvalid with all that is wrong in any of the sources.
    """
    problems: list[str] = []
    given: dict[str, tuple[object, str]] = {}
    fields = _fields()

    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    if config is not None:
        for name, value in _read(config, problems).items():
            if name in fields:
                given[name] = (value, str(config))
            else:
                problems.append(f"{name} (in {config}): there is no such setting{_suggestion(name, fields)}")
    for name in fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environ.get(variable):
            given[name] = (environ[variable], variable)
    for name, value in overrides.items():
        if name not in fields:
            raise TypeError(f"there is no setting {name!r}")
        if value is not None:
            given[name] = (value, "command line")

    values: dict[str, Any] = {}
    for name, (value, source) in given.items():
        try:
            values[name] = _converted(value, fields[name])
        except (ValueError, msgspec.ValidationError) as error:
            problems.append(f"{name} (from {source}): {error}")
    # Rules between settings are judged with defaults in the place of what could not be read, to report them as well.
    settings = Settings(**values)
    sources = {name: given[name][1] if name in given else "default" for name in fields}
    problems += _broken_rules(settings)
    if problems:
        raise SettingsInvalid(problems)
    return Loaded(settings, sources)


def _read(config: Path, problems: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{config}: cannot be read: {error.strerror}")
    except ValueError as error:  # bad TOML, or not UTF-8
        problems.append(f"{config}: is not a TOML file: {error}")
    return {}


def _suggestion(name: str, fields: Mapping[str, object]) -> str:
    near = get_close_matches(name, fields, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _fields() -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(Settings)}


def _doc(field: msgspec.structs.FieldInfo) -> str:
    return next(note for note in field.type.__metadata__ if isinstance(note, str))


def _units(field: msgspec.structs.FieldInfo) -> Mapping[str, float] | None:
    extras = (note.extra for note in field.type.__metadata__ if isinstance(note, Meta))
    return next((extra["units"] for extra in extras if extra), None)


def _converted(value: object, field: msgspec.structs.FieldInfo) -> object:
    """A value of any source as the setting's type. The text of a ValueError or ValidationError says what is wrong."""
    units = _units(field)
    if units and isinstance(value, str):
        value = _scaled(value, units)
    if isinstance(value, Path):
        value = str(value)
    return msgspec.convert(value, field.type, strict=False, dec_hook=_decode)


def _scaled(text: str, units: Mapping[str, float]) -> float:
    """A number with or without one of the units."""
    unit = max((unit for unit in units if text.strip().endswith(unit)), key=len, default="")
    number = text.strip().removesuffix(unit).strip()
    try:
        if all(isinstance(factor, int) for factor in units.values()):
            return int(number) * units.get(unit, 1)
        return float(number) * units.get(unit, 1)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a number, alone or with one of the units {', '.join(units)}"
        ) from None


def _decode(type: type, value: object) -> object:
    if type is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(type)


def _broken_rules(settings: Settings) -> list[str]:
    """What does not fit together."""
    tokens = settings.jwt_secret_file or settings.jwks_file
    port, first_metrics_port = 0, settings.metrics_port or 0
    metrics_ports = range(first_metrics_port, first_metrics_port + settings.workers)
    problems = []
    try:
        port = settings.address.port
    except ValueError as error:
        problems.append(f"listen: {error}")
    rules = [
        (bool(settings.tls_cert) == bool(settings.tls_key), "tls_cert and tls_key: one needs the other"),
        (not settings.tls_client_ca or bool(settings.tls_cert), "tls_client_ca: needs tls_cert and tls_key"),
        (tokens or not settings.jwt_issuer, "jwt_issuer: needs jwt_secret_file or jwks_file"),
        (tokens or not settings.jwt_audience, "jwt_audience: needs jwt_secret_file or jwks_file"),
        (
            not port or not first_metrics_port or port not in metrics_ports,
            "metrics_port: is the port of listen",
        ),
        (metrics_ports.stop <= 65536, "metrics_port: leaves no port for the last of the workers"),
        (
            settings.max_content_bytes <= settings.max_message_bytes,
            "max_content_bytes: is above max_message_bytes",
        ),
        (settings.max_recipients_per_subscribe <= 1_000, "max_recipients_per_subscribe: is above 1,000"),
        (settings.max_recipients_per_attach <= 100_000, "max_recipients_per_attach: is above 100,000"),
        (settings.keepalive_time >= 1, "keepalive_time: is below 1 s"),
        (settings.drain_delay < settings.drain_timeout, "drain_delay: leaves nothing of drain_timeout"),
        (settings.prune_after >= settings.retention, "prune_after: is below retention"),
        (settings.request_id_retention >= 24 * _HOUR, "request_id_retention: is below 24 h"),
        (settings.reader_threads <= 64, "reader_threads: is above 64"),
        (settings.writer_threads <= 64, "writer_threads: is above 64"),
        (settings.delivery_concurrency <= 1_000, "delivery_concurrency: is above 1,000"),
        (settings.delivery_timeout <= 300, "delivery_timeout: is above 5 min"),
        *(
            (
                channel in _OUTSIDE_CHANNELS,
                f"log_channels: there is no channel {channel!r}, only {_listed(_OUTSIDE_CHANNELS)}",
            )
            for channel in sorted(_names_in(settings.log_channels))
        ),
    ]
    rules += _rules_of_several_processes(settings)
    return problems + [problem for holds, problem in rules if not holds]


def _rules_of_several_processes(settings: Settings) -> list[tuple[bool, str]]:
    roles, known = settings.role_names, set(ROLES)
    alone, split = settings.workers == 1, bool(roles) and roles < known
    return [
        (settings.workers <= 256, "workers: is above 256"),
        (alone or bool(settings.database_url), "workers: more than one need database_url (Postgres)"),
        (alone or bool(settings.redis_url), "workers: more than one need redis_url (Redis or Valkey)"),
        (
            alone or not settings.listen.startswith(("unix:", "unix-abstract:")),
            "workers: more than one cannot share a Unix socket, only a port",
        ),
        (bool(roles), f"roles: names none of {_listed(ROLES)}"),
        *(
            (role in known, f"roles: there is no role {role!r}, only {_listed(ROLES)}")
            for role in sorted(roles)
        ),
        (not split or bool(settings.database_url), "roles: less than all need database_url (Postgres)"),
        (not split or bool(settings.redis_url), "roles: less than all need redis_url (Redis or Valkey)"),
    ]


def _names_in(text: str) -> frozenset[str]:
    """What stands between commas."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"
