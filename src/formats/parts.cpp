#include "formats/parts.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include "formats/stored_tensors.h"
#include "io/files.h"
#include "io/places.h"
#include "kernels/quantized.h"

#include "formats/internal/part_slices.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

/// A part as it lies in stored tensors: f(stored tensor, first element in it, first in the part, count).
template <class F>
void for_runs(const ParameterSpec& spec, const TensorPart& part, const F& f) {
  const std::vector<int64_t> shape = spec.stored_shape();
  const int64_t size = c10::multiply_integers(shape);
  const int64_t rows = spec.row_shift == 0 ? 0 : shape[spec.cut];
  const int64_t shift = rows == 0 ? 0 : spec.row_shift * (size / rows);
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

/// Elements `from` .. `from` + `count` of a stored tensor, in fp32 where it is quantized.
at::Tensor elements(const ParameterSpec& spec, const at::Tensor& stored, int64_t from, int64_t count) {
  if (spec.quantization == Quantization::none) return stored.view(-1).narrow(0, from, count);
  const int64_t rows = spec.stored_shape()[0], depth = spec.stored_shape()[1];
  const at::Tensor ids = at::arange(from / depth, (from + count - 1) / depth + 1);
  return select_rows({stored, spec.quantization, rows, depth}, ids).view(-1).narrow(0, from % depth, count);
}

std::vector<TensorSpec> specs_of(const Catalogue& catalogue, std::span<const std::string> prefixes) {
  std::vector<TensorSpec> specs;
  for (const std::string& prefix : prefixes) add_specs(catalogue, prefix, DType::f32, specs);
  return specs;
}

/// The hashes of all tensors, each computed by one of the ranks.
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

PartWriter::PartWriter(Group& group, const fs::path& path, const Catalogue& catalogue,
                       std::vector<std::string> prefixes)
    : group_(group),
      catalogue_(catalogue),
      prefixes_(std::move(prefixes)),
      path_(path),
      layout_(path, specs_of(catalogue, prefixes_)) {
  if (group.rank() == 0) SharedFile::make(path, layout_.bytes());
  group.barrier("making a file together");
  file_.emplace(path);
}

void PartWriter::write(size_t set, const TensorPart& part) {
  const ParameterSpec& spec = catalogue_.parameters[part.parameter];
  const at::Tensor data = part.data.detach().to(at::kCPU, at::kFloat).contiguous();
  for_runs(spec, part, [&](size_t slice, int64_t stored, int64_t first, int64_t count) {
    const uint64_t begin = layout_.tensors()[*layout_.find(prefixes_[set] + spec.stored[slice])].begin;
    file_->write_at(begin + static_cast<uint64_t>(stored) * sizeof(float),
                    data.const_data_ptr<float>() + first, static_cast<size_t>(count) * sizeof(float));
  });
}

void PartWriter::finish() {
  file_->sync();
  group_.barrier("writing a file together");
  const std::string header = layout_.header(hash_tensors(group_, path_, layout_));
  if (group_.rank() == 0) {
    file_->write_at(0, header.data(), header.size());
    file_->sync();
  }
  group_.barrier("finishing a file together");
}

namespace {

std::string part_name(int rank, int number) {
  return fmt::format("part-{:05}-{:05}.safetensors", rank, number);
}

}  // namespace

RankPartsWriter::RankPartsWriter(fs::path folder, int rank, const Catalogue& catalogue,
                                 std::vector<std::string> prefixes, uint64_t most)
    : folder_(std::move(folder)),
      rank_(rank),
      catalogue_(catalogue),
      prefixes_(std::move(prefixes)),
      most_(std::max(most, kLeastPartFile)) {}

void RankPartsWriter::write(size_t set, const TensorPart& part) {
  const ParameterSpec& spec = catalogue_.parameters[part.parameter];
  const at::Tensor data = part.data.detach().to(at::kCPU, at::kFloat).contiguous();
  for_runs(spec, part, [&](size_t slice, int64_t stored, int64_t first, int64_t count) {
    write_slice(prefixes_[set] + spec.stored[slice], stored,
                {data.const_data_ptr<float>() + first, static_cast<size_t>(count)});
  });
}

void RankPartsWriter::write_slice(const std::string& name, int64_t first, std::span<const float> values) {
  const uint64_t room = std::max<uint64_t>(most_ / 4096, uint64_t{1} << 14);  // some 200 bytes for each 2^20
  while (!values.empty()) {
    const TensorSpec least = {fmt::format("{}@{}", name, first), DType::f32, {std::ssize(values)}};
    if (file_ && (!file_->takes(least) || file_->bytes() + sizeof(float) > most_)) finish();
    if (!file_) file_.emplace(folder_ / part_name(rank_, number_++), room);
    const size_t count = std::min<uint64_t>(values.size(), (most_ - file_->bytes()) / sizeof(float));
    file_->write({least.name, DType::f32, {static_cast<int64_t>(count)}}, std::as_bytes(values.first(count)));
    values = values.subspan(count);
    first += static_cast<int64_t>(count);
  }
}

void RankPartsWriter::finish() {
  if (file_) file_->commit();
  file_.reset();
}

bool is_in_parts(const fs::path& folder) {
  return is_there(folder / part_name(0, 0));
}

struct PartReader::Stored {
  std::optional<SafetensorsFile> file;  // one of these
  std::optional<SafetensorsFolder> folder;
  std::vector<StoredTensors> tensors;  // by prefix
  std::optional<PartSlices> parts;
  std::vector<std::vector<std::vector<Slices>>> slices;  // in parts: by prefix, parameter and stored tensor
};

PartReader::PartReader(const fs::path& path, const Catalogue& catalogue,
                       std::span<const std::string> prefixes)
    : catalogue_(catalogue), stored_(std::make_unique<Stored>()) {
  if (is_in_parts(path)) {
    stored_->parts.emplace(path);
    for (const std::string& prefix : prefixes) {
      auto& of_prefix = stored_->slices.emplace_back();
      for (const ParameterSpec& spec : catalogue.parameters) {
        auto& of_parameter = of_prefix.emplace_back();
        for (const std::string& name : spec.stored)
          of_parameter.push_back(
              stored_->parts->of(prefix + name, c10::multiply_integers(spec.stored_shape())));
      }
    }
    return;
  }
  stored_->tensors = fs::is_directory(path)
                         ? find_tensors(stored_->folder.emplace(path), catalogue, prefixes)
                         : find_tensors_unverified(stored_->file.emplace(path), catalogue, prefixes);
}

PartReader::~PartReader() = default;

void PartReader::read(size_t set, const TensorPart& part) const {
  const at::NoGradGuard plain;
  const ParameterSpec& spec = catalogue_.parameters[part.parameter];
  for_runs(spec, part, [&](size_t slice, int64_t from, int64_t first, int64_t count) {
    if (!stored_->slices.empty()) {
      copy_slices(stored_->slices[set][part.parameter][slice], from, part.data.narrow(0, first, count));
      return;
    }
    const at::Tensor stored = as_tensor(stored_->tensors[set][part.parameter][slice]);
    part.data.narrow(0, first, count).copy_(elements(spec, stored, from, count));
  });
}

}  // namespace chorus::inline formats
