# The proxy as a small image: built with the Rust image, run on plain Debian without root.
#
# Needs BuildKit (the default builder since Docker 23) for the cache mounts. They keep the registry and the compiled
# dependencies between builds, so that a change in src compiles only the crate itself. A layer with a stub crate would
# need a stub for every target that Cargo.toml names, and break when one is added.

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin azure-openai-proxy \
    && install -D target/release/azure-openai-proxy /out/azure-openai-proxy

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin proxy
COPY --from=builder /out/azure-openai-proxy /usr/local/bin/azure-openai-proxy

# Where the kernel gives huge pages to all, the allocator would keep megabytes that it has no use for.
ENV MIMALLOC_ALLOW_THP=0

# Empty and not writable by the proxy; a .env mounted here is read at start.
WORKDIR /app
USER 10001:10001
EXPOSE 3010
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["azure-openai-proxy", "healthcheck"]
ENTRYPOINT ["azure-openai-proxy"]
