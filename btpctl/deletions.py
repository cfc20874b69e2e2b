"""Says what a worker would do to BtpOperators that are being deleted: best known before one is started."""

from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS
from models.conditions import REFUSED, ready_condition
from models.operators import Operator
from models.text import some


async def pending_deletions(kube: Kube) -> tuple[bool, str]:
    """Whether no deletion waits to be carried out, and a sentence.

    Raises:
        KubeError: the API server does not say.
    """
    try:
        operators = [Operator.from_object(obj) for obj in (await kube.list(BTP_OPERATORS)).items]
    except NotFound:
        return True, "none: BtpOperators are unknown here"
    going = [each for each in operators if each.deleting and each.holds_finalizer]
    carried_out = [each for each in going if each.force_delete or not _was_refused(each)]
    if carried_out:
        names = ", ".join(some([str(each.ref) for each in carried_out]))
        return False, f"{names}: a worker deletes every ServiceInstance and ServiceBinding of the cluster"
    if going:
        names = ", ".join(some([str(each.ref) for each in going]))
        return True, f'{names}: refused while service objects exist, until labelled force-delete: "true"'
    return True, "none"


def _was_refused(operator: Operator) -> bool:
    return ready_condition(operator.status).get("reason") in REFUSED
