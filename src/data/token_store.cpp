#include "data/token_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <future>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/parallel_for.h"
#include "io/folder_use.h"

#include "data/internal/store_stamp.h"

namespace chorus::inline data {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMagic = "chorTOKS";
constexpr uint32_t kVersion = 1;
constexpr int64_t kBlockRows = 1024;
constexpr auto kLook = std::chrono::milliseconds(100);  // between two looks at a lock that another has
constexpr size_t kBatchBytes = 64 << 20;                // of text read ahead, about

struct BlockEntry {
  uint64_t offset = 0, hash = 0;
};

size_t align8(size_t n) {
  return (n + 7) / 8 * 8;
}

// Bytes of a block before its ids.
size_t ids_offset(size_t cells) {
  return align8((cells + 1) * sizeof(uint32_t) + cells);
}

struct Header {
  char magic[8];
  uint32_t version, id_bytes, columns, block_rows;
  uint64_t rows, tail, tail_bytes, tail_hash, header_hash;

  [[nodiscard]] uint64_t own_hash() const {
    return hash_bytes(std::string_view(reinterpret_cast<const char*>(this), offsetof(Header, header_hash)));
  }
  [[nodiscard]] size_t blocks() const { return (rows + kBlockRows - 1) / kBlockRows; }
};

// Up to kBlockRows rows of text, waiting to be tokenised.
struct RawBlock {
  std::string text;          // of all cells, one after the other
  std::vector<size_t> ends;  // of each cell in it
  std::vector<CellStatus> status;
};

RawBlock read_block(ParallelReader& reader) {
  RawBlock block;
  for (int64_t row = 0; row < kBlockRows && reader.next(); ++row) {
    for (const Cell& cell : reader.cells()) {
      if (cell.status == CellStatus::ok) block.text += cell.text;
      block.ends.push_back(block.text.size());
      block.status.push_back(cell.status);
    }
  }
  return block;
}

// Several blocks, tokenised at a time while the next ones are read.
std::vector<RawBlock> read_blocks(ParallelReader& reader, size_t count) {
  std::vector<RawBlock> blocks;
  size_t bytes = 0;
  while (blocks.size() < count && bytes < kBatchBytes) {
    RawBlock block = read_block(reader);
    if (block.ends.empty()) break;
    bytes += block.text.size();
    blocks.push_back(std::move(block));
  }
  return blocks;
}

template <class Id>
void append_ids(std::string& bytes, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    const auto narrow = static_cast<Id>(id);
    bytes.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
  }
}

/// `columns`: the vocabulary of each.
std::string encode_block(const RawBlock& raw, std::span<const Vocabulary> columns, size_t id_bytes) {
  const size_t cells = raw.ends.size(), header = ids_offset(cells);
  std::string bytes(header, '\0');
  bytes.reserve(header + raw.text.size() * id_bytes / 2);
  std::vector<uint32_t> offsets(cells + 1);
  std::vector<int32_t> ids;
  for (size_t cell = 0, begin = 0; cell < cells; begin = raw.ends[cell++]) {
    CellStatus status = raw.status[cell];
    ids.clear();
    if (status == CellStatus::ok) {
      columns[cell % columns.size()].encode(std::string_view(raw.text).substr(begin, raw.ends[cell] - begin),
                                            ids);
      if (ids.empty()) status = CellStatus::empty;
      if (static_cast<int64_t>(ids.size()) > kMaxPieces) {
        status = CellStatus::over_long;
        ids.clear();
      }
    }
    id_bytes == 2 ? append_ids<uint16_t>(bytes, ids) : append_ids<uint32_t>(bytes, ids);
    const size_t end = (bytes.size() - header) / id_bytes;
    if (end > std::numeric_limits<uint32_t>::max())
      throw Error("{} rows of text are too much for one block", kBlockRows);
    offsets[cell + 1] = static_cast<uint32_t>(end);
    bytes[offsets.size() * sizeof(uint32_t) + cell] = static_cast<char>(status);
  }
  std::memcpy(bytes.data(), offsets.data(), offsets.size() * sizeof(uint32_t));
  bytes.resize(align8(bytes.size()));
  return bytes;
}

/// The lock of a folder of stores: another process that has it is building one, which is waited for.
std::unique_ptr<FolderLock> lock_of(const fs::path& folder, std::string_view label,
                                    const StoreOptions& options) {
  bool told = false;
  for (int failed = 0;; std::this_thread::sleep_for(kLook)) {
    try {
      return std::make_unique<FolderLock>(folder);
    } catch (const UserError& error) {
      // It may have been given up since.
      if (is_in_use(folder)) {
        failed = 0;
      } else if (++failed > 2) {
        throw;
      }
      if (!std::exchange(told, true) && options.log)
        options.log(fmt::format("{}: waiting: {}", label, error.what()));
    }
  }
}

}  // namespace

