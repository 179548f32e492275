"""One module a gRPC service: each method converts, calls and converts back."""
