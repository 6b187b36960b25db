// state.json and best.json of checkpoints, whose checksum is right or not: refused with a UserError, or read. The first
// byte says which file, and whether the checksum is made.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "fuzz/target.h"
#include "io/checkpoint.h"
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder run;
  static const std::filesystem::path step = run / "checkpoints/step-00000007";
  [[maybe_unused]] static const bool made = [] {
    std::filesystem::create_directories(step);
    put_file(step / "model.safetensors", safetensors_of({{"x", DType::f32, {2}}}, {}, "ab"));
    put_file(step / "other", "other");
    return true;
  }();
  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  std::string text(input.rest());
  if ((kind & 1) != 0)
    text += fmt::format(",\"xxh3\":\"{}\"}}\n", hash_text(hash_bytes(std::string_view(text))));
  if ((kind & 2) != 0) {
    put_file(run / "checkpoints/best.json", text);
    accepted([] { check(CheckpointStore(run.path()).best().value_or(7) == 7); });
  } else {
    put_file(step / "state.json", text);
    accepted([] { (void)parse_json(read_checkpoint(step).state, "the state"); });
  }
  return 0;
}