struct TokenStore::Block {
  const uint32_t* offsets;
  const uint8_t* status;
  const std::byte* ids;
};

TokenStore::Block TokenStore::block(int64_t number) const {
  BlockEntry entry;
  std::memcpy(&entry, file_.bytes().data() + tail_ + number * sizeof entry, sizeof entry);
  const std::byte* data = file_.bytes().data() + entry.offset;
  const size_t cells = std::min(kBlockRows, rows_ - number * kBlockRows) * columns_;
  return {.offsets = reinterpret_cast<const uint32_t*>(data),
          .status = reinterpret_cast<const uint8_t*>(data) + (cells + 1) * sizeof(uint32_t),
          .ids = data + ids_offset(cells)};
}

size_t TokenStore::cell(int64_t row, int64_t column) const {
  if (row < 0 || row >= rows_ || column < 0 || column >= columns_) {
    throw Error("a token store of {} rows and {} languages has no cell ({}, {})", rows_, columns_, row,
                column);
  }
  return (row % kBlockRows) * columns_ + column;
}

int64_t TokenStore::length(int64_t row, int64_t column) const {
  const size_t i = cell(row, column);
  const Block b = block(row / kBlockRows);
  return b.offsets[i + 1] - b.offsets[i];
}

CellStatus TokenStore::status(int64_t row, int64_t column) const {
  const size_t i = cell(row, column);
  return static_cast<CellStatus>(block(row / kBlockRows).status[i]);
}

std::vector<int32_t> TokenStore::read(int64_t row, int64_t column) const {
  const size_t i = cell(row, column);
  const Block b = block(row / kBlockRows);
  std::vector<int32_t> ids(b.offsets[i + 1] - b.offsets[i]);
  for (size_t k = 0; k < ids.size(); ++k) {
    const size_t at = b.offsets[i] + k;
    ids[k] = id_bytes_ == 2 ? reinterpret_cast<const uint16_t*>(b.ids)[at]
                            : static_cast<int32_t>(reinterpret_cast<const uint32_t*>(b.ids)[at]);
    if (ids[k] < 0 || ids[k] >= vocabulary_size_)
      throw Error("a token store holds id {}, beyond the vocabulary", ids[k]);
  }
  return ids;
}

// Maps a store and checks all of it. Returns why it cannot be used, or "".
std::string TokenStore::map(const fs::path& path, const StoreStamp& stamp, int threads) {
  constexpr const char* damaged = "it is damaged";
  file_ = MappedFile(path);
  const auto bytes = file_.bytes();
  Header header;
  if (bytes.size() < sizeof header) return damaged;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::string_view(header.magic, sizeof header.magic) != kMagic) return "it is no token store";
  if (header.version != kVersion) return "it is of another version";
  if (header.header_hash != header.own_hash() || (header.id_bytes != 2 && header.id_bytes != 4) ||
      header.block_rows != kBlockRows || header.columns != stamp.languages().size() ||
      header.rows > bytes.size() || header.tail < sizeof header || header.tail % 8 != 0 ||
      header.tail > bytes.size() || header.tail_bytes != bytes.size() - header.tail ||
      header.blocks() * sizeof(BlockEntry) > header.tail_bytes) {
    return damaged;
  }
  const auto text = [&](size_t begin, size_t end) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()) + begin, end - begin);
  };
  if (header.tail_hash != hash_bytes(text(header.tail, bytes.size()))) return damaged;
  const size_t directory_end = header.tail + header.blocks() * sizeof(BlockEntry);
  if (auto difference = stamp.differs_from(text(directory_end, bytes.size())); !difference.empty())
    return difference;

  rows_ = static_cast<int64_t>(header.rows);
  columns_ = header.columns;
  id_bytes_ = header.id_bytes;
  vocabulary_size_ = stamp.vocabulary().size();
  tail_ = header.tail;
  std::atomic<bool> whole = true;
  parallel_for(threads, static_cast<int64_t>(header.blocks()), [&](int64_t number) {
    BlockEntry entry;
    std::memcpy(&entry, bytes.data() + tail_ + number * sizeof entry, sizeof entry);
    uint64_t end = tail_;
    if (number + 1 < static_cast<int64_t>(header.blocks())) {
      std::memcpy(&end, bytes.data() + tail_ + (number + 1) * sizeof entry, sizeof end);
    }
    const size_t cells = std::min(kBlockRows, rows_ - number * kBlockRows) * columns_;
    bool good = entry.offset >= sizeof header && entry.offset % 8 == 0 && end <= tail_ &&
                entry.offset <= end && end - entry.offset >= ids_offset(cells) &&
                hash_bytes(text(entry.offset, end)) == entry.hash;
    if (good) {
      const Block b = block(number);
      good = b.offsets[0] == 0 && std::is_sorted(b.offsets, b.offsets + cells + 1) &&
             b.offsets[cells] <= (end - entry.offset - ids_offset(cells)) / id_bytes_;
    }
    if (!good) whole = false;
  });
  if (!whole) return damaged;
  hash_ = hash_bytes(fmt::format("{} {} {} {}", rows_, columns_, hash_text(stamp.vocabulary().hash()),
                                 hash_text(hash_bytes(text(header.tail, directory_end)))));
  return "";
}

