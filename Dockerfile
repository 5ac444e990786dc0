# Keel as an image: one static binary, the certificates of public authorities, and two folders for volumes. No shell and no root;
# the root file system is never written to, so run it read-only.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /out/keel ./cmd/keel
RUN mkdir -p /out/journal /out/socket && chmod 0700 /out/journal && chmod 2770 /out/socket

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/keel /usr/local/bin/keel
# What must outlive the process, and the socket where Envoy is on the same machine: Envoy joins group 65532.
COPY --from=build --chown=65532:65532 /out/journal /var/lib/keel
COPY --from=build --chown=65532:65532 /out/socket /run/keel
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/keel"]
