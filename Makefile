# make demo    builds uclat and shows it at work in an IPv6-only internet on this machine (needs root)
# make test    all tests: check, the list of requirements, fuzzing, end to end with real peers (needs root, and Debian's package index)
# make check   what needs neither root nor anything installed but Go and a C compiler (for the race detector)

GO      ?= go
SUDO    ?= $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X uclat/cmd/internal/cli.version=$(VERSION)

SYSTEMS  = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
UNIT     = $$($(GO) list ./... | grep -v -e uclat/test/e2e -e uclat/test/differential)
FUZZ     = 5s

.PHONY: build demo check test e2e peers format cross lint unit conformance covered mutants fuzz bench throughput clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/uclat ./cmd/uclat

demo: build
	$(SUDO) ./build/uclat lab

check: format cross lint unit

test: check covered fuzz e2e

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

# The tests of the requirements, one each, and docs/CONFORMANCE.md from what they cover (needs root).
conformance:
	$(GO) run ./test/conformance/count

# The same, where docs/CONFORMANCE.md must be right already.
covered:
	$(GO) run ./test/conformance/count -check

# Those tests can fail: mistakes are put into the translator, one after the other. IDS="XLAT-CK-1 XLAT-CK-2": only those of these.
mutants:
	$(GO) run ./test/conformance/mutants $(IDS)

# Against real peers: the same packets as TAYGA, then all of it, once with the program as it ships, once with the race detector in it.
e2e:
	-test/peers/fetch.sh # where that is impossible, what is installed is used, and the rest is skipped
	$(GO) run ./test/report -count=1 -timeout 5m ./test/differential
	$(GO) run ./test/report -count=1 -timeout 10m ./test/e2e
	UCLAT_E2E_RACE=1 $(GO) run ./test/report -count=1 -timeout 15m ./test/e2e

peers:
	test/peers/fetch.sh

# Each fuzz target for a while, two at a time, each with one worker. What one finds stays in its package's testdata as a seed. On a busy machine
# go test may call it a failure that the time is over while an input still runs ("context deadline exceeded"), with nothing found: that is none.
fuzz:
	@grep -rHo '^func Fuzz[A-Za-z0-9]*' --include='*_test.go' . | sed 's|/[^/]*:func | |' | sort | xargs -P 2 -n 2 sh -c ' \
		if out=$$($(GO) test -run "^\$$" -fuzz "^$$1\$$" -fuzztime $(FUZZ) -fuzzminimizetime 20x -parallel 1 "$$0" 2>&1) || \
			case "$$out" in *"Failing input"*) false ;; *"context deadline exceeded"*) true ;; *) false ;; esac; then \
			echo "$$0 $$1: $$(echo "$$out" | grep -o "execs: [0-9]*" | tail -n 1)"; \
		else \
			echo "$$out"; \
			echo "$$0 $$1 FAILED. What it found is in $$0/testdata/fuzz/$$1: go test -run $$1 $$0"; \
			exit 1; \
		fi'

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./clat/...

# TCP through uclat, through TAYGA and without translation, in one run (needs root).
throughput: peers
	$(GO) test -run '^$$' -bench Throughput -benchtime 1x ./test/bench

clean:
	rm -rf build
