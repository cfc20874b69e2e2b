"""The CRD has what the Go manager's has, so that a takeover changes nothing that people and scripts rely on."""

import yaml

from localcluster.shipped import MANAGER_CHART
from models.names import API_GROUP, API_VERSION, KIND

SPEC = yaml.safe_load((MANAGER_CHART / "crds" / "btpoperators.yaml").read_text())["spec"]
(VERSION,) = SPEC["versions"]
COLUMNS = {column["name"]: column for column in VERSION["additionalPrinterColumns"]}


def test_names_scope_and_categories_are_those_of_the_go_manager() -> None:
    names = SPEC["names"]
    assert (SPEC["group"], VERSION["name"], names["kind"]) == (API_GROUP, API_VERSION, KIND)
    assert (names["plural"], names["singular"], names["listKind"]) == ("btpoperators", "btpoperator", "BtpOperatorList")
    assert names["categories"] == ["kyma-modules", "kyma-btp-operator"]
    assert (SPEC["scope"], VERSION["subresources"]) == ("Namespaced", {"status": {}})


def test_the_short_name_is_none_of_its_other_names() -> None:
    names = SPEC["names"]
    assert names["shortNames"] == ["btpop"]
    assert not {*names["shortNames"]} & {names["plural"], names["singular"], *names["categories"]}


def test_state_is_the_first_column_as_with_the_go_manager_and_the_age_the_last() -> None:
    assert list(COLUMNS) == ["State", "Reason", "Message", "Age"]
    assert COLUMNS["State"]["jsonPath"] == ".status.state"


def test_long_text_is_shown_only_to_who_asks_for_a_wide_table() -> None:
    assert [name for name, column in COLUMNS.items() if column.get("priority")] == ["Message"]


def test_a_status_of_the_go_manager_is_accepted() -> None:
    status = VERSION["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert status["required"] == ["state"]
    assert status["properties"]["state"]["enum"] == ["Processing", "Deleting", "Ready", "Error", "Warning"]
    condition = status["properties"]["conditions"]["items"]
    assert {*condition["required"]} == {"type", "status", "reason", "message", "lastTransitionTime"}
