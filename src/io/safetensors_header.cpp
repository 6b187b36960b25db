// The head of a safetensors file: its JSON, and where the tensors lie.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace chorus::inline io {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors lie in files as in memory");

struct DTypeFacts {
  std::string_view name;
  size_t bytes;
};
constexpr std::array<DTypeFacts, 10> kDTypes = {{{"F64", 8},
                                                 {"F32", 4},
                                                 {"F16", 2},
                                                 {"BF16", 2},
                                                 {"I64", 8},
                                                 {"I32", 4},
                                                 {"I16", 2},
                                                 {"I8", 1},
                                                 {"U8", 1},
                                                 {"BOOL", 1}}};

std::optional<DType> dtype_of(std::string_view name) {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

/// Nothing when the shape is impossible.
std::optional<size_t> checked_bytes(DType dtype, const std::vector<int64_t>& shape) {
  // Dimensions of size zero count as one here: strides are computed from them too.
  int64_t product = static_cast<int64_t>(size_of(dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product))
      return std::nullopt;
    empty = empty || size == 0;
  }
  return empty ? 0 : static_cast<size_t>(product);
}

// ---- the JSON of the header, read event by event: nothing but the expected structure gets past it, so
// neither depth nor size of foreign JSON matters.

class HeaderReader {
 public:
  using json = nlohmann::json;

  /// Offsets of the tensors are relative to the data.
  SafetensorsHeader header;
  std::string problem;

  bool start_object(size_t) {
    if (in_ == In::nothing) return enter(In::root);
    if (in_ == In::root && key_ == header.kMetadata) {
      return seen_metadata_ ? fail("two entries __metadata__") : enter(In::metadata);
    }
    if (in_ == In::root) {
      header.tensors.emplace_back().name = key_;
      seen_ = 0;
      return enter(In::tensor);
    }
    return unexpected();
  }
  bool end_object() {
    if (in_ == In::tensor && seen_ != (kSeenType | kSeenShape | kSeenOffsets)) {
      return fail("dtype, shape and data_offsets must all be there");
    }
    seen_metadata_ = seen_metadata_ || in_ == In::metadata;
    return enter(In::root);
  }
  bool key(std::string& name) {
    key_ = std::move(name);
    if (in_ == In::metadata) return !header.metadata.contains(key_) || fail("a metadata key given twice");
    if (in_ != In::tensor) return true;
    const unsigned bit = key_ == "dtype"          ? kSeenType
                         : key_ == "shape"        ? kSeenShape
                         : key_ == "data_offsets" ? kSeenOffsets
                                                  : 0;
    if (bit == 0) return fail("unknown entry " + in_quotes(key_));
    if ((seen_ & bit) != 0) return fail(key_ + " given twice");
    seen_ |= bit;
    return true;
  }
  bool string(std::string& value) {
    if (in_ == In::metadata) {
      header.metadata.emplace(key_, std::move(value));
      return true;
    }
    if (in_ != In::tensor || key_ != "dtype") return unexpected();
    const std::optional<DType> dtype = dtype_of(value);
    if (!dtype) return fail("unknown dtype " + in_quotes(value));
    tensor().dtype = *dtype;
    return true;
  }
  bool start_array(size_t) {
    offsets_ = 0;
    if (in_ == In::tensor && key_ == "shape") return enter(In::shape);
    if (in_ == In::tensor && key_ == "data_offsets") return enter(In::offsets);
    return unexpected();
  }
  bool end_array() {
    if (in_ == In::offsets && offsets_ != 2) return fail("data_offsets must be two numbers");
    return enter(In::tensor);
  }
  bool number_unsigned(uint64_t value) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return fail("a number too large");
    if (in_ == In::shape) {
      tensor().shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (in_ != In::offsets) return unexpected();
    if (offsets_ < 2) (offsets_ == 0 ? tensor().begin : tensor().end) = value;
    ++offsets_;
    return true;
  }
  bool number_integer(int64_t) { return in_ == In::shape ? fail("a negative dimension") : unexpected(); }
  bool number_float(double, const std::string&) { return unexpected(); }
  bool null() { return unexpected(); }
  bool boolean(bool) { return unexpected(); }
  bool binary(json::binary_t&) { return unexpected(); }
  bool parse_error(size_t position, const std::string&, const json::exception&) {
    problem = fmt::format("not valid JSON (byte {})", position + sizeof(uint64_t));
    return false;
  }

