"""A real Kubernetes control plane and a Temporal dev server on this machine, for tests, the demo and benchmarks.

Never used in production, and never pointed at a cluster that it did not start itself.
"""
