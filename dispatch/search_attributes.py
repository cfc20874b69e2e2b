"""The search attributes by which Temporal lists the workflows of BtpOperators."""

from typing import Final

from temporalio.common import SearchAttributeKey

STATE_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorState")
NAMESPACE_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorNamespace")
NAME_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorName")
SEARCH_ATTRIBUTES: Final = (STATE_ATTRIBUTE, NAMESPACE_ATTRIBUTE, NAME_ATTRIBUTE)
