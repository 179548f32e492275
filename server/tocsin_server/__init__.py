"""The Tocsin server: a durable, explainable notification backbone behind gRPC.

What each layer holds and may import is described in ``CONTRIBUTING.md`` and enforced by import-linter.
Nothing happens at import; :mod:`tocsin_server.bootstrap` is the only place where parts are put together.
"""

__version__ = "0.1.0"
