"""Encrypts what Temporal stores: inputs, results, heartbeats, details (AES-256-GCM, NIST SP 800-38D).

Optional. No Secret's value ever gets there, so this hides names and counts from whoever runs the Temporal server.
Failures stay readable, so that a person sees what is waited for.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

ENCODING: Final = b"binary/encrypted"
NONCE: Final = 12
"""Bytes; random for each payload, so one key is good for about 2^32 of them."""


class EncryptionCodec(PayloadCodec):
    """What was written before a key was set is still read."""

    def __init__(self, key: str) -> None:
        """Raises ValueError: the key is not 32 bytes in base64."""
        try:
            raw = base64.b64decode(key, validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error
        if len(raw) != 32:
            raise ValueError(f"{len(raw)} bytes instead of 32; `openssl rand -base64 32` makes one")
        self._cipher = AESGCM(raw)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises ValueError: encrypted with another key."""
        return [self._decrypted(each) if each.metadata.get("encoding") == ENCODING else each for each in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE)
        data = nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), ENCODING)
        return Payload(metadata={"encoding": ENCODING}, data=data)

    def _decrypted(self, payload: Payload) -> Payload:
        nonce, data = payload.data[:NONCE], payload.data[NONCE:]
        try:
            return Payload.FromString(self._cipher.decrypt(nonce, data, ENCODING))
        except InvalidTag as error:
            raise ValueError("a payload was encrypted with another key (BTP_PAYLOAD_KEY)") from error
