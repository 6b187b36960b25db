#include "io/safetensors.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/cores.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "base/text.h"
#include "io/json.h"

#include "io/internal/shard_index.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
namespace {

constexpr size_t kDigits = 16;  // of a hash in text
constexpr std::string_view kChecksums = "chorus.xxh3";
constexpr size_t kAlignment = 64;  // of the data in a file: a cache line, for who uses mapped tensors

using Tensor = SafetensorsHeader::Tensor;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// The hash of a header whose first digits at `digits_at` count as zeros.
uint64_t hash_header(std::string_view header, size_t digits_at) {
  Hasher hasher;
  hasher.update(as_bytes(header.substr(0, digits_at)));
  hasher.update(as_bytes(std::string(kDigits, '0')));
  hasher.update(as_bytes(header.substr(digits_at + kDigits)));
  return hasher.digest();
}

}  // namespace

// ---- reading

SafetensorsFile::SafetensorsFile(fs::path path)
    : path_(std::move(path)), file_(path_), header_(parse_safetensors(file_.bytes(), path_.string())) {
  for (size_t i = 0; i < header_.tensors.size(); ++i) {
    if (!index_.emplace(header_.tensors[i].name, i).second) {
      throw UserError("{}: tensor {} is there twice", path_.string(), in_quotes(header_.tensors[i].name));
    }
  }
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const Tensor& tensor : header_.tensors) names.push_back(tensor.name);
  return names;
}

TensorView SafetensorsFile::get(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) throw UserError("{}: it has no tensor {}", path_.string(), in_quotes(name));
  const Tensor& tensor = header_.tensors[found->second];
  return {tensor.dtype, tensor.shape, file_.bytes().subspan(tensor.begin, tensor.end - tensor.begin)};
}

/// Calls visit(index) for each tensor, on several threads where the file is large. The largest tensors go first, so
/// that none is left to one thread at the end.
void SafetensorsFile::for_each_tensor(const std::function<void(size_t)>& visit) const {
  constexpr size_t kWorthAThread = size_t{16} << 20;  // bytes
  const std::vector<Tensor>& tensors = header_.tensors;
  const size_t useful = std::min(file_.bytes().size() / kWorthAThread, tensors.size());
  const size_t count = std::clamp<size_t>(default_threads(), 1, std::max<size_t>(useful, 1));
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(),
                           [&](size_t i) { return tensors[i].end - tensors[i].begin; });
  parallel_for(static_cast<int>(count), std::ssize(order), [&](int64_t at) { visit(order[at]); });
}

bool SafetensorsFile::has_checksums() const {
  return !checksums().empty();
}

std::string_view SafetensorsFile::checksums() const {
  const auto checksums = header_.metadata.find(std::string(kChecksums));
  if (checksums == header_.metadata.end()) return {};
  const std::string_view digits = checksums->second;
  if (digits.size() != kDigits * (header_.tensors.size() + 1)) fail_by_header();
  return digits;
}

void SafetensorsFile::fail_by_header() const {
  throw UserError("{}: damaged: the header does not agree with its checksum; restore the file from a copy",
                  path_.string());
}

bool SafetensorsFile::verify(const TensorFilter& unread) const {
  const std::string_view digits = checksums();
  if (digits.empty()) return false;
  if (digits.substr(0, kDigits) != hash_text(hash())) fail_by_header();
  std::vector<char> damaged(header_.tensors.size());
  for_each_tensor([&](size_t i) {
    const Tensor& tensor = header_.tensors[i];
    if (unread && unread(tensor.name)) return;
    const uint64_t hash = hash_bytes(file_.bytes().subspan(tensor.begin, tensor.end - tensor.begin));
    damaged[i] = digits.substr(kDigits * (i + 1), kDigits) != hash_text(hash);
  });
  if (const auto first = std::ranges::find(damaged, 1); first != damaged.end()) {
    throw UserError("{}: damaged: tensor {} does not agree with its checksum; restore the file from a copy",
                    path_.string(), in_quotes(header_.tensors[first - damaged.begin()].name));
  }
  return true;
}

std::optional<SafetensorsFile::Place> SafetensorsFile::place_of(const TensorView& tensor) const {
  const std::byte* const begin = file_.bytes().data();
  if (tensor.bytes.data() < begin || tensor.bytes.data() >= begin + file_.bytes().size()) return std::nullopt;
  Place place = {.offset = static_cast<uint64_t>(tensor.bytes.data() - begin)};
  const auto found = std::ranges::lower_bound(header_.tensors, place.offset, {}, &Tensor::begin);
  if (const std::string_view digits = checksums(); !digits.empty()) {
    const auto number = static_cast<size_t>(found - header_.tensors.begin());
    const char* const hash = digits.data() + kDigits * (number + 1);
    place.checksum = 0;  // where there are no digits
    std::from_chars(hash, hash + kDigits, *place.checksum, 16);
  }
  return place;
}

