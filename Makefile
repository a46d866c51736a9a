# make demo    builds uclat and shows it at work in an IPv6-only internet on this machine (needs root)
# make test    all tests: check, then end to end with real peers (needs root, and Debian's package index)
# make check   what needs neither root nor anything installed but Go and a C compiler (for the race detector)

GO      ?= go
SUDO    ?= $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X uclat/cmd/internal/cli.version=$(VERSION)

SYSTEMS  = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
UNIT     = $$($(GO) list ./... | grep -v uclat/test/e2e)
FUZZ     = 20s

.PHONY: build demo check test e2e peers format cross lint unit fuzz bench throughput clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/uclat ./cmd/uclat

demo: build
	$(SUDO) ./build/uclat lab

check: format cross lint unit

test: check e2e

format:
	@bad=$$(gofmt -l cmd clat platform discovery test); [ -z "$$bad" ] || { echo "not gofmt'd: $$bad"; exit 1; }

cross:
	@for s in $(SYSTEMS); do \
		export CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/}; \
		echo "build and vet $$s"; \
		$(GO) build ./... && $(GO) vet ./... || exit 1; \
	done

lint:
	$(GO) tool -modfile=test/tools/go.mod staticcheck ./...

unit:
	$(GO) run ./test/report -race $(UNIT)

# Once with the program as it ships, once with the race detector in it.
e2e:
	-test/peers/fetch.sh # where that is impossible, what is installed is used, and the rest is skipped
	$(GO) run ./test/report -count=1 -timeout 10m ./test/e2e
	UCLAT_E2E_RACE=1 $(GO) run ./test/report -count=1 -timeout 15m ./test/e2e

peers:
	test/peers/fetch.sh

# Each fuzz target for a while; what it finds stays in testdata as a seed.
fuzz:
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) -fuzzminimizetime 20x $$p || exit 1; \
		done; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./clat/...

# TCP through uclat, through TAYGA and without translation, in one run (needs root).
throughput: peers
	$(GO) test -run '^$$' -bench Throughput -benchtime 1x ./test/bench

clean:
	rm -rf build
