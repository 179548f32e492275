"""The bench. See `python -m tests.bench --help`."""

import os

# Servers are started by a process that calls them, too; gRPC need not survive a fork, and would say so each time.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
