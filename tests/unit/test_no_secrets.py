"""Nothing that looks like a credential is in the repository. Keys and certificates of tests are made when they run."""

import re
import subprocess

import pytest

from localcluster.controlplane import CHECKOUT

LOOKS_LIKE = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}",
    "a key of AWS": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": rb"\bgh[pousr]_[A-Za-z0-9]{36}",
    "a JSON web token": rb"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
}


def found(text: bytes) -> list[str]:
    return [what for what, pattern in LOOKS_LIKE.items() if re.search(pattern, text)]


def test_no_file_holds_what_looks_like_a_credential() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    files = [CHECKOUT / name.decode() for name in listed.stdout.split(b"\0") if name]
    assert len(files) > 100
    assert {str(path): found(path.read_bytes()) for path in files if path.is_file() and found(path.read_bytes())} == {}


def test_what_looks_like_a_credential_is_noticed() -> None:
    begin, end = b"-----BEGIN EC PRIVATE " + b"KEY-----", b"-----END EC PRIVATE KEY-----"
    samples = {
        "a private key": begin + b"\n" + b"A" * 64 + b"\n" + end,
        "a key of AWS": b"AK" + b"IA" + b"B" * 16,
        "a token of GitHub": b"gh" + b"p_" + b"c" * 36,
        "a JSON web token": b".".join([b"ey" + b"J" + b"d" * 20, b"ey" + b"J" + b"e" * 20, b"f" * 20]),
    }
    assert {what: found(text) for what, text in samples.items()} == {what: [what] for what in LOOKS_LIKE}