// Reads, tokenises and writes every row of a source.
void TokenStore::build(const TextSource& source, const fs::path& path, const StoreStamp& stamp,
                       const Vocabulary& vocabulary, const Builder& builder) {
  const auto& [label, options] = builder;
  const int threads = thread_count(options.threads);
  Header header{};
  std::memcpy(header.magic, kMagic.data(), sizeof header.magic);
  header.version = kVersion;
  header.id_bytes = vocabulary.size() <= 1 << 16 ? 2 : 4;
  header.columns = static_cast<uint32_t>(source.languages.size());
  header.block_rows = kBlockRows;

  std::vector<Vocabulary> columns;
  columns.reserve(source.languages.size());
  for (const std::string& language : source.languages) columns.push_back(vocabulary.written_in(language));
  AtomicFile file(path);
  file.write(&header, sizeof header);
  uint64_t end = sizeof header;
  std::string tail;
  ParallelReader reader(source);
  const auto read = [&] { return read_blocks(reader, static_cast<size_t>(threads) * 2); };
  for (auto raw = read(); !raw.empty();) {
    std::vector<std::string> blocks(raw.size());
    auto tokenised = std::async(std::launch::async, [&] {
      parallel_for(threads, static_cast<int64_t>(raw.size()),
                   [&](int64_t i) { blocks[i] = encode_block(raw[i], columns, header.id_bytes); });
    });
    auto following = read();  // should it throw, `tokenised` waits for its threads
    tokenised.get();
    for (const auto& block : blocks) {
      const BlockEntry entry{.offset = end, .hash = hash_bytes(std::string_view(block))};
      tail.append(reinterpret_cast<const char*>(&entry), sizeof entry);
      file.write(block.data(), block.size());
      end += block.size();
    }
    for (const auto& block : raw) header.rows += block.ends.size() / header.columns;
    raw = std::move(following);
    if (options.progress) options.progress({.source = label, .rows = static_cast<int64_t>(header.rows)});
  }
  tail += stamp.json();
  stamp.check_unchanged();
  header.tail = end;
  header.tail_bytes = tail.size();
  header.tail_hash = hash_bytes(std::string_view(tail));
  header.header_hash = header.own_hash();
  file.write(tail.data(), tail.size());
  file.write_at(0, &header, sizeof header);
  file.commit();
  if (options.progress) options.progress({.source = label, .rows = reader.row(), .finished = true});
  if (!options.log) return;
  for (const auto& counts : reader.counts()) {
    for (const auto& line : summary(counts)) options.log(fmt::format("{}: {}", label, line));
  }
}

TokenStore TokenStore::open(const SourceConfig& config, std::string_view label, const Vocabulary& vocabulary,
                            const fs::path& folder, const StoreOptions& options) {
  const TextSource source = text_source(config);
  const int threads = thread_count(options.threads);
  try {
    const StoreStamp stamp(source, vocabulary);
    const fs::path path = folder / (stamp.name() + ".tokens");
    std::string reason;
    const auto ready = [&](TokenStore& store) {
      std::error_code none;
      if (!fs::exists(path, none)) return false;
      reason = store.map(path, stamp, threads);
      return reason.empty();
    };
    TokenStore store;
    if (ready(store)) return store;
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw UserError("cannot make the folder {}: {}", folder.string(), error.message());
    const std::unique_ptr<FolderLock> lock = lock_of(folder, label, options);
    if (ready(store)) return store;  // built by another process meanwhile
    if (!reason.empty() && options.log) {
      options.log(fmt::format("{}: building {} again: {}", label, path.string(), reason));
    }
    remove_temporaries(folder);
    store = TokenStore();
    build(source, path, stamp, vocabulary, {std::string(label), options});
    if (!ready(store)) throw Error("{} was written and cannot be read back: {}", path.string(), reason);
    return store;
  } catch (const UserError& error) {
    throw UserError("{}: {}", label, error.what());
  }
}

}  // namespace chorus::inline data
