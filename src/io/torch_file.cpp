#include "io/torch_file.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "io/json.h"
#include "io/places.h"

#include "io/internal/shard_index.h"
#include "io/internal/torch_pickle.h"
#include "io/internal/zip.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kProgram = "data.pkl";
constexpr size_t kLongestProgram = 32 << 20;  // bytes; a tensor takes some 150
// A pickled number that torch wrote first of all until 1.6.
constexpr std::string_view kBeforeZip = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

/// The window on its storage; of a tensor whose elements lie in row-major order, exactly its bytes.
TensorView view_of(const PickledTensor& tensor, std::span<const std::byte> storage,
                   const std::function<UserError(const std::string&)>& fail) {
  const auto element = static_cast<int64_t>(size_of(tensor.dtype));
  const auto elements = static_cast<int64_t>(storage.size()) / element;
  if (tensor.storage_size != elements || std::cmp_not_equal(tensor.storage_size * element, storage.size()))
    throw fail("its storage is cut short");
  int64_t count = 1, last = 0, row_major = 1;
  bool is_row_major = true;
  for (size_t d = tensor.shape.size(); d-- > 0;) {
    const int64_t size = tensor.shape[d], stride = tensor.strides[d];
    int64_t reach = 0;
    is_row_major = is_row_major && (size == 1 || stride == row_major);
    if (__builtin_mul_overflow(count, size, &count) ||
        __builtin_mul_overflow(std::max<int64_t>(size, 1) - 1, stride, &reach) ||
        __builtin_add_overflow(last, reach, &last) ||
        __builtin_mul_overflow(row_major, std::max<int64_t>(size, 1), &row_major))
      throw fail("its shape overflows");
  }
  if (count == 0) return {tensor.dtype, tensor.shape, {}, {}};
  if (tensor.offset > elements || last >= elements - tensor.offset)
    throw fail("it reaches beyond its storage");
  if (count > elements) throw fail("it has more elements than its storage");
  return {tensor.dtype, tensor.shape, storage.subspan(tensor.offset * element, (last + 1) * element),
          is_row_major ? std::vector<int64_t>() : tensor.strides};
}

}  // namespace

TorchFile::TorchFile(fs::path path) : path_(std::move(path)), file_(path_) {
  const std::string where = path_.string();
  if (starts_with(file_.bytes(), kBeforeZip))
    throw UserError("{}: written by torch before 1.6, or as it did then: load it in torch and save it again",
                    where);
  if (!starts_with(file_.bytes(), "PK\x03\x04"))
    throw UserError("{}: damaged, or not written by torch.save: it is no zip archive", where);
  const ZipEntries entries = read_zip(file_.bytes(), where);
  const auto program = std::ranges::find_if(
      entries, [](const auto& entry) { return entry.first.ends_with("/" + std::string(kProgram)); });
  if (program == entries.end())
    throw UserError("{}: not written by torch.save: it has no {}", where, kProgram);
  if (program->second.bytes.size() > kLongestProgram)
    throw UserError("{}: a {} of {} bytes", where, kProgram, program->second.bytes.size());
  const std::string prefix = program->first.substr(0, program->first.size() - kProgram.size());
  if (const auto order = entries.find(prefix + "byteorder");
      order != entries.end() && !starts_with(order->second.bytes, "little"))
    throw UserError("{}: its numbers are big-endian", where);
  for (const auto& [name, entry] : entries) check_crc(name, entry, where);
  for (const auto& [name, tensor] : read_torch_pickle(program->second.bytes, where)) {
    const auto fail = [&, called = in_quotes(name)](const std::string& what) {
      return UserError("{}: damaged: tensor {}: {}", where, called, what);
    };
    const auto storage = entries.find(prefix + "data/" + tensor.storage);
    if (storage == entries.end()) throw fail("its storage is missing");
    tensors_.emplace(name, view_of(tensor, storage->second.bytes, fail));
  }
}

std::vector<std::string> TorchFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

TensorView TorchFile::get(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw UserError("{}: it has no tensor {}", path_.string(), in_quotes(name));
  return found->second;
}

namespace {

constexpr const char *kSingle = "pytorch_model.bin", *kIndex = "pytorch_model.bin.index.json";

}  // namespace

bool TorchFolder::is_there(const fs::path& folder) {
  return chorus::is_there(folder / kSingle) || chorus::is_there(folder / kIndex);
}

TorchFolder::TorchFolder(const fs::path& folder) : folder_(folder) {
  if (fs::exists(folder / kSingle)) {
    files_.emplace_back(folder / kSingle);
    for (const std::string& name : files_[0].names()) index_.emplace(name, 0);
    return;
  }
  index_ = open_shards(folder / kIndex, ".bin", files_);
}

std::vector<std::string> TorchFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : index_) names.push_back(name);
  return names;
}

TensorView TorchFolder::get(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    throw UserError("{}: the model there has no tensor {}", folder_.string(), in_quotes(name));
  return files_[found->second].get(name);
}

}  // namespace chorus::inline io
