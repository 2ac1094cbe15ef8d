# Operator and agent in one image: `docker build -t wgmesh:dev .`
# Where no registry or package index can be reached from a build, BASE names an image made elsewhere (with python3 3.13 and
# its venv module), and build/wheels holds what requirements-image.lock lists: tests/kind/image does both.
ARG BASE=python:3.13-slim

FROM ${BASE} AS packages
WORKDIR /packages
COPY requirements-image.lock build/wheels* ./
RUN set -eu; \
    if ls ./*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/packages; fi; \
    python3 -m venv /opt/wgmesh; \
    /opt/wgmesh/bin/pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: \
        --require-hashes -r requirements-image.lock; \
    /opt/wgmesh/bin/pip check

# Our own package, installed beside the rest so that a change of it alone is a small layer.
FROM packages AS own
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY operator operator
COPY node-agent node-agent
RUN set -eu; \
    /opt/wgmesh/bin/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir /wheel .; \
    /opt/wgmesh/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --root /own /wheel/*.whl; \
    python3 -m compileall -q --invalidation-mode unchecked-hash -s /own /own/opt/wgmesh/lib

# What only builds, and the second, asynchronous copy of the Kubernetes client, which nothing here uses, are taken out.
# Bytecode is made once, as nothing can be written where this runs.
FROM packages AS lean
RUN set -eu; \
    /opt/wgmesh/bin/pip uninstall --quiet --yes hatchling pathspec pluggy trove-classifiers pip; \
    rm -rf /opt/wgmesh/lib/python3*/site-packages/kubernetes/aio; \
    find /opt/wgmesh -depth -type d \( -name tests -o -name __pycache__ \) -exec rm -rf {} +; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/wgmesh/lib

FROM ${BASE}
LABEL org.opencontainers.image.title=wgmesh \
      org.opencontainers.image.description="Private WireGuard full meshes: operator and node agent" \
      org.opencontainers.image.licenses=Apache-2.0
# wireguard-go is for kernels without WireGuard, `nft` for the clamping of TCP segments; `wg` and `ip` for people who
# look what is going on.
RUN set -eu; \
    if ! { command -v wireguard-go && command -v wg && command -v ip && command -v nft; } >/dev/null; then \
        apt-get update -qq; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wireguard-go wireguard-tools iproute2 nftables; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    echo 'wgmesh:x:65532:' >>/etc/group; \
    echo 'wgmesh:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd
COPY --from=lean /opt/wgmesh /opt/wgmesh
COPY --from=own /own/ /
ENV PATH=/opt/wgmesh/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The operator needs no more. An agent, which programs its node's network, is given root by its DaemonSet.
USER 65532:65532
CMD ["wgmesh", "--help"]
