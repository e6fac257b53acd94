# make builds. make help lists the rest.

BIN     ?= bin
KEEP    ?=
GENERATION ?= 1
README  ?=
DESTDIR ?=
PREFIX  ?= /usr/local
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),development)

STATICCHECK_VERSION = v0.8.2
STATICCHECK         = $(CURDIR)/bin/tools/$(STATICCHECK_VERSION)-$(shell go env GOVERSION)/staticcheck

FUZZ_PACKAGES = ./kms ./kms/emulator ./kms/emulator/wire ./kms/aliyun ./kms/aliyun/blobs ./kms/aliyun/credentials ./fs/audit ./fs/session ./cmd/kmsfs/control ./cmd/kmsfs/options
FUZZTIME      ?= 30s

SOAK_PACKAGES = ./cache/... ./kms/aliyun/...
SOAK_SECONDS  ?= 180

.DEFAULT_GOAL = build
.PHONY: build install deb demo test check fuzz bench bench-packages soak setup clean help
.NOTPARALLEL:

build: ## bin/kmsfs and bin/kms-emulator: static, stripped, version stamped
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ ./cmd/kmsfs ./cmd/kms-emulator

# Needs no go, so that root may have none: run make first. mount(8) looks for
# its helpers in /sbin only, whatever PREFIX is.
install: ## what make built, into DESTDIR and PREFIX (/usr/local)
	@test -x $(BIN)/kmsfs || { echo "$(BIN)/kmsfs is missing: run make first"; exit 1; }
	install -D -m 755 $(BIN)/kmsfs $(DESTDIR)$(PREFIX)/bin/kmsfs
	install -d $(DESTDIR)/usr/sbin
	ln -sf $(PREFIX)/bin/kmsfs $(DESTDIR)/usr/sbin/mount.kmsfs
	ln -sf $(PREFIX)/bin/kmsfs $(DESTDIR)/usr/sbin/mount.fuse.kmsfs
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	@set -e; for unit in packaging/systemd/*; do \
		sed 's|/usr/bin/kmsfs|$(PREFIX)/bin/kmsfs|' "$$unit" >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}; done
	install -D -m 644 packaging/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/kmsfs.conf
	@set -e; cd $(DESTDIR)$(PREFIX); kmsfs=$(abspath $(BIN))/kmsfs; \
	install -d share/man/man1 share/man/man8 share/bash-completion/completions share/zsh/vendor-completions share/fish/vendor_completions.d; \
	$$kmsfs man kmsfs.1 >share/man/man1/kmsfs.1; \
	$$kmsfs man mount.kmsfs.8 >share/man/man8/mount.kmsfs.8; \
	echo '.so man8/mount.kmsfs.8' >share/man/man8/mount.fuse.kmsfs.8; \
	$$kmsfs completion bash >share/bash-completion/completions/kmsfs; \
	$$kmsfs completion zsh >share/zsh/vendor-completions/_kmsfs; \
	$$kmsfs completion fish >share/fish/vendor_completions.d/kmsfs.fish

deb: build ## bin/kmsfs_VERSION_ARCH.deb
	@packaging/deb.sh $(abspath $(BIN)) '$(VERSION)'

demo: setup ## a private key that is never a file, up to a TLS handshake; KEEP=1 stays mounted until Ctrl-C, GENERATION=3 has a key of KMS 3.0
	@start=$$(date +%s%3N) && \
	$(MAKE) --no-print-directory --silent build && \
	CGO_ENABLED=0 go build -buildvcs=false -o $(BIN)/ ./integration/demo && \
	echo "built kmsfs, kms-emulator and the demonstration into $(BIN) in $$(($$(date +%s%3N) - start)) ms"
	@exec $(BIN)/demo -bin $(BIN) -generation $(GENERATION) $(if $(KEEP),-keep)

# One package at a time: two at once would be late for each other's deadlines.
test: setup check ## all tests
	go test -count=1 -p 1 -timeout 18m ./integration/...

check: $(STATICCHECK) ## gofmt, vet, staticcheck, and the unit tests under the race detector
	@unformatted=$$(gofmt -l .) && if [ "$$unformatted" ]; then echo "gofmt -w is needed for:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...
	CGO_ENABLED=1 go test -race $$(go list ./... | grep -v '/integration')

# A tool of its own, so that go.mod lists what the product needs.
$(STATICCHECK):
	GOFLAGS= GOBIN=$(dir $@) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

fuzz: ## every fuzz test for FUZZTIME (30s), little of which goes into making inputs short
	@set -e; for package in $(FUZZ_PACKAGES); do \
		tests=$$(go test -list '^Fuzz' $$package | grep '^Fuzz') || { echo "no fuzz test in $$package"; exit 1; }; \
		for test in $$tests; do \
			echo "$$package $$test"; \
			go test -run '^$$' -fuzz "^$$test\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package; \
		done; \
	done

bench: ## kmsfs beside tmpfs, loopback, gocryptfs and a server in C, as root, in 3 minutes; README=1 writes the figures into README.md
	@packaging/setup.sh bench
	@$(MAKE) --no-print-directory --silent build
	@CGO_ENABLED=0 go build -buildvcs=false -o $(BIN)/ ./integration/bench github.com/hanwen/go-fuse/v2/example/loopback
	@gcc -O2 -Wall -o $(BIN)/memory integration/bench/libfuse/memory.c $$(pkg-config --cflags --libs fuse3)
	@exec $(BIN)/bench -bin $(BIN) $(if $(README),-readme README.md)

bench-packages: ## the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem ./...

soak: ## 500 kills and 100 upgrades under load, 300 rounds of all that can happen to a mount; then cache and client for SOAK_SECONDS (180)
	KMSFS_SOAK=1 go test -count=1 -timeout 20m -v -run 'TestServer(Killed|Upgraded)UnderLoad' ./integration/succession
	KMSFS_SOAK=1 go test -count=1 -timeout 60m -v ./integration/churn
	@set -e; end=$$(($$(date +%s) + $(SOAK_SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
		CGO_ENABLED=1 go test -race -count=1 -shuffle=on -timeout 5m $(SOAK_PACKAGES); \
	done

setup: ## install what is missing (Debian, as root)
	@packaging/setup.sh

clean: ## remove what was built
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
