# syntax=docker/dockerfile:1
# Two images of one install: `--target coordinator`, and `--target superlink`, which runs what learning jobs bring and
# has a user of its own. Build at the root of the repository.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY proto proto
COPY hwmodel hwmodel
COPY edge_node edge_node
COPY fleet fleet
RUN python -m venv /opt/reram-fleet \
    && /opt/reram-fleet/bin/pip install --no-cache-dir --constraint constraints.txt '.[coordinator,postgres]'

FROM ${PYTHON} AS installed
COPY --from=build /opt/reram-fleet /opt/reram-fleet
# The group may read the token that ServerApps call the coordinator with.
RUN groupadd --gid 10001 fleet-coordinator \
    && groupadd --gid 10002 fleet-superlink \
    && groupadd --gid 10010 fleet-learning \
    && useradd --uid 10001 --gid 10001 --groups fleet-learning --no-create-home \
        --home-dir /var/lib/fleet-coordinator --shell /usr/sbin/nologin fleet-coordinator \
    && useradd --uid 10002 --gid 10002 --groups fleet-learning --no-create-home \
        --home-dir /var/lib/fleet-superlink --shell /usr/sbin/nologin fleet-superlink \
    && install --directory --mode=0700 --owner=fleet-coordinator --group=fleet-coordinator /var/lib/fleet-coordinator \
    && install --directory --mode=0700 --owner=fleet-superlink --group=fleet-superlink /var/lib/fleet-superlink
ENV PATH=/opt/reram-fleet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1

FROM installed AS superlink
USER 10002:10002
WORKDIR /var/lib/fleet-superlink
VOLUME /var/lib/fleet-superlink
ENV FLWR_HOME=/var/lib/fleet-superlink/home \
    FLEET_CA=/run/learning/superlink-ca.pem
EXPOSE 9802
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, ssl, urllib.request as u; u.urlopen('https://localhost:9802/health', timeout=4, \
context=ssl.create_default_context(cafile=os.environ['FLEET_CA']))"]
# Without its SuperExec no job would ever run: then all of it ends, and the container is started anew.
ENTRYPOINT ["python", "-m", "reram_fleet.processes.reaper", "--helper", "flower-superexec", "--", "flower-superlink"]

FROM installed AS coordinator
USER 10001:10001
WORKDIR /var/lib/fleet-coordinator
VOLUME /var/lib/fleet-coordinator
ENV FLEET_CA=/run/secrets/ca.pem \
    FLEET_ADDRESS=localhost:9800
EXPOSE 9800 9801 9810
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, ssl, urllib.request as u; u.urlopen('https://localhost:9810/healthz', timeout=4, \
context=ssl.create_default_context(cafile=os.environ['FLEET_CA']))"]
ENTRYPOINT ["fleet"]
CMD ["serve", "--state", "/var/lib/fleet-coordinator"]
