// A model's tensors in slices in two files, of which some are missing, there twice, of other lengths or names: refused
// with a UserError, or all elements are read, each from where it lies.
#include <map>

#include <ATen/ops/empty.h>

#include "formats/parts.h"
#include "fuzz/target.h"
#include "model/fixtures.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  static const Catalogue catalogue = make_catalogue(tiny_config());
  FuzzInput input(data, size);
  std::vector<TensorSpec> files[2];
  for (const ParameterSpec& spec : catalogue.parameters) {
    const int64_t elements = c10::multiply_integers(spec.stored_shape());
    for (const std::string& name : spec.stored) {
      const int64_t length = 1 + elements / 5 + input.number<uint16_t>() % elements;  // five slices at most
      for (int64_t first = 0; first < elements; first += length) {
        files[input.number() % 2].push_back(
            {name + "@" + std::to_string(first), DType::f32, {std::min(length, elements - first)}});
      }
    }
  }
  uint8_t changes = input.number() % 4;
  const bool whole = changes == 0;
  for (; changes > 0; --changes) {
    std::vector<TensorSpec>& file = files[input.number() % 2];
    if (file.empty()) continue;
    TensorSpec& slice = file[input.number<uint16_t>() % file.size()];
    switch (input.number() % 5) {
      case 0:
        slice.dtype = static_cast<DType>(input.number() % 10);
        break;
      case 1:
        slice.shape = {input.number<uint16_t>()};
        break;
      case 2:
        slice.name =
            slice.name.substr(0, slice.name.rfind('@') + 1) + std::to_string(input.number<int64_t>());
        break;
      case 3:
        slice.name = input.text();
        break;
      default:
        file.erase(file.begin() + (&slice - file.data()));
    }
  }
  try {
    for (int i = 0; i < 2; ++i)
      put_file(folder / ("part-0000" + std::to_string(i) + "-00000.safetensors"),
               safetensors_of(files[i], {}, input.rest()));
  } catch (const Error&) {
    return 0;  // names that cannot be
  }
  const bool read = accepted([&] {
    const std::vector<std::string> no_prefix = {""};
    const PartReader parts(folder.path(), catalogue, no_prefix);
    for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
      const ParameterSpec& spec = catalogue.parameters[p];
      parts.read(0, {.parameter = p,
                     .local = local_part(spec, Place()),
                     .data = at::empty({c10::multiply_integers(spec.shape)}, at::kFloat)});
    }
  });
  check(read || !whole);
  return 0;
}
