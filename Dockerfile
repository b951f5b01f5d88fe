# Prefold in a container: built from source, run as nobody, with a root file system that may be read-only.
#
#   docker build -t prefold:local .
#   docker run --read-only -v prefold-data:/data -p 127.0.0.1:9480:9480 prefold:local run --listen 0.0.0.0:9480
#
# Only /data is written to, and only by `run` and `query`: it is the one volume. Jobs are mounted at /etc/prefold/jobs.

FROM rust:1-slim-bookworm AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc libc6-dev make pkg-config libssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY jobs jobs
COPY benches benches
COPY src src
# The manifest names the test binary; it is not built.
RUN mkdir tests && touch tests/main.rs \
 && cargo build --locked --release --bin prefold

FROM debian:bookworm-slim
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libssl3 zlib1g ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65532 -g 65532 /data
COPY --from=build /src/target/release/prefold /usr/local/bin/prefold
ENV PREFOLD_DATA_DIR=/data \
    PREFOLD_JOBS=/etc/prefold/jobs
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9480
ENTRYPOINT ["/usr/local/bin/prefold"]
CMD ["run", "--listen", "0.0.0.0:9480"]
