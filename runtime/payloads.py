"""How inputs and results become bytes for Temporal and back. What cannot be read is refused in words.

Whoever reaches Temporal may write anything there. An input that makes no sense must end its workflow with a sentence:
left alone, the SDK fails the workflow task, and has it tried again for ever.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

from models.text import plain

REFUSED: Final = b"binary/refused"
"""The encoding of a payload that took the place of one which is not believed; its data says why."""
INVALID: Final = "InvalidPayload"
"""The type of the failure."""
MOST_PROBLEMS: Final = 3


def refused(why: str) -> Payload:
    """What takes the place of a payload that is not believed."""
    return Payload(metadata={"encoding": REFUSED}, data=why.encode())


class StrictPayloadConverter(PydanticPayloadConverter):
    """JSON by way of pydantic, as in the SDK, except for what happens to what cannot be read."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Raises ApplicationError: what was written there is not what is read here. Not to be tried again."""
        for payload in payloads:
            if payload.metadata.get("encoding") == REFUSED:
                raise _invalid(f"a payload is not believed: {plain(payload.data.decode(errors='replace'))}")
        try:
            values = super().from_payloads(payloads, type_hints)
        except FailureError:
            raise
        except ValidationError as error:
            raise _invalid(f"a payload is not what it should be: {_problems(error)}") from None
        except Exception as error:  # no JSON, another encoding, nested without end
            raise _invalid(f"a payload cannot be read: {type(error).__name__}: {plain(error)}") from None
        for value, hint in zip(values, type_hints or [], strict=False):
            if value is None and isinstance(hint, type) and issubclass(hint, BaseModel):  # the SDK asks nobody then
                raise _invalid("a payload is nothing where an object is needed")
        return values


def _invalid(message: str) -> ApplicationError:
    return ApplicationError(message, type=INVALID, non_retryable=True)


def _problems(error: ValidationError) -> str:
    """Which fields, and why; nothing of their values, which may be of any size."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    shown = [f"{plain('.'.join(map(str, each['loc'])), 100)}: {plain(each['msg'])}" for each in problems]
    more = f"; and {len(shown) - MOST_PROBLEMS} more" if len(shown) > MOST_PROBLEMS else ""
    return "; ".join(shown[:MOST_PROBLEMS]) + more
