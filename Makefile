# make demo      compile a tiny real model and read what it writes
# make test      everything that is tested in the ordinary build
# make test-all  that, then what takes long: attention of every shape, machine code for every GPU; and, under sanitizers in
#                build trees of their own, fuzz targets for a few seconds each and threads
# make fuzz      TIME=3600 seconds for each fuzz target, JOBS=2 at once, TARGETS="gguf plan" of them
# make emulate   the golden case of every family by machine code for AMD's GPUs on an emulator: CASES=DIR, EMULATOR=DIR
# make programs  sinter and sinter-run, in build/bin
# make install   PREFIX=/usr/local
# make format    clang-format over the sources
BUILD ?= build
PREFIX ?= /usr/local
MODEL = models/tiny-bonsai-1bit
TIME ?= 3600
CASES ?= ../shared/goldens/dev
EMULATOR ?= ../shared/tools/amdemu
CONFIGURE = cmake -S . -B $(BUILD) -G Ninja -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DCMAKE_INSTALL_PREFIX=$(PREFIX)
JOBS ?= $(shell nproc)
TARGETS ?= $(patsubst tests/fuzz/fuzz_%.cpp,%,$(filter-out tests/fuzz/fuzz_main.cpp,$(wildcard tests/fuzz/fuzz_*.cpp)))

.PHONY: demo test test-all fuzz emulate programs with-tests install format clean

demo: programs
	@mkdir -p $(BUILD)/demo
	$(BUILD)/bin/sinter compile $(MODEL) -o $(BUILD)/demo/tiny-bonsai.plan --target host
	@echo
	$(BUILD)/bin/sinter-run run $(BUILD)/demo/tiny-bonsai.plan -p 'ROMEO:' -n 200 --stats

test: with-tests
	@ninja -C $(BUILD) --quiet
	cd $(BUILD) && ctest -j 2 --output-on-failure --no-tests=error --label-exclude 'sanitized|thorough'

test-all: test
	@ninja -C $(BUILD) --quiet sanitized threads
	cd $(BUILD) && ctest -j 2 --output-on-failure --no-tests=error --label-regex 'sanitized|thorough'

fuzz: with-tests
	@ninja -C $(BUILD) --quiet sanitized
	tests/fuzz/fuzz.sh $(BUILD) $(TIME) $(JOBS) $(TARGETS)

emulate: programs
	/usr/bin/python3 tests/emulator/emulate.py --goldens $(CASES) --emulator $(EMULATOR) --sinter $(BUILD)/bin/sinter

programs:
	@.ci/setup programs
	@[ -e $(BUILD)/build.ninja ] || $(CONFIGURE) -DBUILD_TESTING=OFF
	@ninja -C $(BUILD) --quiet sinter-compiler sinter-run sinter

# A folder that was configured for the programs alone gets its tests, and keeps what is built.
with-tests:
	@.ci/setup programs tests
	@grep -q '^BUILD_TESTING:BOOL=ON' $(BUILD)/CMakeCache.txt 2>/dev/null || $(CONFIGURE) -DBUILD_TESTING=ON

install: programs
	cmake --install $(BUILD) --prefix $(PREFIX)

format:
	git ls-files '*.h' '*.cpp' '*.c' | grep -v '^tests/goldens/' | xargs clang-format-22 -i

clean:
	rm -rf $(BUILD)
