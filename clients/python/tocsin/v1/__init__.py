"""The contract, version 1: generated from proto/tocsin/v1."""
