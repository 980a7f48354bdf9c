# make demo and make test are all one needs; each sets up what is missing, builds, and runs.

# One target directory outside the clone: RocksDB takes minutes to compile, and a second clone reuses it.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/snowtide
export CARGO_TARGET_DIR ?= $(CACHE)/target
# bindgen needs libclang anyway, and clang compiles RocksDB in two thirds of gcc's time.
export CC := clang
export CXX := clang++

CARGO ?= cargo
BIN = $(CARGO_TARGET_DIR)/release

.PHONY: help setup build dist demo test strangers sim model planted schemathesis soak bench fuzz structure lint clean

help: ## Lists the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## Installs clang, curl, faketime and Redis's clients if they are missing (Debian, Ubuntu), and checks for a Rust toolchain.
	@./scripts/setup

# An example makes cargo choose the features that tests need as well: so demo and tests share one build.
build: setup ## Builds the binaries.
	$(CARGO) build --release --workspace --bins --example careful

dist: setup ## Builds an archive of the optimised binaries with their manual pages, completions and documents, for this kind of machine.
	$(CARGO) build --profile dist --workspace --bin snowtide --bin snowtide-loadtest --bin snowtide-dev
	./scripts/dist $(CARGO_TARGET_DIR)/dist

demo: build ## Three regions on this machine: IDs, counters, a cut, a kill under load. Under two minutes once built.
	$(BIN)/snowtide-dev demo

# What a property or a simulation draws is the same each time, so that no run hangs on chance: fresh draws are soak's.
test: export PROPTEST_RNG_SEED ?= 1
test: setup ## Runs every test, over the same seeds each time.
	$(CARGO) build --release --workspace --bins --tests
	$(CARGO) build --release --package snowtide-client --all-features --examples
	$(CARGO) test --release --package snowtide-client --all-features --lib --test http
	$(CARGO) test --release --workspace --lib --bins
	$(CARGO) test --release --workspace --doc
	$(CARGO) test --release --workspace --test guard
	$(CARGO) test --release --workspace --test it --test node --test end_to_end
	./scripts/schemathesis
	./scripts/clients
	$(CARGO) test --release --workspace --test addresses
	$(CARGO) test --release --workspace --test disk
	$(CARGO) test --release --workspace --test sim -- --nocapture --test-threads=1
	$(CARGO) test --release --workspace --test limits -- --nocapture --test-threads=1

strangers: setup ## Attacks a node with 2000 clients that take and give nothing, in each of many ways, beside ordinary ones. STRANGERS_SECONDS=60 each.
	$(CARGO) build --release --workspace --bins --tests
	STRANGERS_SECONDS=$${STRANGERS_SECONDS:-60} STRANGERS_CLIENTS=$${STRANGERS_CLIENTS:-2000} \
	  $(CARGO) test --release --workspace --test it strangers:: -- --nocapture

model: setup ## Runs the model of limits alone, over fresh seeds: 30 seconds of each scenario. SIM_SECONDS=300 takes longer, SIM_SEEDS=7..8 MODEL=cuts repeats one.
	SIM_SECONDS=$${SIM_SECONDS:-30} $(CARGO) test --release --workspace --test limits -- --nocapture --test-threads=1 $(MODEL)

sim: setup ## Runs the simulator alone, over fresh seeds. SIM_SECONDS=3600 takes an hour of them, SIM_SEEDS=7..8 repeats one.
	SIM_SECONDS=$${SIM_SECONDS:-60} $(CARGO) test --release --workspace --test sim -- --nocapture --test-threads=1 $(SIM)

planted: setup ## Plants bugs in a copy of the sources, one at a time; the simulator has to find each. PLANTED=words chooses some.
	$(CARGO) test --release --workspace --test planted -- $(PLANTED)

schemathesis: build ## Makes up requests from the OpenAPI document, at length. SCHEMATHESIS='--max-time 600' chooses how.
	SCHEMATHESIS="$${SCHEMATHESIS:---max-examples 1000 --phases examples,coverage,fuzzing}" ./scripts/schemathesis

soak: setup ## Harms disks, clocks and processes, many times each, and takes fresh seeds. SOAK=minting takes the billion IDs alone, SOAK=once a client through 1000 kills, SOAK=limits drills of limits over delayed links and fresh seeds of their model, SOAK=sim an hour of fresh seeds; words choose.
	$(CARGO) build --release --workspace --bins --tests
ifneq (,$(if $(SOAK),$(filter sim,$(SOAK)),sim))
	SIM_SECONDS=$${SIM_SECONDS:-3600} $(CARGO) test --release --workspace --test sim -- --nocapture --test-threads=1
	$(CARGO) test --release --workspace --lib
endif
ifneq (sim,$(SOAK))
	$(CARGO) test --release --workspace --test disk -- --soak $(SOAK)
endif
ifneq (,$(if $(SOAK),$(filter once,$(SOAK)),once))
	ONCE_KILLS=1000 $(CARGO) test --release --workspace --test it once:: -- --nocapture
endif
ifneq (,$(if $(SOAK),$(filter limits,$(SOAK)),limits))
	$(CARGO) run --release --package snowtide-dev -- drill --delay 40ms --rounds 5
	SIM_SECONDS=$${SIM_SECONDS:-60} $(CARGO) test --release --workspace --test limits -- --nocapture --test-threads=1
endif

bench: setup ## Measures speed beside Redis, other ID generators and the machine itself. BENCH=doors chooses sections.
	./scripts/setup redis-server wrk strace
	$(CARGO) build --release --workspace --bins --tests
	$(CARGO) bench --profile release --workspace --bench ids --bench limits --bench repair --bench compare

fuzz: setup ## Feeds every decoder with a million inputs, guided by the branches they take. FUZZ=journal chooses, FUZZ_RUNS=... how many.
	./scripts/fuzz $(FUZZ)

structure: ## Prints how large the parts of the code are, how long its functions, and who imports whom in a circle. STRUCTURE=folder reads another checkout.
	$(CARGO) run --release --package snowtide-structure -- $(STRUCTURE)

lint: setup ## Checks formatting, lints, and licences, bans and sources of dependencies where cargo-deny is installed.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --package snowtide-client --all-targets --all-features -- -D warnings
	./scripts/deny

clean: ## Removes everything that was built.
	$(CARGO) clean
