// The tensors of a model, plain or quantized, with right checksums and any values, of which some are of another type,
// shape or name, or are not there: refused with a UserError, or tensors of the right shapes.
#include <ATen/ops/isfinite.h>

#include "formats/stored_tensors.h"
#include "fuzz/target.h"
#include "layout/catalogue.h"
#include "model/fixtures.h"

namespace {

using namespace chorus;

Catalogue catalogue_of(Quantization experts, Quantization dense) {
  ModelConfig config = tiny_config();
  config.d_model = 24;
  config.quantization = {.experts = experts, .dense = dense};
  return make_catalogue(config);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const TemporaryFolder folder;
  static const std::vector<Catalogue> catalogues = {catalogue_of(Quantization::none, Quantization::none),
                                                    catalogue_of(Quantization::int8, Quantization::int8),
                                                    catalogue_of(Quantization::int4, Quantization::int8)};
  FuzzInput input(data, size);
  const Catalogue& catalogue = catalogues[input.number() % catalogues.size()];
  const auto type = static_cast<DType>(input.number() % 4);
  std::vector<TensorSpec> tensors;
  for (const ParameterSpec& spec : catalogue.parameters)
    for (size_t i = 0; i < spec.stored.size(); ++i) tensors.push_back(file_tensor(spec, i, type));
  for (uint8_t changes = input.number() % 4; changes > 0 && !tensors.empty(); --changes) {
    TensorSpec& tensor = tensors[input.number<uint16_t>() % tensors.size()];
    switch (input.number() % 5) {
      case 0:
        tensor.dtype = static_cast<DType>(input.number() % 10);
        break;
      case 1:
        tensor.shape.push_back(input.number() % 3);
        break;
      case 2:
        if (!tensor.shape.empty()) tensor.shape[input.number() % tensor.shape.size()] = input.number() % 40;
        break;
      case 3:
        tensor.name = input.text();
        break;
      default:
        tensors.erase(tensors.begin() + (&tensor - tensors.data()));
    }
  }
  try {
    put_file(folder / "model.safetensors", safetensors_of(tensors, {}, input.rest()));
  } catch (const Error&) {
    return 0;  // names that cannot be
  }
  accepted([&] {
    const SafetensorsFile file(folder / "model.safetensors");
    const std::vector<std::string> prefixes = {""};
    const StoredTensors stored = find_tensors(file, catalogue, prefixes)[0];
    check_values(stored, catalogue, "fuzz");
    for (size_t p = 0; p < stored.size(); ++p)
      for (const TensorView& view : stored[p]) {
        const at::Tensor part = from_stored(catalogue.parameters[p], as_tensor(view));
        check(part.sizes() == catalogue.parameters[p].stored_shape());
        check(at::isfinite(part).all().item<bool>());
      }
  });
  return 0;
}
