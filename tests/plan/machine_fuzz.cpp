// Any bytes as what `chorus bench machine` writes: refused with a UserError, or rates above 0.
#include "fuzz/target.h"
#include "plan/time.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  put_file(folder / "machine.json", FuzzInput(data, size).rest());
  accepted([] {
    const Machine machine = read_machine(folder / "machine.json");
    check(machine.flops > 0 && machine.latency > 0 && machine.ranks_per_host > 0);
    put_file(folder / "again.json", to_json(machine).dump());
    check(to_json(read_machine(folder / "again.json")) == to_json(machine));
  });
  return 0;
}
