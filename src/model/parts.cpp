#include "chorus/model/parts.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "chorus/base/files.h"

#include "stored_tensors.h"

namespace chorus {
namespace fs = std::filesystem;
namespace {

/// A part as it lies in stored tensors: f(stored tensor, first element in it, first in the part, count).
template <class F>
void for_runs(const ParameterSpec& spec, const TensorPart& part, const F& f) {
  const std::vector<int64_t> shape = spec.stored_shape();
  const int64_t size = c10::multiply_integers(shape);
  const int64_t shift = shape.empty() || shape[0] == 0 ? 0 : spec.row_shift * (size / shape[0]);
  part.local.for_runs(
      part.first, part.first + part.data.numel(), [&](int64_t whole, int64_t held, int64_t n) {
        for (int64_t done = 0; done < n;) {
          const int64_t at = (whole + done) % size, stored = (at + size - shift) % size;
          // To the end of the tensor, or to where its rows begin anew.
          const int64_t count = std::min({n - done, size - at, size - stored});
          f(static_cast<size_t>((whole + done) / size), stored, held - part.first + done, count);
          done += count;
        }
      });
}

/// Of all tensors, each hashed by one of the ranks.
std::vector<uint64_t> hash_tensors(Group& group, const fs::path& path, const SafetensorsLayout& layout) {
  const MappedFile file(path);
  const auto count = static_cast<int64_t>(layout.tensors().size());
  const at::Tensor hashes = at::zeros({count}, at::kLong);
  auto* const data = hashes.mutable_data_ptr<int64_t>();
  for (int64_t i = group.rank(); i < count; i += group.size()) {
    const SafetensorsLayout::Tensor& tensor = layout.tensors()[i];
    data[i] = static_cast<int64_t>(hash_bytes(file.bytes().subspan(tensor.begin, tensor.end - tensor.begin)));
  }
  group.all_reduce(hashes);
  return {data, data + count};
}

}  // namespace

void save_parts(Group& group, const fs::path& path, const Catalogue& catalogue,
                std::span<const PartSet> sets) {
  std::vector<TensorSpec> tensors;
  for (const PartSet& set : sets) add_specs(catalogue, set.prefix, DType::f32, tensors);
  const SafetensorsLayout layout(path, tensors);
  if (group.rank() == 0) SharedFile::make(path, layout.bytes());
  group.barrier("making a file together");
  SharedFile file(path);
  for (const PartSet& set : sets) {
    for (const TensorPart& part : set.parts) {
      const ParameterSpec& spec = catalogue.parameters[part.parameter];
      const at::Tensor data = part.data.detach().to(at::kCPU, at::kFloat).contiguous();
      for_runs(spec, part, [&](size_t slice, int64_t stored, int64_t first, int64_t count) {
        const uint64_t begin = layout.tensors()[*layout.find(set.prefix + spec.stored[slice])].begin;
        file.write_at(begin + static_cast<uint64_t>(stored) * sizeof(float),
                      data.const_data_ptr<float>() + first, static_cast<size_t>(count) * sizeof(float));
      });
    }
  }
  file.sync();
  group.barrier("writing a file together");
  const std::string header = layout.header(hash_tensors(group, path, layout));
  if (group.rank() == 0) {
    file.write_at(0, header.data(), header.size());
    file.sync();
  }
  group.barrier("finishing a file together");
}

void load_parts(const SafetensorsFile& file, const Catalogue& catalogue, std::span<const PartSet> sets) {
  const at::NoGradGuard plain;
  std::vector<std::string> prefixes;
  for (const PartSet& set : sets) prefixes.push_back(set.prefix);
  const std::vector<StoredTensors> stored = find_tensors_unverified(file, catalogue, prefixes);
  for (size_t s = 0; s < sets.size(); ++s) {
    for (const TensorPart& part : sets[s].parts) {
      for_runs(catalogue.parameters[part.parameter], part,
               [&](size_t slice, int64_t from, int64_t first, int64_t count) {
                 const at::Tensor whole = as_tensor(stored[s][part.parameter][slice]).view(-1);
                 part.data.narrow(0, first, count).copy_(whole.narrow(0, from, count));
               });
    }
  }
}

}  // namespace chorus
