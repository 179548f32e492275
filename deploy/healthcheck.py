#!/usr/bin/env python3
"""Asks a Tocsin how it is: exit code 0 when it serves, 1 when it does not.

For whatever can only run a command to find out, as Docker does; and for Kubernetes where the server has TLS, which its
own gRPC probes cannot speak.

    tocsin-healthcheck [--target localhost:7700] [--service liveness] [--ca authority.pem]
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

TIMEOUT_S = 3


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Whether a Tocsin serves.")
    parser.add_argument("--target", default="localhost:7700", help="host:port of the server")
    parser.add_argument(
        "--service", default="", help="`liveness`: the process answers, whatever its storage does"
    )
    parser.add_argument(
        "--ca", type=Path, help="PEM of who signed the server's certificate, where it has TLS"
    )
    options = parser.parse_args()
    if options.ca is None:
        channel = grpc.insecure_channel(options.target)
    else:
        channel = grpc.secure_channel(options.target, grpc.ssl_channel_credentials(options.ca.read_bytes()))
    with channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            reply = check(HealthCheckRequest(service=options.service), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    status = HealthCheckResponse.ServingStatus.Name(reply.status)
    sys.stdout.write(f"{status}\n")
    return int(reply.status != HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(main())
