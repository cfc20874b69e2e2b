"""`make test-node`: builds the images, and runs tests/node apart from the rest of the machine on a real node.

Says in one sentence what is missing, and ends with 0 then; with 1 where CI is set.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from localcluster import image
from localcluster.apart import missing, outside
from localcluster.binaries import CONTROL_PLANE, NODE, binary
from localcluster.controlplane import CHECKOUT, STATE
from localcluster.processes import own_folder
from localcluster.realnode import SANDBOX

MANAGER_CHART: Final = CHECKOUT / "chart" / "btp-manager"
OPERAND_CHART: Final = CHECKOUT / "chart" / "sap-btp-operator"
ARCHIVES: Final = "images"
"""Folder of the images, below the folder of each run's files."""


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
    """One archive for each image that the node needs."""
    folder.mkdir()
    manager, operand = manager_image(), operand_image()
    image.build(engine, manager)
    engine.save(manager, folder / "manager.tar")
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(CHECKOUT / "localcluster", context / "localcluster", ignore=shutil.ignore_patterns("go.*"))
        for program, line in (("manager", 'exec python -m localcluster.operandpod "$@"'), ("crash", "exit 1")):
            (context / program).write_text(f"#!/bin/sh\n{line}\n")
            (context / program).chmod(0o755)
        base = f"FROM {manager}\nCOPY localcluster /app/localcluster\n"
        for tag, program in ((operand, "manager"), (CRASHING, "crash")):
            engine.build(tag, context, f"{base}COPY {program} /manager\n")
            engine.save(tag, folder / f"{program}-operand.tar")
        shutil.copy(binary("pause"), context / "pause")
        engine.build(SANDBOX, context, 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        engine.save(SANDBOX, folder / "pause.tar")


def main(arguments: list[str]) -> int:
    lack = missing()
    if not lack:
        try:
            engine = image.find_engine()
        except RuntimeError as problem:
            lack = str(problem)
    if lack:
        print(f"skipped: {lack}")
        return 1 if os.environ.get("CI") else 0
    for module in (CONTROL_PLANE, NODE):
        module.ensure()
    STATE.mkdir(exist_ok=True)
    folder = own_folder(STATE, "apart")
    try:
        build_images(engine, folder / ARCHIVES)
        return outside(folder, [sys.executable, "-m", "pytest", "-n0", "tests/node", *arguments])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(str(error))
