#include "formats/expert_files.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>

#include "base/again.h"
#include "base/error.h"
#include "base/text.h"
#include "io/json.h"
#include "layout/shapes.h"

namespace chorus::inline formats {
namespace {

/// Finds the experts' matrices in their files, by block, expert and matrix.
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

/// UserError where they cannot be used as they lie there.
void check_experts(const ParameterSpec& spec, const std::vector<TensorView>& stored, at::ScalarType compute,
                   const std::string& where) {
  const at::ScalarType type = spec.quantization == Quantization::none ? compute : at::kByte;
  for (const TensorView& view : stored) {
    if (scalar_type(view.dtype) != type) {
      throw UserError(
          "{}: with a bounded memory experts are used as the file has them, in {}, and the model computes "
          "with "
          "{}: take that precision, or quantize the model",
          where, torch_name(view.dtype), at::toString(type));
    }
    if (reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) != 0) {
      throw UserError(
          "{}: its experts are not aligned, which a bounded memory needs: quantize the model, or import it "
          "again",
          where);
    }
  }
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
    if (may_stay_in_file(spec)) {
      check_experts(spec, stored[p], model.options().compute, name);
    } else {
      others += model.parameters()[p].value.nbytes();
    }
  }
  if (files.blocks.empty()) {
    throw UserError(
        "a memory of {} is too small for {}: it takes {}, and has no experts that could stay in the file",
        human_bytes(memory), name, human_bytes(others));
  }
  const uint64_t slot = ExpertStore::slot_bytes(files);
  const int64_t layer = ExpertStore::least_slots(files);
  const uint64_t least = others + static_cast<uint64_t>(layer) * slot;
  if (memory < least) {
    throw UserError(
        "a memory of {} is too small for {}: it takes {} at least, {} outside its experts and {} for the {} "
        "of a layer",
        human_bytes(memory), name, human_bytes(least), human_bytes(others), human_bytes(least - others),
        counted(layer, "expert"));
  }
  for (const SafetensorsFile& file : folder.files()) {
    const int fd = again([&] { return ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC); });
    if (fd < 0)
      throw Error("cannot read {}: {}", file.path().string(), std::generic_category().message(errno));
    files.files.push_back(std::make_unique<BlockFile>(
        fd, BlockFile::Words{file.path().string(), "look at the disk, or restore the file from a copy"}));
  }
  return std::make_unique<ExpertStore>(model, std::move(files),
                                       static_cast<int64_t>((memory - others) / slot));
}

std::map<size_t, std::vector<double>> read_expert_use(const std::filesystem::path& path,
                                                      const Catalogue& catalogue, const std::string& from,
                                                      const std::string& to) {
  const nlohmann::json json = read_json(path);
  const auto refuse = [&](const std::string& why) {
    throw UserError(
        "{}: {}: it must be what `chorus assess --json` wrote of this model, or `prune --json` when it made "
        "it",
        path.string(), why);
  };
  const auto part = [&](const nlohmann::json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end()) refuse(fmt::format("it has no {}", in_quotes(key)));
    return *found;
  };
  const auto languages = exactly<std::vector<std::string>>(part(json, "languages"));
  if (!languages) refuse("its languages are no names");
  const nlohmann::json load = part(json, "load");
  const std::vector<SparseLayer> layers = sparse_layers(catalogue);
  if (!load.is_array() || load.size() != layers.size())
    refuse(fmt::format("it is not of {}", counted(layers.size(), "MoE layer")));
  std::map<size_t, std::vector<double>> shares;
  for (size_t l = 0; l < layers.size(); ++l) {
    const ParameterSpec& weight = catalogue.parameters[layers[l].ffn.fc1.weight];
    const std::string& language = weight.block < catalogue.decoder.front().block ? from : to;
    const auto known = std::ranges::find(*languages, language);
    if (!language.empty() && known == languages->end())
      refuse(fmt::format("it does not know {}", in_quotes(language)));
    const size_t experts = weight.stored.size();
    const auto all =
        exactly<std::vector<int64_t>>(part(load[l], language.empty() ? "assigned" : "by_language"));
    if (!all || all->size() != experts * (language.empty() ? 1 : languages->size()) ||
        std::ranges::any_of(*all, [](int64_t count) { return count < 0; }))
      refuse(fmt::format("{} has no counts of {}", layers[l].name, counted(experts, "expert")));
    const size_t number = language.empty() ? 0 : static_cast<size_t>(known - languages->begin());
    const std::span<const int64_t> counts = std::span(*all).subspan(number * experts, experts);
    const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
    std::vector<double>& of_block = shares[weight.block];
    for (const int64_t count : counts) of_block.push_back(sum > 0 ? static_cast<double>(count) / sum : 0);
  }
  return shares;
}

}  // namespace chorus::inline formats
