"""Tests that need images and a machine apart from the rest: what they lack, their images, and pytest."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from localcluster import image
from localcluster.apart import missing, outside
from localcluster.binaries import Module
from localcluster.controlplane import STATE
from localcluster.processes import own_folder

ARCHIVES: Final = "images"
"""Folder of the images, below the folder of each run's files."""


def run(
    tests: str,
    programs: Mapping[str, str],
    modules: Sequence[Module],
    build_images: Callable[[image.Engine, Path], None],
    arguments: Sequence[str],
) -> int:
    """Build the images and run a folder of tests. Returns the exit status.

    Says in one sentence what is missing, and returns 0 then; 1 where CI is set.

    Args:
        programs: what must be on PATH or at a path, and the Debian package that brings it.
        modules: built before anything else, for within the namespaces there is no network.
        build_images: puts archives into a folder that is not there yet.
        arguments: for pytest.
    """
    lack = missing(programs)
    if not lack:
        try:
            engine = image.find_engine()
        except RuntimeError as problem:
            lack = str(problem)
    if lack:
        print(f"skipped: {lack}")
        return 1 if os.environ.get("CI") else 0
    for module in modules:
        module.ensure()
    STATE.mkdir(exist_ok=True)
    folder = own_folder(STATE, "apart")
    try:
        build_images(engine, folder / ARCHIVES)
        return outside(folder, [sys.executable, "-m", "pytest", "-n0", tests, *arguments])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
