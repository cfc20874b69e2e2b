"""All BtpOperators of the cluster, as decisions need them."""

from functools import partial

from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS
from kube.shared_look import SharedLook
from models.operators import Operator


class Operators(SharedLook[list[Operator]]):
    """Reads them. Thousands of CRs, each of which is looked at, do not cost a square of their number."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(partial(_read, kube))


async def _read(kube: Kube) -> list[Operator]:
    """Page by page, and of each CR no more than it takes: memory does not grow with what else stands in it."""
    try:
        return [Operator.from_object(obj) async for page, _ in kube.pages(BTP_OPERATORS) for obj in page]
    except NotFound:
        return []  # the definition is not there, so no CR is
