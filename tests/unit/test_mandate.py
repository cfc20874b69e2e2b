"""When a mandate is lost, and how old a look is for a process that did not run for a while."""

import time
from datetime import UTC, datetime

import pytest

from models.mandate import Purpose, why_lost
from models.operators import Operator, OperatorRef
from operand import mandated

START = datetime(2026, 1, 1, tzinfo=UTC)
ME = OperatorRef(namespace="kyma-system", name="btpoperator", uid="1")
AGAIN = OperatorRef(namespace="kyma-system", name="btpoperator", uid="2")
OTHER = OperatorRef(namespace="a", name="other", uid="3")


def operator(ref: OperatorRef = ME, *, deleting: bool = False, claimed: bool = True, year: int = 2026) -> Operator:
    return Operator(ref=ref, created=START.replace(year=year), holds_finalizer=claimed, deleting=deleting)


@pytest.mark.parametrize(
    ("purpose", "there", "why"),
    [
        (Purpose.DELETE, [operator(deleting=True)], ""),
        (Purpose.PROVISION, [operator()], ""),
        (Purpose.DELETE, [], "BtpOperator kyma-system/btpoperator is gone"),
        (Purpose.DELETE, [operator(OTHER)], "BtpOperator kyma-system/btpoperator is gone"),
        (
            Purpose.DELETE,
            [operator(AGAIN, deleting=True)],
            "BtpOperator kyma-system/btpoperator was deleted and created again",
        ),
        (
            Purpose.DELETE,
            [operator(deleting=True, claimed=False)],
            "our finalizer was removed from BtpOperator kyma-system/btpoperator",
        ),
        (Purpose.DELETE, [operator()], "BtpOperator kyma-system/btpoperator is not being deleted"),
        (Purpose.PROVISION, [operator(deleting=True)], "BtpOperator kyma-system/btpoperator is being deleted"),
        (
            Purpose.DELETE,
            [operator(deleting=True), operator(OTHER, year=2025)],
            "BtpOperator a/other is responsible for the operand",
        ),
        (
            Purpose.PROVISION,
            [operator(), operator(OTHER, year=2025)],
            "BtpOperator a/other is responsible for the operand",
        ),
    ],
)
def test_a_mandate_is_lost_for_each_reason_and_for_no_other(purpose: Purpose, there: list[Operator], why: str) -> None:
    assert why_lost(ME, purpose, there) == why


class Clocks:
    """The clocks of the machine, as a test sets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.boot = 1_000.0, 50.0
        monkeypatch.setattr("operand.mandated.time.time", lambda: self.wall)
        monkeypatch.setattr("operand.mandated.time.clock_gettime", lambda which: self.boot)
        assert getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) == mandated._BOOT


@pytest.mark.parametrize(
    ("wall", "boot", "age"),
    [
        (1_001.0, 51.0, 1.0),
        (1_060.0, 51.0, 60.0),  # the virtual machine was paused, and its clock set right afterwards
        (1_001.0, 110.0, 60.0),  # the laptop slept, and nobody has set its clock right yet
        (990.0, 51.0, float("inf")),  # the clock was set back: nobody knows
    ],
)
def test_a_look_is_as_old_as_the_clock_says_by_which_more_time_passed(
    monkeypatch: pytest.MonkeyPatch, wall: float, boot: float, age: float
) -> None:
    clocks = Clocks(monkeypatch)
    look = mandated._Clocks()
    clocks.wall, clocks.boot = wall, boot
    assert look.age() == age


def test_a_look_that_never_was_is_never_fresh() -> None:
    assert mandated._Clocks(never=True).age() == float("inf")
