# The whole of chorus behind a few words; `make` alone lists them. Every target first makes what it needs; what is there
# already is not made again.
#
#   TORCH_DIR=DIR     take this libtorch (site-packages/torch, or its virtual environment) and fetch none
#   JOBS=N            compile and test N at a time
#   FROM=en TO=de     the languages of `make try`
#   N=KILLS SEED=S    of `make kill`
#   MINUTES=N         how long `make fuzz` goes on (10); FUZZ=ARGUMENTS is for scripts/fuzz.py
#   BENCH=ARGUMENTS   what `make bench` measures (bench/run.py --help); BENCH_VENV=DIR takes the peers from there
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: setup build try demo quick tests test check fuzz tsan kill lint bench docs gpu-kit package help

# As many as there are cores, but no more than memory serves: a compiler takes up to 1.5 GB, more under sanitizers.
JOBS ?= $(shell cores=$$(nproc); fit=$$(awk '/^MemTotal/ {print int($$2 / 2000000)}' /proc/meminfo); \
	[ $$fit -lt $$cores ] && cores=$$fit; [ $$cores -lt 1 ] && cores=1; echo $$cores)
export TORCH_DIR
ifeq ($(strip $(TORCH_DIR)),)
unexport TORCH_DIR
endif

say = @echo "chorus: $(1)" >&2
configure = cmake --preset $(1) >build/$(1).configure.log 2>&1 || { cat build/$(1).configure.log; exit 1; }
compile = cmake --build --preset $(1) -j $(JOBS)

help: ## list these words
	@echo "make setup | build | try | demo | quick | test | check | fuzz | tsan | kill | lint | bench | docs | gpu-kit | package; the program is build/release/chorus"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## install compiler, libraries and libtorch where they are missing
	@scripts/setup.sh

build: setup ## build/release/chorus
	$(call say,building build/release/chorus with $(JOBS) jobs)
	@$(call configure,release)
	@$(call compile,release) --target chorus

FROM ?= en
TO ?= de
try: build ## type sentences, read translations by the model in models/help-24 (FROM=en TO=de: 25 languages)
	$(call say,in a browser: build/release/chorus serve --model models/help-24)
	$(call say,type sentences as in the help of an office program (FROM=$(FROM)) and read them in another language (TO=$(TO)); Ctrl-D ends)
	@build/release/chorus translate -q --model models/help-24 --from $(FROM) --to $(TO)

demo: build ## that model learns two more languages from real text, in 12 minutes
	@scripts/demo.sh

quick: setup ## the tests of what has changed since the last commit
	@$(call configure,release)
	@scripts/quick.py -j $(JOBS)

tests: build
	$(call say,building the tests)
	@$(call compile,release)

test: tests ## build and run the tests, except the slow ones, which `make check` runs
	$(call say,testing the optimised build)
	@ctest --preset release -j $(JOBS) --label-exclude slow

check: tests ## what `make test` leaves out: slow tests, against other programs and on 1 to 8 processes, and all tests under sanitizers
	@scripts/setup.sh --reference
	$(call say,building the benchmarks and the Python package)
	@$(call configure,release)
	@$(call compile,release) --target all chorus_bench chorus_timeline
	$(call say,testing against other programs and on more processes)
	@ctest --preset release -j $(JOBS) --label-regex slow
	$(call say,building the tests with AddressSanitizer and UBSan)
	@$(call configure,asan)
	@$(call compile,asan)
	$(call say,testing under AddressSanitizer and UBSan)
	@ctest --preset asan -j $(JOBS) --label-exclude slow

kill: tests ## kill trainings and exports at N random moments (N=1000; SEED=S repeats), and compare what they make in the end
	@tests/faults/kill.py --chorus build/release/chorus --library build/release/tests/faults/libfaults.so --kills $(or $(N),1000) $(if $(SEED),--seed $(SEED))

fuzz: ## feed the parsers mutated files for MINUTES, with feedback from clang's libFuzzer (docs/building.md)
	@scripts/setup.sh --fuzz
	$(call say,building the fuzz targets with clang)
	@$(call configure,fuzz)
	@$(call compile,fuzz)
	@scripts/fuzz.py --minutes $(or $(MINUTES),10) -j $(JOBS) $(FUZZ)

tsan: setup ## the suites that have threads, under ThreadSanitizer
	$(call say,building them with ThreadSanitizer)
	@$(call configure,tsan)
	@$(call compile,tsan) --target threads
	@ctest --preset tsan --label-regex threads

lint: setup ## formatting, clang-tidy, include directions, file lengths
	@scripts/lint.py -j $(JOBS)

bench: build ## chorus against its peers, in interleaved runs: build/bench/table.md (BENCH="--only moe --quick" chooses)
	$(call say,building chorus_bench)
	@$(call configure,release)
	@$(call compile,release) --target chorus_bench
	@bench/run.py $(BENCH)

gpu-kit: setup ## pack program, tests and benchmarks for a machine with an NVIDIA GPU (docs/gpu.md): build/gpu-kit.tar.xz
	@JOBS=$(JOBS) scripts/gpu_kit.sh

package: export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),$(shell date +%s))
package: build ## build/package: a Debian package that brings its libtorch, and the Python wheel (docs/building.md)
	@scripts/setup.sh --package
	@rm -rf build/package
	@cpack --config build/release/CPackConfig.cmake -B build/package
	@rm -r build/package/_CPack_Packages
	$(call say,building the Python wheel)
	@.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/package .
	@ls -s --block-size=M build/package

docs: build ## write docs/options.md anew from the program's own table of options
	@build/release/chorus train --dump-options >build/options.md && mv build/options.md docs/options.md
	$(call say,wrote docs/options.md)
