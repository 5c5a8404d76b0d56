# Two images from one file:
#   light    edge nodes, controller and jobs, without torch: docker build --target light -t offload-testbed .
#   trainer  the pipeline, with torch and the twin: docker build --target trainer -t offload-testbed-trainer .
# The trainer has torch's CPU build. For GPUs: --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS light-packages
WORKDIR /build
RUN python -m venv /opt/offload
COPY pyproject.toml requirements.lock deploy/wanted.py ./
# The dependencies are installed before the source, so that a change of the source does not rebuild their layer. Nacos'
# client is installed with --no-deps: we use only its synchronous part, which needs none of its thirty dependencies.
RUN python wanted.py node controller mysql hdfs kubernetes > wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock -r wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
       "$(grep '^nacos-sdk-python==' requirements.lock)"
COPY . source
RUN /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps ./source

FROM light-packages AS trainer-packages
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python wanted.py trainer twin experiments > wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock -r wanted.txt \
       ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"}

# Removes files that are not needed at run time. Compiles all modules now, because a pod's file system is read-only.
FROM light-packages AS light-pruned
RUN sh source/deploy/prune.sh /opt/offload
FROM trainer-packages AS trainer-pruned
RUN sh source/deploy/prune.sh /opt/offload

FROM ${PYTHON_IMAGE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="offload-testbed" \
      org.opencontainers.image.description="A testbed for decentralized task offloading between edge nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A numeric user id, because Kubernetes cannot check for a user name that it is not root.
RUN mkdir -p /var/lib/offload && chown 10001:10001 /var/lib/offload
ENV PATH=/opt/offload/bin:$PATH \
    PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OFFLOAD_DATA_DIR=/var/lib/offload \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /var/lib/offload
USER 10001:10001
CMD ["offload", "--help"]

FROM base AS trainer
COPY --from=trainer-pruned /opt/offload /opt/offload

# `docker build` without a target builds the last stage.
FROM base AS light
COPY --from=light-pruned /opt/offload /opt/offload
