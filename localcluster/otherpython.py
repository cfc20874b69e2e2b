"""`make test-python`: tests on another Python than the checkout's, by default the image's.

In an environment of its own, so that `.venv` stays what it is. Where there is no such Python, here or where uv fetches
them, one sentence says so and nothing is tested, least of all on another one; ends with 1 then, with 0 where CI is set
and PYTHON_REQUIRED is not.
"""

import os
import subprocess
import sys
from pathlib import Path

from localcluster.controlplane import CHECKOUT
from localcluster.image import PYTHON_IMAGE


def of_the_image() -> str:
    """The version of the image's Python, such as 3.13."""
    return ".".join(PYTHON_IMAGE.partition(":")[2].partition("-")[0].split(".")[:2])


def main(python: str, arguments: list[str]) -> int:
    """Run pytest on a Python that is named by its version or its path."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([os.environ.get("PATH", ""), *_of_pyenv()]),
        "UV_PROJECT_ENVIRONMENT": str(CHECKOUT / f".venv-{Path(python).name}"),
    }
    environment.pop("VIRTUAL_ENV", None)

    def uv(*command: str, quiet: bool = False) -> int:
        call = [environment.get("UV") or "uv", "--quiet", *command]
        output = subprocess.DEVNULL if quiet else None
        return subprocess.run(call, cwd=CHECKOUT, env=environment, stdout=output, stderr=output, check=False).returncode

    if uv("python", "find", python, quiet=True) and uv("python", "install", python, quiet=True):
        print(f"nothing was tested on Python {python}: it is not here, and uv could not fetch it", flush=True)
        return 0 if os.environ.get("CI") and not os.environ.get("PYTHON_REQUIRED") else 1
    run = ("run", "--frozen", "--python", python)
    uv(*run, "python", "-c", "import sys; print('on Python', sys.version.split()[0], flush=True)")
    return uv(*run, "pytest", *arguments)


def _of_pyenv() -> list[str]:
    """The folders of pyenv's Pythons: its shims, which are on PATH, stand for those that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [str(folder) for folder in sorted(root.glob("versions/*/bin"))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] or of_the_image(), sys.argv[2:]))
