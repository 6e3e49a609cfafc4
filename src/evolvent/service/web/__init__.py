"""HTTP for all that is served: bodies, streams, threads, errors, headers."""
