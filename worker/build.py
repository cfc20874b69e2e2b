"""Which code a worker runs, as Temporal notes it in each history (`temporal workflow reset --type BuildId`)."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("models", "kube", "operand", "dispatch", "activities", "workflows", "runtime", "worker")


@cache
def build_id() -> str:
    """A digest of our code. The SDK's own reads every module that is loaded, which takes as long as to import them."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((CHECKOUT / package).rglob("*.py")):
            digest.update(f"{file.relative_to(CHECKOUT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]
