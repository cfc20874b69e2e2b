"""The mandate to delete an abandoned object in SAP BTP, as pure functions over what was seen.

The report alone proves nothing, for a ConfigMap can be edited: Service Manager itself has to say that the object was
made by this cluster under that namespace and name, and nothing that lives in the cluster may be it.
"""

from models.reclaim import Outcome
from operand.living import LivingObjects
from operand.reclaim_report import Entry
from operand.sap_answers import SapObject, is_id
from operand.service_manager import is_name

Verdict = tuple[Outcome, str]
"""What becomes of an object without a deletion, and why."""


def why_not_asked(entry: Entry, by_a_person: bool) -> Verdict | None:
    """What the line itself says against a deletion.

    Args:
        by_a_person: who has seen the list, and decides about lines of versions that did not note preventDeletion.
    """
    if entry.protected or (entry.protected is None and not by_a_person):
        why = "preventDeletion" if entry.protected else "the report does not say whether it had preventDeletion"
        return Outcome.PROTECTED, why
    if entry.sap_id and not is_id(entry.sap_id):
        return Outcome.NOT_OURS, "the report has no id of Service Manager for it"
    if not is_name(entry.namespace) or not is_name(entry.name):
        return Outcome.NOT_OURS, "the report has no namespace and name of Kubernetes for it"
    return None


def why_not_ours(entry: Entry, found: SapObject, cluster_digest: str) -> Verdict | None:
    """What Service Manager says against it: another cluster, platform, namespace or name than the report's."""
    wanted = {"cluster": cluster_digest, "namespace": entry.namespace, "name": entry.name}
    for word, value in wanted.items():
        if found.belongs[word] != {value}:
            return Outcome.NOT_OURS, f"Service Manager does not say that it is of this {word}"
    if found.platforms - {"kubernetes"}:
        return Outcome.NOT_OURS, "Service Manager says that it is of another platform"
    return None


def why_not_abandoned(entry: Entry, identity: str, living: LivingObjects) -> Verdict | None:
    """What the cluster says against it: that it lives, or may soon, or is not gone yet."""
    here = living.names.get((entry.kind, entry.namespace, entry.name))
    if here and here.kept_by:
        return Outcome.WAITING, f"it is still in the cluster, kept by {here.kept_by}"
    if here and here.uid == entry.uid:
        # A soft delete writes an object down before it lets it go: struck off now, it would be lost.
        return Outcome.WAITING, "it is still in the cluster"
    if here and here.sap_id == identity.lower():
        return Outcome.IN_USE, "it lives in the cluster again"
    if user := living.ids.get(identity.lower()):
        return Outcome.IN_USE, f"{user} in the cluster uses it"
    if here and not here.sap_id:
        return Outcome.WAITING, "an object of that name is being created in the cluster, and may take it over"
    if here:
        return Outcome.NOT_OURS, "an object of that name lives in the cluster, and is another one in SAP BTP"
    return None