uint64_t SafetensorsFile::hash() const {
  const std::string_view header(reinterpret_cast<const char*>(file_.bytes().data()), header_.bytes);
  const auto checksums = header_.metadata.find(std::string(kChecksums));
  if (checksums == header_.metadata.end()) return hash_bytes(header);
  const size_t digits_at = header.find('"' + checksums->second + '"');
  // Not found when the digits are written with escapes, which our writer never does.
  const bool found = digits_at != std::string_view::npos && checksums->second.size() >= kDigits;
  return found ? hash_header(header, digits_at + 1) : hash_bytes(header);
}

// ---- a folder

SafetensorsFolder::SafetensorsFolder(const fs::path& folder) : folder_(folder) {
  const fs::path single = folder / "model.safetensors", index_path = folder / "model.safetensors.index.json";
  if (!fs::exists(index_path) || fs::exists(single)) {
    files_.emplace_back(single);
    for (const std::string& name : files_[0].names()) index_.emplace(name, 0);
    return;
  }
  index_ = open_shards(index_path, ".safetensors", files_);
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < files_.size(); ++i) {
    for (std::string& name : files_[i].names()) {
      const auto found = index_.find(name);
      if (found != index_.end() && found->second == i) names.push_back(std::move(name));
    }
  }
  return names;
}

TensorView SafetensorsFolder::get(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    throw UserError("{}: the model there has no tensor {}", folder_.string(), in_quotes(name));
  return files_[found->second].get(name);
}

bool SafetensorsFolder::verify(const TensorFilter& unread) const {
  bool all = true;
  for (const SafetensorsFile& file : files_) all = file.verify(unread) && all;
  return all;
}

SafetensorsFolder::Place SafetensorsFolder::place_of(const TensorView& tensor) const {
  for (size_t i = 0; i < files_.size(); ++i)
    if (const auto place = files_[i].place_of(tensor)) return {*place, i};
  throw Error("{}: a tensor that is in none of its files", folder_.string());
}

// ---- writing

SafetensorsLayout::SafetensorsLayout(const fs::path& path, const std::vector<TensorSpec>& tensors,
                                     const std::map<std::string, std::string>& metadata, uint64_t room) {
  const auto text = [&path](const std::string& value) {
    try {
      return nlohmann::json(value).dump();
    } catch (const nlohmann::json::exception&) {
      throw Error("{}: {} is not UTF-8", path.string(), in_quotes(value));
    }
  };
  std::map<std::string, std::string> entries = metadata;
  entries.emplace("format", "pt");
  entries.erase(std::string(kChecksums));
  header_.assign(sizeof(uint64_t), '\0');
  header_ += fmt::format("{{{}:{{{}:\"", text(std::string(SafetensorsHeader::kMetadata)),
                         text(std::string(kChecksums)));
  digits_at_ = header_.size();
  header_.append(kDigits * (tensors.size() + 1), '0');
  header_ += '"';
  for (const auto& [key, value] : entries) header_ += fmt::format(",{}:{}", text(key), text(value));
  header_ += '}';

  std::vector<const TensorSpec*> order;
  order.reserve(tensors.size());
  for (const TensorSpec& tensor : tensors) order.push_back(&tensor);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [](const TensorSpec* t) { return size_of(t->dtype); });
  uint64_t at = 0;
  for (const TensorSpec* tensor : order) {
    const uint64_t end = at + bytes_of(*tensor);
    if (end > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw Error("{}: more bytes than a file can hold", path.string());
    }
    if (tensor->name == SafetensorsHeader::kMetadata ||
        !index_.emplace(tensor->name, tensors_.size()).second) {
      throw Error("{}: a second entry {}", path.string(), in_quotes(tensor->name));
    }
    header_ += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", text(tensor->name),
                           name_of(tensor->dtype), fmt::join(tensor->shape, ","), at, end);
    tensors_.push_back({tensor->name, at, end});
    at = end;
  }
  header_ += '}';
  header_.resize((std::max<uint64_t>(header_.size(), room) + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = header_.size() - sizeof(uint64_t);
  if (length > SafetensorsHeader::kLongest)
    throw Error("{}: a header of {} bytes; split the file", path.string(), length);
  std::memcpy(header_.data(), &length, sizeof length);
  for (Tensor& tensor : tensors_) {
    tensor.begin += header_.size();
    tensor.end += header_.size();
  }
}

std::optional<size_t> SafetensorsLayout::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? std::nullopt : std::optional(found->second);
}

