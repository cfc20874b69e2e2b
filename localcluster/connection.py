"""Requests of set-up and of people to an API server, over connections that are kept.

Who waits for something asks many times a second. A handshake each time keeps both sides busier than the request.
"""

import io
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Final

import urllib3

SECONDS: Final = 20
"""After which a server that says nothing counts as absent."""
THREADS: Final = 16
"""Connections that are kept for as many threads; further ones are closed after their request."""


class Connection:
    """To the API server at `url`, trusted by `certificate`, which need not be there yet. Threads may share it."""

    def __init__(self, url: str, certificate: Path) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(
            maxsize=THREADS, ca_certs=str(certificate), cert_reqs="CERT_REQUIRED", timeout=SECONDS, retries=False
        )

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        """The body of the answer.

        Raises:
            urllib.error.HTTPError: the server refused; the error can be read as its answer.
            urllib.error.URLError: nobody answered.
        """
        try:
            answer = self._pool.request(method, self._url + path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise urllib.error.URLError(str(error)) from error
        if answer.status >= 300:
            raise urllib.error.HTTPError(
                self._url + path, answer.status, answer.reason or "", Message(), io.BytesIO(answer.data)
            )
        return answer.data

    def close(self) -> None:
        """Close what is kept."""
        self._pool.clear()
