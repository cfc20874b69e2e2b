"""The process that does the work: `python -m worker`."""
