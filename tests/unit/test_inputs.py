"""What travels to activities and workflows may be written by whoever reaches Temporal: no field is without bound."""

import inspect
import typing
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from pydantic import TypeAdapter, ValidationError

from activities.edge import OF_ONE_TYPE
from activities.registry import all_activities
from models.deprovision import TeardownInput
from models.text import MOST_SAID
from tests.workflows.world import MANDATE
from worker.__main__ import WORKFLOWS

WITH_BOUNDS = {
    "string": ({"maxLength"}, {"enum"}, {"const"}, {"maximum"}),  # a duration has a maximum
    "integer": ({"minimum", "maximum"},),
    "array": ({"maxItems"},),
}


def activities() -> list[Any]:
    anything: Any = MagicMock()
    return all_activities(anything, anything, "queue", listed=False)


def inputs() -> dict[str, Any]:
    """The types of all that Temporal hands to our code, by whose it is."""
    functions = activities()
    workflows: list[Any] = WORKFLOWS[:-1]  # the last one takes whatever comes, and looks at none of it
    for workflow in workflows:
        functions += [workflow.run]
        functions += [
            each for _, each in inspect.getmembers(workflow, inspect.isfunction) if hasattr(each, "validator")
        ]
    found: dict[str, Any] = {}
    for function in functions:
        hints = typing.get_type_hints(function, include_extras=True)
        found |= {f"{function.__qualname__}({name})": kind for name, kind in hints.items() if name != "return"}
    return found


def without_bound(schema: Any, path: str) -> Iterator[str]:
    """Where a schema lets something grow without bound."""
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from without_bound(each, f"{path}[{number}]")
    elif isinstance(schema, dict):
        bounds = WITH_BOUNDS.get(str(schema.get("type")), ())
        if bounds and schema.get("format") != "date-time" and not any(each <= schema.keys() for each in bounds):
            yield path
        if schema.get("additionalProperties") and not schema.get("propertyNames", schema.keys() & {"maxProperties"}):
            yield path
        for key, each in schema.items():
            if key not in ("default", "enum", "propertyNames"):
                yield from without_bound(each, f"{path}.{key}")


@pytest.mark.parametrize("whose", inputs())
def test_no_field_of_an_input_is_without_bound(whose: str) -> None:
    schema = TypeAdapter(inputs()[whose]).json_schema()
    assert list(without_bound(schema, whose)) == []


def test_a_message_that_is_too_long_is_cut_and_stops_nothing() -> None:
    assert len(TeardownInput(mandate=MANDATE, told="x" * 1_000_000).told) == MOST_SAID
    with pytest.raises(ValidationError):
        TeardownInput.model_validate({"mandate": MANDATE, "removed": {"bindings": -1}})


def test_activities_of_one_type_of_workflow_are_known_by_the_names_that_temporal_calls() -> None:
    assert OF_ONE_TYPE.keys() <= {each.__name__ for each in activities()}
