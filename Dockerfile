# One image for both processes: the default command is the worker; the trigger is `python -m trigger`.
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${GO_IMAGE} AS helm
WORKDIR /module
COPY localcluster/controlplane/ ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /helm helm.sh/helm/v4/cmd/helm

FROM ${PYTHON_IMAGE} AS environment
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock ./
ENV UV_PROJECT_ENVIRONMENT=/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN uv sync --frozen --no-default-groups --no-install-project
# The commands `btpctl` and `kubectl-btp`, which lead to /app in the image below.
COPY . .
RUN uv sync --frozen --no-default-groups

# docker build --target sbom --output . .   writes sbom.json (CycloneDX) with every locked Python package.
FROM environment AS bom
RUN uv export --quiet --frozen --no-default-groups --format cyclonedx1.5 --output-file /sbom.json
FROM scratch AS sbom
COPY --from=bom /sbom.json /sbom.json

FROM ${PYTHON_IMAGE}
COPY --from=helm /helm /usr/local/bin/helm
COPY --from=environment /venv /venv
WORKDIR /app
COPY models/ models/
COPY kube/ kube/
COPY operand/ operand/
COPY dispatch/ dispatch/
COPY activities/ activities/
COPY workflows/ workflows/
COPY runtime/ runtime/
COPY worker/ worker/
COPY trigger/ trigger/
COPY btpctl/ btpctl/
COPY chart/ chart/
COPY LICENSE ./
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Helm looks for its settings in a temporary folder: mount an emptyDir or tmpfs at /tmp when the root is read-only.
USER 10001:30001
CMD ["python", "-m", "worker"]