uint64_t SafetensorsLayout::bytes() const {
  return tensors_.empty() ? header_.size() : tensors_.back().end;
}

std::string SafetensorsLayout::header(std::span<const uint64_t> hashes) const {
  std::string header = header_;
  for (size_t i = 0; i < hashes.size(); ++i) {
    header.replace(digits_at_ + kDigits * (i + 1), kDigits, hash_text(hashes[i]));
  }
  return header.replace(digits_at_, kDigits, hash_text(hash_header(header, digits_at_)));
}

uint64_t SafetensorsLayout::hash(std::string_view header) const {
  return hash_header(header, digits_at_);
}

namespace {

/// Throws Error where the disk has no room, before hours are spent on what does not fit.
void check_room(const fs::path& path, uint64_t bytes) {
  std::error_code unknown;
  const fs::space_info space = fs::space(path.has_parent_path() ? path.parent_path() : ".", unknown);
  if (!unknown && space.available < bytes) {
    throw Error("cannot write {}: it takes {}, and {} are free there", path.string(), human_bytes(bytes),
                human_bytes(space.available));
  }
}

}  // namespace

struct SafetensorsWriter::Progress {
  uint64_t next = 0;               // byte in the file
  std::unique_ptr<Hasher> hasher;  // while some bytes, but not all, are written
  uint64_t hash = 0;
};

SafetensorsWriter::SafetensorsWriter(fs::path path, const std::vector<TensorSpec>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)), layout_(path_, tensors, metadata), file_(path_) {
  check_room(path_, layout_.bytes());
  for (const SafetensorsLayout::Tensor& tensor : layout_.tensors()) {
    progress_.push_back({tensor.begin, nullptr, hash_bytes("")});
  }
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const std::optional<size_t> found = layout_.find(name);
  if (!found) throw Error("{}: tensor {} was not declared", path_.string(), in_quotes(name));
  Progress& tensor = progress_[*found];
  const uint64_t left = layout_.tensors()[*found].end - tensor.next;
  if (bytes.size() > left) {
    throw Error("{}: tensor {} given {} bytes with {} to come", path_.string(), in_quotes(name), bytes.size(),
                left);
  }
  if (bytes.empty()) return;
  if (!tensor.hasher) tensor.hasher = std::make_unique<Hasher>();
  tensor.hasher->update(bytes);
  file_.write_at(tensor.next, bytes.data(), bytes.size());
  tensor.next += bytes.size();
  if (bytes.size() == left) {
    tensor.hash = tensor.hasher->digest();
    tensor.hasher.reset();
  }
}

void SafetensorsWriter::commit() {
  std::vector<uint64_t> hashes;
  for (size_t i = 0; i < progress_.size(); ++i) {
    if (progress_[i].next != layout_.tensors()[i].end) {
      throw Error("{}: tensor {} is not complete", path_.string(), in_quotes(layout_.tensors()[i].name));
    }
    hashes.push_back(progress_[i].hash);
  }
  const std::string header = layout_.header(hashes);
  hash_ = layout_.hash(header);
  file_.write_at(0, header.data(), header.size());
  file_.commit();
}

namespace {

/// What the header needs for a tensor, and without any, at most.
uint64_t listed_bytes(const TensorSpec& tensor) {
  return 6 * tensor.name.size() + 20 * tensor.shape.size() + kDigits + 100;
}
constexpr uint64_t kListedBytes = 200;

}  // namespace

SafetensorsStream::SafetensorsStream(fs::path path, uint64_t room)
    : path_(std::move(path)),
      room_((room + kAlignment - 1) / kAlignment * kAlignment),
      taken_(kListedBytes),
      bytes_(room_),
      file_(path_) {
  const std::string blank(room_, ' ');
  file_.write(blank.data(), blank.size());
}

bool SafetensorsStream::takes(const TensorSpec& tensor) const {
  return taken_ + listed_bytes(tensor) <= room_;
}

void SafetensorsStream::write(const TensorSpec& tensor, std::span<const std::byte> bytes) {
  if (!takes(tensor) || bytes.size() != bytes_of(tensor) ||
      (!tensors_.empty() && tensor.dtype != tensors_.front().dtype))
    throw Error("{}: {} does not fit in there", path_.string(), in_quotes(tensor.name));
  file_.write(bytes.data(), bytes.size());
  hashes_.push_back(hash_bytes(bytes));
  tensors_.push_back(tensor);
  taken_ += listed_bytes(tensor);
  bytes_ += bytes.size();
}

void SafetensorsStream::commit() {
  const std::string header = SafetensorsLayout(path_, tensors_, {}, room_).header(hashes_);
  if (header.size() != room_) throw Error("{}: its header takes more than its room", path_.string());
  file_.commit(header);
}

}  // namespace chorus::inline io
