"""What the payload key proves: that somebody who has it wrote this, for this workflow."""

import base64
import os
from itertools import pairwise

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from runtime.codec import EncryptionCodec
from runtime.payloads import StrictPayloadConverter


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def converter(keys: str, workflow: str = "", strict: bool = True, namespace: str = "ours") -> DataConverter:
    whole = DataConverter(
        payload_converter_class=StrictPayloadConverter, payload_codec=EncryptionCodec(keys, namespace, strict)
    )
    return whole.with_context(WorkflowSerializationContext(namespace, workflow)) if workflow else whole


def an_activity_of(workflow: str) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace="ours",
        activity_id="1",
        activity_type="look",
        activity_task_queue="q",
        workflow_id=workflow,
        workflow_type="W",
        is_local=False,
    )


async def read(by: DataConverter, payloads: list[Payload]) -> object:
    [value] = await by.decode(payloads)
    return value


async def test_what_was_written_is_read_and_cannot_be_seen() -> None:
    ours = converter(key(), "one")
    written = await ours.encode([{"name": "team-a/instance"}])
    assert await read(ours, written) == {"name": "team-a/instance"}
    assert b"team-a" not in written[0].SerializeToString()


async def test_a_workflow_and_its_activities_read_each_other() -> None:
    keys = key()
    written = await converter(keys, "one").encode([7])
    assert await read(converter(keys).with_context(an_activity_of("one")), written) == 7


async def test_what_was_written_for_another_workflow_or_namespace_is_refused() -> None:
    keys = key()
    written = await converter(keys, "one").encode([7])
    for other in (converter(keys, "two"), converter(keys, "one", namespace="theirs"), converter(keys)):
        with pytest.raises(ApplicationError, match="not written for workflow"):
            await read(other, written)
    with pytest.raises(ApplicationError, match="not written for workflow"):
        await read(converter(keys).with_context(an_activity_of("two")), written)


async def test_a_schedule_writes_for_the_workflows_that_it_will_start() -> None:
    keys = key()
    written = await converter(keys, "resync/q").encode([7])
    assert await read(converter(keys, "resync/q-2026-11-25T18:15:00Z"), written) == 7


async def test_plain_text_is_refused_unless_a_key_is_being_introduced() -> None:
    keys = key()
    plain = await DataConverter(payload_converter_class=StrictPayloadConverter).encode([{"forged": True}])
    with pytest.raises(ApplicationError, match=r"not encrypted, and BTP_PAYLOAD_STRICT is on") as refusal:
        await read(converter(keys, "one"), plain)
    assert refusal.value.non_retryable
    assert await read(converter(keys, "one", strict=False), plain) == {"forged": True}


async def test_a_new_key_takes_over_in_three_steps_without_a_pause() -> None:
    old, new = key(), key()
    steps = [old, f"{old},{new}", f"{new}, {old}", new]
    for before, after in pairwise(steps):
        # While a step is under way, processes of before and after work side by side.
        assert await read(converter(after, "one"), await converter(before, "one").encode([1])) == 1
        assert await read(converter(before, "one"), await converter(after, "one").encode([1])) == 1
    with pytest.raises(ApplicationError, match="a key that is not in BTP_PAYLOAD_KEY"):
        await read(converter(new, "one"), await converter(old, "one").encode([1]))


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "another key's name"])
async def test_what_was_changed_is_refused(harm: str) -> None:
    first, second = key(), key()
    ours = converter(f"{first},{second}", "one")
    [payload] = await ours.encode([7])
    if harm == "cut":
        payload.data = payload.data[:20]
    elif harm == "flipped":
        payload.data = payload.data[:-1] + bytes([payload.data[-1] ^ 1])
    elif harm == "empty":
        payload.data = b""
    else:
        [other] = await converter(second, "one").encode([7])
        payload.metadata["key"] = other.metadata["key"]
    with pytest.raises(ApplicationError, match="or changed"):
        await read(ours, [payload])
