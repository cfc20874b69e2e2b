"""Lets those read encrypted payloads in Temporal's UI and command line who may read the Temporal namespace."""
