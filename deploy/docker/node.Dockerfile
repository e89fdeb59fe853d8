# syntax=docker/dockerfile:1
# One device. Build at the root of the repository; an index of PyTorch's CPU builds, given as the build argument
# PIP_EXTRA_INDEX_URL, makes the image a fifth of the size.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY proto proto
COPY hwmodel hwmodel
COPY edge_node edge_node
COPY fleet fleet
RUN python -m venv /opt/reram-fleet \
    && /opt/reram-fleet/bin/pip install --no-cache-dir --constraint constraints.txt '.[node]'

FROM ${PYTHON} AS node
COPY --from=build /opt/reram-fleet /opt/reram-fleet
RUN groupadd --gid 10003 fleet-node \
    && useradd --uid 10003 --gid 10003 --no-create-home --home-dir /var/lib/fleet-node \
        --shell /usr/sbin/nologin fleet-node \
    && install --directory --mode=0700 --owner=fleet-node --group=fleet-node /var/lib/fleet-node
# Matrices of a node are small: more threads cost more than they bring.
ENV PATH=/opt/reram-fleet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
USER 10003:10003
WORKDIR /var/lib/fleet-node
VOLUME /var/lib/fleet-node
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:9811/healthz', timeout=4)"]
ENTRYPOINT ["edge-node"]
CMD ["run", "--state", "/var/lib/fleet-node"]
