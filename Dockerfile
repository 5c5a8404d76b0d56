# Two images from one file:
#   light    edge nodes, controller, schema and run; no torch    docker build --target light -t offload-testbed .
#   trainer  the pipeline: torch, the twin                       docker build --target trainer -t offload-testbed-trainer .
# torch's CPU build is taken; for GPUs: --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS light-packages
WORKDIR /build
RUN python -m venv /opt/offload
COPY pyproject.toml requirements.lock deploy/wanted.py ./
# First what we need, then ourselves: a change of the source leaves the first layer as it is. Of Nacos' client only the synchronous
# part is used, which needs none of the thirty packages that come with it.
RUN python wanted.py node controller mysql hdfs kubernetes > wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock -r wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps "$(grep '^nacos-sdk-python==' requirements.lock)"
COPY . source
RUN /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps ./source

FROM light-packages AS trainer-packages
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python wanted.py trainer twin > wanted.txt \
    && /opt/offload/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock -r wanted.txt \
       ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"}

# What nobody needs at run time; everything is compiled here, since the file system is read-only there.
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
# A number, so that Kubernetes can see that it is not root.
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

# The last one is what `docker build` makes without a target.
FROM base AS light
COPY --from=light-pruned /opt/offload /opt/offload
