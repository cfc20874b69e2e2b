"""Encrypts and signs what Temporal stores: inputs, results, heartbeats, details (AES-256-GCM, NIST SP 800-38D).

Optional. No Secret's value ever gets there, so this hides names and counts from whoever runs the Temporal server, and
has worker and trigger believe only what somebody with the key wrote for that very workflow. Failures stay readable, so
that a person sees what is waited for.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from runtime.payloads import refused

ENCODING: Final = b"binary/encrypted"
KEY: Final = "key"
"""The metadata that says with which key: the beginning of its digest."""
WRITTEN_FOR: Final = "written-for"
"""The metadata that names the workflow, for whoever reads a payload without knowing where it stood."""
NONCE: Final = 12
"""Bytes; random for each payload, so one key is good for about 2^32 of them."""
OF_A_SCHEDULE: Final = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
"""What a Schedule adds to the id of a workflow that it starts, whose input was written before."""


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """What is refused becomes a payload that nobody can convert: whoever needs it fails, in words, and nobody else.

    What was written for one workflow cannot be read as another's, nor in another namespace.
    """

    def __init__(self, keys: str, namespace: str, strict: bool = True) -> None:
        """Args:
            keys: 32 bytes in base64; of several, separated by commas, the first encrypts, and each decrypts.
            strict: refuse what is not encrypted.

        Raises:
            ValueError: a key is not that.
        """
        ciphers = [(_identity(key), AESGCM(key)) for key in map(_key, keys.split(","))]
        self._writing, self._ciphers = ciphers[0], dict(ciphers)
        self._namespace, self._workflow_id, self._strict = namespace, "", strict

    def with_context(self, context: SerializationContext) -> Self:
        if not isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return self
        bound = self.__class__.__new__(self.__class__)
        bound.__dict__ = self.__dict__ | {
            "_namespace": context.namespace,
            "_workflow_id": OF_A_SCHEDULE.sub("", context.workflow_id or ""),
        }
        return bound

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._read(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce, (identity, cipher) = os.urandom(NONCE), self._writing
        data = nonce + cipher.encrypt(nonce, payload.SerializeToString(), self._bound_to(identity))
        written_for = self._workflow_id.encode()
        return Payload(metadata={"encoding": ENCODING, KEY: identity, WRITTEN_FOR: written_for}, data=data)

    def shown(self, payload: Payload) -> Payload:
        """A payload for a person to read, wherever it stands now; what nobody encrypted is readable as it is.

        It is what somebody with the key wrote for the workflow that its metadata names. Whether it stands in that
        workflow's history, only `decode` checks, which knows where it reads.
        """
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        claimed = payload.metadata.get(WRITTEN_FOR, b"").decode(errors="replace")
        return self.with_context(WorkflowSerializationContext(self._namespace, claimed))._read(payload)

    def _read(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return refused("it is not encrypted, and BTP_PAYLOAD_STRICT is on") if self._strict else payload
        identity = payload.metadata.get(KEY, b"")
        cipher = self._ciphers.get(identity)
        if cipher is None:
            return refused("it was encrypted with a key that is not in BTP_PAYLOAD_KEY")
        nonce, data = payload.data[:NONCE], payload.data[NONCE:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, data, self._bound_to(identity)))
        except (InvalidTag, ValueError, DecodeError):
            return refused(f"it was not written for workflow {self._workflow_id!r} in {self._namespace!r}, or changed")

    def _bound_to(self, identity: bytes) -> bytes:
        """What is signed beside the payload itself."""
        return json.dumps([ENCODING.decode(), identity.decode(), self._namespace, self._workflow_id]).encode()


def _key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(raw) != 32:
        raise ValueError(f"{len(raw)} bytes instead of 32; `openssl rand -base64 32` makes one")
    return raw


def _identity(key: bytes) -> bytes:
    return hashlib.sha256(b"payload key " + key).hexdigest()[:16].encode()
