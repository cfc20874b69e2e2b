"""`make test-compose`: builds the images, and runs tests/compose apart from the rest, with an engine of its own.

Says in one sentence what is missing, and ends with 0 then; with 1 where CI is set. Images of others are stood in for:
k3s by the local control plane, Temporal on PostgreSQL by Temporal's dev server. Temporal's UI is left out.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from localcluster import image
from localcluster.binaries import COMPOSE, CONTROL_PLANE, NODE, binary
from localcluster.controlplane import CHECKOUT
from localcluster.temporal import CLI
from localcluster.testsapart import run

PROGRAMS: Final = {"unshare": "util-linux", "ip": "iproute2", "iptables": "iptables", "dockerd": "docker.io"}
"""What must be on PATH, and the Debian package that brings it."""
K3S: Final = f"""FROM {image.TAG}
USER 0:0
COPY assets /assets
COPY localcluster /app/localcluster
ENV KUBEBUILDER_ASSETS=/assets KUBECONFIG=/etc/rancher/k3s/k3s.yaml PATH=/assets:/venv/bin:/usr/bin:/bin
ENTRYPOINT ["python", "-m", "localcluster.k3s"]
"""
TEMPORAL: Final = f"""FROM {image.TAG}
USER 0:0
COPY temporal /usr/local/bin/temporal
ENTRYPOINT ["temporal", "server", "start-dev", "--ip=0.0.0.0", "--headless", "--db-filename=/data/temporal.db"]
CMD ["--log-level=warn"]
"""
POSTGRESQL: Final = f"""FROM {image.TAG}
USER 0:0
RUN ln -s /bin/true /usr/local/bin/pg_isready
CMD ["sleep", "infinity"]
"""


def build_images(engine: image.Engine, folder: Path) -> None:
    """One archive for each image that docker-compose.yml and its override name."""
    folder.mkdir()
    image.build(engine)
    engine.save_for_docker(image.TAG, folder / "manager.tar")
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(CHECKOUT / "localcluster", context / "localcluster", ignore=shutil.ignore_patterns("go.sum"))
        (context / "assets").mkdir()
        for program in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl"):
            shutil.copy(binary(program), context / "assets")
        shutil.copy(CLI, context / "temporal")
        for part, file in (("k3s", K3S), ("temporal", TEMPORAL), ("postgresql", POSTGRESQL)):
            tag = f"btp-manager-{part}:local"
            engine.build(tag, context, file)
            engine.save_for_docker(tag, folder / f"{part}.tar")


if __name__ == "__main__":
    try:
        sys.exit(run("tests/compose", PROGRAMS, (CONTROL_PLANE, NODE, COMPOSE), build_images, sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(str(error))
