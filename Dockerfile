# harmony-agent as an image: built from the tree, on a slim base, with what runs and nothing else.
# `make image` builds it with docker, podman or buildah, also where no registry can be reached; by
# hand, with BuildKit or buildah:
#
#     docker build -t harmony-agent .
#     docker run --network host --cap-drop ALL --cap-add NET_ADMIN \
#         -v /etc/harmony-agent:/etc/harmony-agent:ro harmony-agent
#
# The first stage runs on the building machine, whatever the image is for: other architectures are
# cross-compiled. What the programs need beyond the base is gathered there (hack/image-build root), so
# the last stage runs nothing and needs no emulator. BASE=scratch gathers all they need.
#
# The user is a fixed id. CAP_NET_ADMIN reaches a program that is not root's as a file capability
# only, which the build puts on harmony-agent as permitted, and the agent puts it in force. (As
# effective it would keep the program from starting at all where the capability is not granted.) A
# runtime that sets no_new_privs (allowPrivilegeEscalation: false) has to start it as root with
# that one capability.
ARG BASE=docker.io/library/debian:bookworm-slim
ARG BUILDER=docker.io/library/debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${BUILDER} AS build
ARG BASE
ARG TARGETARCH
ARG APT_CONF=
ARG APT_SOURCES=
LABEL harmony-agent.stage=build
WORKDIR /src
COPY hack/deps hack/image-build hack/
RUN hack/image-build packages "$BASE" "$TARGETARCH"
COPY . .
RUN hack/image-build root "$TARGETARCH" /out

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG BASE
LABEL org.opencontainers.image.title="harmony-agent" \
      org.opencontainers.image.description="Keeps WireGuard tunnels as they are configured, and tells the truth about them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=build /out/ /
USER 64740:64740
EXPOSE 9586
# The image format of Docker has it; OCI's has not, and Kubernetes looks at probes only.
HEALTHCHECK --interval=10s --timeout=6s --start-period=15s --retries=3 \
    CMD ["/usr/bin/harmony-agent", "status"]
ENTRYPOINT ["/usr/bin/harmony-agent"]
CMD ["up", "--config", "/etc/harmony-agent/networks.d", "--log-format", "json"]
