#include "formats/internal/part_slices.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "formats/stored_tensors.h"
#include "io/json.h"
#include "io/places.h"

namespace chorus::inline formats {

namespace {

/// NAME@FIRST
struct SliceName {
  std::string tensor;
  int64_t first = 0;
};

std::optional<SliceName> parse_name(const std::string& name) {
  constexpr int64_t kMost = int64_t{1} << 53;
  const size_t at = name.rfind('@');
  if (at == std::string::npos) return std::nullopt;
  SliceName parsed = {.tensor = name.substr(0, at), .first = -1};
  const char* const end = name.data() + name.size();
  const auto [read, error] = std::from_chars(name.data() + at + 1, end, parsed.first);
  if (error != std::errc() || read != end || parsed.first < 0 || parsed.first > kMost) return std::nullopt;
  return parsed;
}

}  // namespace

void copy_slices(const Slices& slices, int64_t from, const at::Tensor& to) {
  auto slice = std::prev(std::ranges::upper_bound(slices, from, {}, &Slice::first));
  for (int64_t done = 0; done < to.numel(); ++slice) {
    const int64_t within = from + done - slice->first;
    const int64_t n = std::min(slice->values.numel() - within, to.numel() - done);
    to.narrow(0, done, n).copy_(slice->values.narrow(0, within, n));
    done += n;
  }
}

PartSlices::PartSlices(const std::filesystem::path& folder) : folder_(folder) {
  for (const std::string& file_name : names_in(folder)) {
    if (!file_name.starts_with("part-") || !file_name.ends_with(".safetensors")) continue;
    const SafetensorsFile& file = files_.emplace_back(folder / file_name);
    for (const std::string& name : file.names()) {
      const TensorView view = file.get(name);
      const std::optional<SliceName> parsed = parse_name(name);
      if (!parsed || view.dtype != DType::f32 || view.shape.size() != 1 || view.shape[0] == 0)
        throw UserError("{}: {} is no part of a tensor", file.path().string(), in_quotes(name));
      slices_[parsed->tensor].push_back({.first = parsed->first, .values = as_tensor(view)});
    }
  }
  for (auto& [name, slices] : slices_) std::ranges::sort(slices, {}, &Slice::first);
}

Slices PartSlices::of(const std::string& name, int64_t elements) const {
  const auto found = slices_.find(name);
  int64_t next = 0;
  bool fits = true;
  if (found != slices_.end()) {
    for (const Slice& slice : found->second) {
      fits = slice.first == next && slice.values.numel() <= elements - next;
      if (!fits) break;
      next += slice.values.numel();
    }
  }
  if (!fits || next != elements) {
    throw UserError(
        "{}: the parts of {} do not make up its {} elements: they end or overlap at {}; a file is missing, "
        "or of another "
        "checkpoint",
        folder_.string(), in_quotes(name), elements, next);
  }
  return found == slices_.end() ? Slices() : found->second;
}

}  // namespace chorus::inline formats
