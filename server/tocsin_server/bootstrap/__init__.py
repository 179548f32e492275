"""The only place where things are wired: `serving` a server, `process` from its start to its
end, `local` what opens its database without one."""

from tocsin_server.bootstrap.optional import Refused
from tocsin_server.bootstrap.process import run
from tocsin_server.bootstrap.serving import REFUSALS, Server, bootstrap

__all__ = ("REFUSALS", "Refused", "Server", "bootstrap", "run")
