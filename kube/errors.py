"""Everything the Kubernetes API can answer instead of what was asked, in few classes that say what to do."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from models.text import plain


class KubeError(Exception):
    """The API server, or the way to it, said no. `str()` is one short sentence without headers or bodies."""

    answered: datetime | None = None
    """When the API server last answered whoever failed before, by the clock of the Temporal server."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 when no answer came."""
        self.reason = reason
        """The API's own word, such as `NotFound` (metav1.Status.reason)."""
        self.retry_after = retry_after
        """Seconds the server asked us to wait."""


class NotFound(KubeError):
    """404: the object is not there, or its kind is not served."""


class Conflict(KubeError):
    """409: somebody changed or made the object meanwhile. Look again."""


class Expired(KubeError):
    """410: the resource version or the continue token is too old. List again."""


class Refused(KubeError):
    """400, 403, 405, 413, 415, 422: the API server understood and will not do it. Trying again changes nothing."""


class Unavailable(KubeError):
    """401, 429, 5xx, a timeout, a broken connection: try again later."""


class Away(Unavailable):
    """Not even a small question was answered right before work should begin: somebody else may have the answer."""


class Stale(KubeError):
    """Not sent: the look that the request rests on is too old. Look again, then ask again."""


class TooLong(KubeError):
    """The answer has more bytes than the request takes. It was not read to its end; ask for less at once."""


class Silent(Unavailable):
    """A watch on which nothing was said for longer than bookmarks take: the connection may be dead."""


_RBAC: Final = re.compile(r'User "[^"]*" cannot \w+ resource ')
"""How the authorizer words its no (k8s.io/apiserver, responsewriters.Forbidden). Admission words it otherwise."""


def is_missing_right(error: KubeError) -> bool:
    """Whether RBAC refused, for all objects of the kind alike. Admission refuses one object, with any status code."""
    return error.status == 403 and bool(_RBAC.search(str(error)))


def refuses_one_object(error: KubeError) -> bool:
    """Whether admission, or validation, refused this very object: a webhook may answer any status code."""
    if "denied the request" in str(error) or "denied request" in str(error):
        return True
    return isinstance(error, Refused) and not is_missing_right(error)


def is_unreachable_webhook(error: KubeError) -> bool:
    """Whether the API server could not ask an admission webhook, instead of the webhook having refused."""
    return error.status >= 500 and "failed calling webhook" in str(error)


LONGEST_MESSAGE: Final = 1000
"""Characters kept of what the API server says: it quotes objects that others wrote."""
LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds; whoever asks for more is looked at again earlier."""
_BY_STATUS: Mapping[int, type[KubeError]] = {
    400: Refused,
    403: Refused,
    404: NotFound,
    405: Refused,
    406: Refused,
    409: Conflict,
    410: Expired,
    413: Refused,
    415: Refused,
    422: Refused,
}
"""401 is not here on purpose: a token that is being renewed comes back by itself."""


def error_from(status: int, body: Any, doing: str, retry_after: str | None = None) -> KubeError:
    """The error for an HTTP answer; `body` is the decoded metav1.Status if there was one."""
    details = body if isinstance(body, Mapping) else {}
    message = plain(details.get("message") or "no message", LONGEST_MESSAGE)
    return _BY_STATUS.get(status, Unavailable)(
        f"{doing}: {message} ({status})",
        status=status,
        reason=str(details.get("reason") or ""),
        retry_after=_seconds(retry_after),
    )


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header or "")
    except ValueError:
        return None  # nothing, or an HTTP date, which the API server never sends
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