 private:
  enum class In { nothing, root, metadata, tensor, shape, offsets };
  static constexpr unsigned kSeenType = 1, kSeenShape = 2, kSeenOffsets = 4;

  bool enter(In in) {
    in_ = in;
    return true;
  }
  SafetensorsHeader::Tensor& tensor() { return header.tensors.back(); }
  bool unexpected() { return fail("a value where none of its kind belongs"); }
  bool fail(const std::string& what) {
    const bool inside = in_ == In::tensor || in_ == In::shape || in_ == In::offsets;
    problem = inside ? fmt::format("tensor {}: {}", in_quotes(tensor().name), what) : what;
    return false;
  }

  In in_ = In::nothing;
  std::string key_;
  bool seen_metadata_ = false;
  unsigned seen_ = 0;
  int offsets_ = 0;
};

using Tensor = SafetensorsHeader::Tensor;

/// What is wrong with where the tensors say they lie in `data_bytes` of data; sorts them.
std::string check_layout(std::vector<Tensor>& tensors, size_t data_bytes) {
  std::ranges::stable_sort(tensors, {}, [](const Tensor& t) { return std::pair(t.begin, t.end); });
  size_t at = 0;
  for (const Tensor& tensor : tensors) {
    const std::optional<size_t> bytes = checked_bytes(tensor.dtype, tensor.shape);
    const std::string name = "tensor " + in_quotes(tensor.name);
    if (!bytes) return name + ": its shape overflows";
    if (tensor.end < tensor.begin || tensor.end - tensor.begin != *bytes) {
      return fmt::format("{}: its offsets do not span the {} bytes of its shape", name, *bytes);
    }
    if (tensor.end > data_bytes) {
      return fmt::format("{}: it ends at byte {} of {}; is the file cut short?", name, tensor.end,
                         data_bytes);
    }
    if (tensor.begin != at) return name + (tensor.begin < at ? ": it overlaps another" : ": a gap before it");
    at = tensor.end;
  }
  return at == data_bytes ? "" : fmt::format("{} bytes after the last tensor", data_bytes - at);
}

}  // namespace

size_t size_of(DType dtype) {
  return kDTypes.at(static_cast<size_t>(dtype)).bytes;
}
std::string_view name_of(DType dtype) {
  return kDTypes.at(static_cast<size_t>(dtype)).name;
}

size_t bytes_of(const TensorSpec& tensor) {
  const std::optional<size_t> bytes = checked_bytes(tensor.dtype, tensor.shape);
  if (!bytes)
    throw Error("tensor {}: impossible shape [{}]", in_quotes(tensor.name), fmt::join(tensor.shape, ", "));
  return *bytes;
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  const auto fail = [&path](const std::string& what) -> UserError {
    return UserError("{}: damaged, or not a safetensors file: {}", path, what);
  };
  uint64_t length = 0;
  if (file.size() < sizeof length) throw fail(fmt::format("only {} bytes", file.size()));
  std::memcpy(&length, file.data(), sizeof length);
  if (length > SafetensorsHeader::kLongest) throw fail(fmt::format("a header of {} bytes", length));
  if (length > file.size() - sizeof length) throw fail("it ends inside its header");
  const char* text = reinterpret_cast<const char*>(file.data()) + sizeof length;
  if (length == 0 || *text != '{') throw fail("the header does not begin with {");
  if (std::memchr(text, '\0', length) != nullptr) throw fail("a NUL in the header");

  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text, text + length, &reader)) throw fail(reader.problem);
  SafetensorsHeader& header = reader.header;
  header.bytes = sizeof length + length;
  const std::string problem = check_layout(header.tensors, file.size() - header.bytes);
  if (!problem.empty()) throw fail(problem);
  for (Tensor& tensor : header.tensors) {
    tensor.begin += header.bytes;
    tensor.end += header.bytes;
  }
  return std::move(header);
}

}  // namespace chorus::inline io
