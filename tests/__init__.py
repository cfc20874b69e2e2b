"""Sentences about behaviour. `unit` is pure; all else runs on a real API server and a real Temporal server."""
