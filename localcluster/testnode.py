"""`make test-node`: builds a release, and runs tests/node apart from the rest of the machine on a real node with it.

Says in one sentence what is missing, and ends with 0 then; with 1 where CI is set.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from localcluster import distribution, image
from localcluster.binaries import CONTROL_PLANE, NETWORK_POLICIES, NODE, binary
from localcluster.controlplane import CHECKOUT
from localcluster.machine import PROGRAMS, SANDBOX
from localcluster.testsapart import run

MANAGER_CHART: Final = CHECKOUT / "chart" / "btp-manager"
OPERAND_CHART: Final = CHECKOUT / "chart" / "sap-btp-operator"
DIST: Final = "dist"
"""The release, below the folder of the images."""


def manager_image() -> str:
    """The image of the chart's defaults."""
    values = yaml.safe_load((MANAGER_CHART / "values.yaml").read_text())
    chart = yaml.safe_load((MANAGER_CHART / "Chart.yaml").read_text())
    return f"docker.io/library/{values['image']['repository']}:{chart['appVersion']}"


def operand_image() -> str:
    """The image of the operand's chart."""
    values = yaml.safe_load((OPERAND_CHART / "values.yaml").read_text())["manager"]["image"]
    return f"{values['repository']}:{values['tag']}"


MISSING: Final = f"{operand_image().rpartition(':')[0]}:missing"
"""An operand that no node can pull."""
CRASHING: Final = f"{operand_image().rpartition(':')[0]}:crashing"
"""An operand that ends as soon as it is started."""


def build_images(engine: image.Engine, folder: Path) -> None:
    """A release, whose image the node gets, and one archive for each other image that it needs."""
    (folder / DIST).mkdir(parents=True)
    manager, operand = manager_image(), operand_image()
    distribution.build(folder / DIST, distribution.source(), "https://example.com/btp-manager", [])
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(CHECKOUT / "localcluster", context / "localcluster", ignore=shutil.ignore_patterns("go.*"))
        for program, line in (("manager", 'exec python -m localcluster.operandpod "$@"'), ("crash", "exit 1")):
            (context / program).write_text(f"#!/bin/sh\n{line}\n")
            (context / program).chmod(0o755)
        base = f"FROM {manager}\nCOPY localcluster /app/localcluster\n"
        for called, program in ((operand, "manager"), (CRASHING, "crash")):
            tag = f"localhost/btp-manager-operand-stand-in:{program}"
            engine.build(tag, context, f"{base}COPY {program} /manager\n")
            engine.save(tag, folder / f"{program}-operand.tar", called)
        shutil.copy(binary("pause"), context / "pause")
        engine.build(SANDBOX, context, 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        engine.save(SANDBOX, folder / "pause.tar")


if __name__ == "__main__":
    try:
        sys.exit(run("tests/node", PROGRAMS, (CONTROL_PLANE, NODE, NETWORK_POLICIES), build_images, sys.argv[1:]))
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
