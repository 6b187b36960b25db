#include "formats/expert_files.h"

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline formats {
namespace {

/// By block, expert and matrix.
ExpertFiles find_experts(const Catalogue& catalogue, const SafetensorsFolder& folder,
                         const StoredTensors& stored) {
  ExpertFiles files;
  for (const SafetensorsFile& file : folder.files()) files.names.push_back(file.path().string());
  for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
    const ParameterSpec& spec = catalogue.parameters[p];
    if (!may_stay_in_file(spec)) continue;
    std::vector<std::vector<StoredPart>>& experts = files.blocks[spec.block];
    experts.resize(spec.stored.size());
    for (size_t e = 0; e < spec.stored.size(); ++e) {
      const SafetensorsFolder::Place place = folder.place_of(stored[p][e]);
      experts[e].push_back({.parameter = p,
                            .file = place.file,
                            .offset = place.offset,
                            .bytes = stored[p][e].bytes.size(),
                            .checksum = place.checksum});
    }
  }
  return files;
}

}  // namespace

bool may_stay_in_file(const ParameterSpec& spec) {
  return spec.role == Role::expert && spec.sliced && spec.stored_shape().size() == 2;
}

TensorFilter experts_in_file(const Catalogue& catalogue) {
  std::set<std::string, std::less<>> names;
  for (const ParameterSpec& spec : catalogue.parameters)
    if (may_stay_in_file(spec)) names.insert(spec.stored.begin(), spec.stored.end());
  return [names = std::move(names)](std::string_view name) { return names.contains(name); };
}

std::unique_ptr<ExpertStore> store_experts(Transformer& model, const SafetensorsFolder& folder,
                                           const StoredTensors& stored, uint64_t memory) {
  const Catalogue& catalogue = model.catalogue();
  ExpertFiles files = find_experts(catalogue, folder, stored);
  const std::string& name = files.names.front();
  uint64_t others = 0;
  for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
    const ParameterSpec& spec = catalogue.parameters[p];
    if (!may_stay_in_file(spec)) {
      others += model.parameters()[p].value.nbytes();
      continue;
    }
    const at::ScalarType type = spec.quantization == Quantization::none ? model.options().compute : at::kByte;
    for (const TensorView& view : stored[p]) {
      if (scalar_type(view.dtype) != type)
        throw UserError(
            "{}: its experts are {}, and the model computes with {}: with a bounded memory they are used as "
            "the file "
            "has them; quantize the model, or take that precision",
            name, torch_name(view.dtype), at::toString(type));
      if (reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) != 0)
        throw UserError(
            "{}: its experts are not aligned, which a bounded memory needs: write it anew with "
            "`chorus import` or `chorus quantize`",
            name);
    }
  }
  if (files.blocks.empty())
    throw UserError(
        "a memory of {} is too small for {}: it takes {}, and has no experts that could stay in the file",
        human_bytes(memory), name, human_bytes(others));
  const uint64_t slot = ExpertStore::slot_bytes(files);
  const int64_t layer = ExpertStore::least_slots(files);
  const uint64_t least = others + static_cast<uint64_t>(layer) * slot;
  if (memory < least)
    throw UserError(
        "a memory of {} is too small for {}: it takes {} at least, {} outside its experts and {} for the {} "
        "of a layer",
        human_bytes(memory), name, human_bytes(least), human_bytes(others), human_bytes(least - others),
        counted(layer, "expert"));
  for (const SafetensorsFile& file : folder.files()) {
    const int fd = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      throw Error("cannot read {}: {}", file.path().string(), std::generic_category().message(errno));
    files.files.push_back(std::make_unique<BlockFile>(
        fd, BlockFile::Words{file.path().string(), "look at the disk, or restore the file from a copy"}));
  }
  return std::make_unique<ExpertStore>(model, std::move(files),
                                       static_cast<int64_t>((memory - others) / slot));
}

}  // namespace chorus::inline formats
