"""Takes one finalizer off an object, however often it stands there: the API server takes lists that name one twice."""

from typing import Any

from kube.answers import Object


def taking_off(finalizer: str, meta: Object) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) for the very object of this metadata, which carries that finalizer.

    It is refused with 422, or 409 where the finalizer stands there twice, if the object is another one by now.
    """
    there = meta["finalizers"]
    same: dict[str, Any] = {"op": "test", "path": "/metadata/uid", "value": meta["uid"]}
    if there.count(finalizer) == 1:
        path = f"/metadata/finalizers/{there.index(finalizer)}"
        return [same, {"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}]
    others = [name for name in there if name != finalizer]
    return [
        same,
        {"op": "replace", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        {"op": "replace", "path": "/metadata/finalizers", "value": others},
    ]
