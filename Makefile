# make builds. make help lists the rest.

BIN     ?= bin
KEEP    ?=
README  ?=
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),development)

STATICCHECK_VERSION = v0.8.2
STATICCHECK         = $(CURDIR)/bin/tools/$(STATICCHECK_VERSION)-$(shell go env GOVERSION)/staticcheck

FUZZ_PACKAGES = ./kms ./kms/emulator ./kms/aliyun ./fs ./cmd/kmsfs
FUZZTIME      ?= 30s

SOAK_PACKAGES = ./cache/... ./kms/aliyun
SOAK_SECONDS  ?= 180

.DEFAULT_GOAL = build
.PHONY: build demo test check fuzz bench bench-packages soak setup clean help
.NOTPARALLEL:

build: ## bin/kmsfs and bin/kms-emulator: static, stripped, version stamped
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ ./cmd/kmsfs ./cmd/kms-emulator

demo: setup ## a private key that is never a file, up to a TLS handshake; KEEP=1 stays mounted until Ctrl-C
	@start=$$(date +%s%3N) && \
	$(MAKE) --no-print-directory --silent build && \
	CGO_ENABLED=0 go build -buildvcs=false -o $(BIN)/ ./integration/demo && \
	echo "built kmsfs, kms-emulator and the demonstration into $(BIN) in $$(($$(date +%s%3N) - start)) ms"
	@exec $(BIN)/demo -bin $(BIN) $(if $(KEEP),-keep)

test: setup check ## all tests
	go test -count=1 -timeout 18m ./integration/...

check: $(STATICCHECK) ## gofmt, vet, staticcheck, and the unit tests under the race detector
	@unformatted=$$(gofmt -l .) && if [ "$$unformatted" ]; then echo "gofmt -w is needed for:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	CGO_ENABLED=1 go test -race $$(go list ./... | grep -v '/integration')

# A tool of its own, so that go.mod lists what the product needs.
$(STATICCHECK):
	GOFLAGS= GOBIN=$(dir $@) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

fuzz: ## every fuzz test for FUZZTIME (30s)
	@set -e; for package in $(FUZZ_PACKAGES); do \
		tests=$$(go test -list '^Fuzz' $$package | grep '^Fuzz') || { echo "no fuzz test in $$package"; exit 1; }; \
		for test in $$tests; do \
			echo "$$package $$test"; \
			go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench: ## kmsfs beside tmpfs, loopback and gocryptfs, as root, in 3 minutes; README=1 writes the figures into README.md
	@packaging/setup.sh bench
	@$(MAKE) --no-print-directory --silent build
	@CGO_ENABLED=0 go build -buildvcs=false -o $(BIN)/ ./integration/bench github.com/hanwen/go-fuse/v2/example/loopback
	@exec $(BIN)/bench -bin $(BIN) $(if $(README),-readme README.md)

bench-packages: ## the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem ./...

soak: ## the tests of cache and client again and again, in random order, for SOAK_SECONDS (180)
	@set -e; end=$$(($$(date +%s) + $(SOAK_SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
		CGO_ENABLED=1 go test -race -count=1 -shuffle=on -timeout 5m $(SOAK_PACKAGES); \
	done

setup: ## install what is missing (Debian, as root)
	@packaging/setup.sh

clean: ## remove what was built
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
