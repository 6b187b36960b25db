#include "data/shortlist.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/parallel_for.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/parallel_text.h"
#include "io/files.h"
#include "io/safetensors.h"

namespace chorus::inline data {

namespace {

constexpr const char* kVocabularyHash = "vocabulary";
constexpr std::string_view kWordMark = "\u2581";

/// Rows that are cut into pieces together: the text of each language.
using TextBlock = std::vector<std::vector<std::string>>;

/// `vocabularies`: of each language.
void count_block(const TextBlock& block, std::span<const Vocabulary> vocabularies,
                 std::vector<std::vector<int64_t>*>& counts, std::mutex& mutex) {
  std::vector<int32_t> pieces;
  for (size_t language = 0; language < block.size(); ++language) {
    pieces.clear();
    for (const std::string& text : block[language]) {
      std::vector<int32_t> of_line = vocabularies[language].encode(text);
      pieces.insert(pieces.end(), of_line.begin(), of_line.end());
    }
    const std::scoped_lock lock(mutex);
    for (const int32_t piece : pieces) ++(*counts[language])[piece];
  }
}

/// What is left of a piece without the mark of a word's begin.
std::string_view without_mark(std::string_view piece) {
  return piece.starts_with(kWordMark) ? piece.substr(kWordMark.size()) : piece;
}

bool is_byte(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
}

/// The code points of what occurs, and those that can be typed anywhere.
std::set<char32_t> characters_of(const Vocabulary& vocabulary, std::span<const int64_t> counts) {
  std::set<char32_t> characters;
  for (char32_t c = '!'; c <= '~'; ++c) characters.insert(c);
  for (size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] == 0) continue;
    const std::string piece = vocabulary.name_of(static_cast<int32_t>(id));
    for (size_t at = 0; at < piece.size();) characters.insert(next_code_point(piece, at));
  }
  return characters;
}

/// Whether it spells: any byte, one of the characters, or the space.
bool spells(std::string_view piece, const std::set<char32_t>& characters) {
  const std::string_view text = without_mark(piece);
  if (text.empty() || is_byte(piece)) return true;
  size_t at = 0;
  const char32_t first = next_code_point(text, at);
  return at == text.size() && characters.contains(first);
}

}  // namespace

PieceCounts count_pieces(std::span<const SourceConfig> sources, const Vocabulary& vocabulary,
                         const std::function<void(int64_t rows)>& progress) {
  constexpr int64_t kBlock = 2048;  // rows
  const int threads = thread_count(0);
  PieceCounts counted;
  int64_t rows = 0;
  for (const SourceConfig& source : sources) {
    std::vector<std::vector<int64_t>*> counts;
    std::vector<Vocabulary> vocabularies;
    for (const std::string& language : source.languages) {
      vocabularies.push_back(vocabulary.written_in(language));
      std::vector<int64_t>& of_language = counted[vocabulary.languages()[vocabulary.language(language)]];
      of_language.resize(vocabulary.size());
      counts.push_back(&of_language);
    }
    ParallelReader reader(text_source(source));
    for (bool more = true; more;) {
      std::vector<TextBlock> blocks;
      while (more && std::ssize(blocks) < 2 * threads) {
        TextBlock& block = blocks.emplace_back(source.languages.size());
        for (int64_t row = 0; row < kBlock && (more = reader.next()); ++row)
          for (size_t i = 0; i < block.size(); ++i)
            if (reader.cells()[i].status == CellStatus::ok) block[i].emplace_back(reader.cells()[i].text);
      }
      std::mutex mutex;
      parallel_for(threads, std::ssize(blocks),
                   [&](int64_t i) { count_block(blocks[i], vocabularies, counts, mutex); });
      if (progress) progress(rows + reader.row());
    }
    rows += reader.row();
  }
  return counted;
}

std::vector<int32_t> make_shortlist(const Vocabulary& vocabulary, std::span<const int64_t> counts,
                                    const ShortlistLimits& limits) {
  const std::set<char32_t> characters = characters_of(vocabulary, counts);
  std::vector<int32_t> list, spelling;
  for (int32_t id = 0; std::cmp_less(id, counts.size()); ++id) {
    if (!vocabulary.is_text(id)) continue;
    if (spells(vocabulary.name_of(id), characters)) spelling.push_back(id);
    if (counts[id] >= std::max<int64_t>(1, limits.least)) list.push_back(id);
  }
  std::ranges::stable_sort(list, std::greater(), [&](int32_t id) { return counts[id]; });
  if (limits.top > 0 && std::ssize(list) > limits.top) list.resize(limits.top);
  list.insert(list.end(), spelling.begin(), spelling.end());
  std::ranges::sort(list);
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

ShortlistCoverage coverage(const Vocabulary& vocabulary, std::span<const int32_t> list,
                           std::span<const int64_t> counts) {
  ShortlistCoverage found;
  for (const int32_t id : list) found.covered += counts[id];
  for (int32_t id = 0; std::cmp_less(id, counts.size()); ++id)
    if (vocabulary.is_text(id)) found.tokens += counts[id];
  return found;
}

void write_shortlists(const std::filesystem::path& file, const Vocabulary& vocabulary,
                      const std::map<std::string, std::vector<int32_t>>& lists) {
  std::vector<TensorSpec> tensors;
  tensors.reserve(lists.size());
  for (const auto& [language, list] : lists) tensors.push_back({language, DType::i32, {std::ssize(list)}});
  SafetensorsWriter writer(file, tensors, {{kVocabularyHash, hash_text(vocabulary.hash())}});
  for (const auto& [language, list] : lists) writer.write(language, std::as_bytes(std::span(list)));
  writer.commit();
}

std::vector<int32_t> read_shortlist(const std::filesystem::path& path, const Vocabulary& vocabulary,
                                    const std::string& language) {
  const SafetensorsFile file(path);
  const auto hash = file.metadata().find(kVocabularyHash);
  if (hash == file.metadata().end())
    throw UserError("{} is no shortlist: `chorus shortlist` makes one", path.string());
  if (hash->second != hash_text(vocabulary.hash()))
    throw UserError("{}: these lists were made for another vocabulary than this model's", path.string());
  static_cast<void>(file.verify());
  const std::string name = vocabulary.languages()[vocabulary.language(language)];
  if (!file.contains(name))
    throw UserError("{}: there is no list for '{}', only for {}", path.string(), name,
                    one_line(join(file.names(), ", ")));
  const TensorView tensor = file.get(name);
  std::vector<int32_t> list(tensor.bytes.size() / sizeof(int32_t));
  if (tensor.dtype == DType::i32 && !list.empty())
    std::memcpy(list.data(), tensor.bytes.data(), list.size() * sizeof(int32_t));
  const bool whole = tensor.dtype == DType::i32 && !list.empty() &&
                     std::ranges::all_of(list, [&](int32_t id) { return vocabulary.is_text(id); }) &&
                     std::ranges::adjacent_find(list, std::greater_equal()) == list.end();
  if (!whole)
    throw UserError("{}: the list of '{}' is none: it must be token ids of text, in ascending order",
                    path.string(), name);
  return list;
}

}  // namespace chorus::inline data
