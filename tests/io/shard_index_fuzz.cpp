// Any bytes as the index of a model in shards: refused with a UserError, or every name is a tensor of its shard.
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  [[maybe_unused]] static const bool made = [] {
    put_file(folder / "a.safetensors",
             safetensors_of({{"x", DType::f32, {2}}, {"y", DType::u8, {3}}}, {}, "ab"));
    put_file(folder / "b.safetensors", safetensors_of({{"z", DType::f32, {}}}, {}, "c"));
    return true;
  }();
  put_file(folder / "model.safetensors.index.json", FuzzInput(data, size).rest());
  accepted([] {
    const SafetensorsFolder shards(folder.path());
    for (const std::string& name : shards.names()) check(!shards.get(name).bytes.empty());
    check(shards.verify());
  });
  return 0;
}
