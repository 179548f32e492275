"""The gRPC side: what crosses the wire, how a call goes through its stages, and one servicer a gRPC service."""
