# One image for all processes: the default command is the worker; others are `python -m trigger`, `python -m codecserver`.
# `make image` builds it with docker, podman or buildah, and where the two base images cannot be pulled.
ARG GO_IMAGE=golang:1.26.6-bookworm@sha256:116d58cbd88c1297624acc6e967a060012422bacf9930927e23fb719189c6f36
ARG PYTHON_IMAGE=python:3.13.14-slim-bookworm@sha256:9d7f287598e1a5a978c015ee176d8216435aaf335ed69ac3c38dd1bbb10e8d64

# Depends on the pinned module only: a change of the code takes it from the cache.
FROM ${GO_IMAGE} AS helm
ARG GOPROXY=""
ENV GOMODCACHE=/go/pkg/mod GOCACHE=/go/build
WORKDIR /module
COPY localcluster/controlplane/ ./
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -ldflags "-s -w" -o /helm helm.sh/helm/v4/cmd/helm

FROM ${PYTHON_IMAGE} AS environment
# Empty: the public index.
ARG PYTHON_INDEX=""
WORKDIR /locked
COPY uv.txt ./
RUN python -m venv /uv && \
    /uv/bin/pip install --no-cache-dir ${PYTHON_INDEX:+--index-url "$PYTHON_INDEX"} --require-hashes --requirement uv.txt
COPY pyproject.toml uv.lock ./
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/venv
RUN /uv/bin/uv export --quiet --frozen --no-default-groups --no-emit-project --output-file requirements.txt && \
    /uv/bin/uv venv --quiet /venv && \
    /uv/bin/uv pip sync --require-hashes ${PYTHON_INDEX:+--default-index "$PYTHON_INDEX"} requirements.txt
# What no process imports: the classes that the Kubernetes package has for each API and each object (it imports them when
# they are first used, tests/unit/test_image.py), and other packages' tests and stubs.
RUN rm -rf /venv/lib/python3*/site-packages/kubernetes/client/api \
        /venv/lib/python3*/site-packages/kubernetes/aio/client/api && \
    find /venv/lib/python3*/site-packages/kubernetes -path '*/client/models/*.py' ! -name __init__.py -delete && \
    find /venv -depth -type d \( -name test -o -name tests \) -exec rm -rf {} + && \
    find /venv -type f \( -name '*_test.py' -o -name '*.pyi' -o -name .lock \) -delete && \
    python -m compileall -q /venv/lib && \
    chmod -R go-w /venv

# docker build --target sbom --output . .   writes sbom.json (CycloneDX) with every locked Python package.
FROM environment AS bom
RUN /uv/bin/uv export --quiet --frozen --no-default-groups --format cyclonedx1.5 --output-file /sbom.json
FROM scratch AS sbom
COPY --from=bom /sbom.json /sbom.json

FROM ${PYTHON_IMAGE} AS code
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
COPY codecserver/ codecserver/
COPY btpctl/ btpctl/
COPY chart/ chart/
COPY LICENSE pyproject.toml ./
RUN mkdir bin && printf '#!/bin/sh\nPYTHONPATH=/app exec python -m btpctl "$@"\n' >bin/btpctl && chmod +x bin/btpctl && \
    python -m compileall -q /app && chmod -R go-w /app

FROM ${PYTHON_IMAGE}
COPY --from=helm /helm /usr/local/bin/helm
COPY --from=environment /venv /venv
COPY --from=code /app /app
WORKDIR /app
ENV PATH=/app/bin:/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Helm looks for its settings in a temporary folder: mount an emptyDir or tmpfs at /tmp when the root is read-only.
USER 10001:30001
CMD ["python", "-m", "worker"]
