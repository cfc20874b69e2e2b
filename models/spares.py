"""What a BtpOperator says that is not responsible for the operand, and whether a look at it would change anything."""

from collections.abc import Mapping
from typing import Any

from models.conditions import Reason
from models.operators import Operator
from models.status import Finding


def older_exists(oldest: Operator) -> Finding:
    """What a spare CR says: which one is responsible, and since when."""
    since = oldest.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    deleting = ", being deleted" if oldest.deleting else ""
    return Finding(
        reason=Reason.OLDER_CR_EXISTS,
        message=f"BtpOperator {oldest.ref} (since {since}{deleting}) is responsible for the operand; "
        "this one takes over if it is the oldest when that one is gone",
    )


def is_settled_spare(operator: Operator, condition: Mapping[str, Any], oldest: Operator) -> bool:
    """Whether a look at this CR would change nothing: it waits, holds nothing, and its condition says for whom.

    Each look reads all CRs, so a look at each of many spares would cost a square of their number, for nothing.
    """
    if operator.ref == oldest.ref or operator.deleting or operator.holds_finalizer:
        return False
    finding = older_exists(oldest)
    return (condition.get("reason"), condition.get("message")) == (finding.reason, finding.message)
