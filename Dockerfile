# One image for the services and the `callfold` command: docker build -t callfold .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# runtime or telemetry. The latter adds OpenTelemetry for traces and 10 MB. Both are subsets of requirements.lock.
ARG LOCK=runtime
WORKDIR /build
# Build tools stay in this stage. Runtime packages go into a separate environment at its final path, so that the next
# stage copies it unchanged, with the bytecode that pip compiles. Only wheels are installed: no compiler is needed.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all:
# binutils has `strip`: some wheels contain debugging information, 25 MB in total.
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
RUN python -m venv --without-pip /opt/callfold
COPY deploy/image/ ./
RUN pip install --require-hashes --requirement build.lock \
 && pip --python /opt/callfold install --require-hashes --requirement ${LOCK}.lock \
 && find /opt/callfold -name '*.so*' -type f -exec strip --strip-debug {} +
COPY pyproject.toml README.md LICENSE ./
COPY shared/ shared/
COPY services/ services/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/callfold install --no-deps --no-index dist/*.whl

FROM python:${PYTHON}-slim
ARG VERSION=0.1.0 REVISION=""
LABEL org.opencontainers.image.title="callfold" \
      org.opencontainers.image.description="Exact call records and exact daily counts from telephony events on Kafka" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A fixed numeric user id, so that Kubernetes can verify that it is not root.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin callfold
COPY --from=build /opt/callfold /opt/callfold
# The processes write no file, no bytecode and no home directory: the root file system may be read-only.
ENV PATH=/opt/callfold/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    CALLFOLD_PROGRAM=callfold \
    CALLFOLD_API_HOST=0.0.0.0 CALLFOLD_RECEIVER_HOST=0.0.0.0 CALLFOLD_MONITOR_HOST=0.0.0.0 \
    CALLFOLD_MONITOR_PORT=9464
USER 10001:10001
WORKDIR /
EXPOSE 8000 8010 9464
# For the services. A command such as `callfold verify` exits before the first check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "shared.probe"]
CMD ["callfold", "--help"]
