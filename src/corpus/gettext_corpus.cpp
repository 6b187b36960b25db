#include "corpus/gettext_corpus.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "base/utf8.h"
#include "corpus/ui_text.h"
#include "io/file_guard.h"
#include "io/files.h"

namespace chorus::inline corpus {
namespace {

constexpr int64_t kSentenceWords = 3;
constexpr std::string_view kEnglish = "en";
constexpr uint64_t kLargestCatalog = uint64_t{64} << 20;  // bytes

/// One message in all languages; "" where a language lacks it.
struct Row {
  std::string english;
  std::vector<std::string> cells;  // [languages]
};

bool is_english(std::string_view language) {
  return language == kEnglish || same_locale(language.substr(0, 3), "en-");
}

int64_t coverage(const Row& row) {
  return std::ranges::count_if(row.cells, [](const std::string& cell) { return !cell.empty(); });
}

/// The paths of one catalog's translations: (language, file).
using CatalogFiles = std::vector<std::pair<size_t, std::filesystem::path>>;

std::map<std::string, CatalogFiles> find_catalogs(const GettextCorpusOptions& options) {
  const auto files = find_gettext_files(options.root);
  std::set<std::string> locales;
  for (const auto& file : files) locales.insert(file.locale);
  if (locales.empty()) {
    throw UserError("no gettext catalogs (LOCALE/LC_MESSAGES/NAME.mo) under {}", options.root.string());
  }
  std::map<std::string, CatalogFiles> catalogs;
  for (size_t i = 0; i < options.languages.size(); ++i) {
    const std::string& language = options.languages[i];
    if (language == kEnglish) continue;
    bool found = false;
    for (const auto& file : files) {
      if (!same_locale(file.locale, language)) continue;
      found = true;
      catalogs[file.domain].emplace_back(i, file.path);
    }
    if (!found) {
      throw UserError("no catalogs for language {} under {}; there are: en, {}", language,
                      options.root.string(), fmt::join(locales, ", "));
    }
  }
  return catalogs;
}

void check_options(const GettextCorpusOptions& options) {
  std::set<std::string> seen;
  for (const auto& language : options.languages) {
    if (!seen.insert(language).second) throw UserError("language {} is named twice", language);
  }
  if (seen.size() < 2)
    throw UserError("a parallel corpus needs two languages or more, such as --languages en,de");
  if (options.valid < 0 || options.test < 0)
    throw UserError("the sizes of valid and test cannot be negative");
}

/// Collects the rows of all catalogs, cleaned and merged by folded English.
class Collector {
 public:
  Collector(const GettextCorpusOptions& options, std::vector<GettextTally>& tallies)
      : options_(options), tallies_(tallies) {}

  void add_catalog(const CatalogFiles& files) {
    using Key = std::tuple<std::string, std::string, bool>;  // context, English, whether plural
    std::map<Key, std::vector<std::string>> rows;            // cells as in the catalog
    for (const auto& [language, path] : files) {
      const GettextCatalog catalog = parse_gettext(read_file(path, kLargestCatalog), path.string());
      tallies_[language].found += catalog.ill_formed;
      tallies_[language].ill_formed += catalog.ill_formed;
      const auto add = [&, i = language](const std::string& context, const std::string& english, bool plural,
                                         const std::string& translation) {
        auto& cells = rows[{context, english, plural}];
        cells.resize(options_.languages.size());
        GettextTally& tally = tallies_[i];
        ++tally.found;
        if (!cells[i].empty()) {
          ++tally.duplicate;
        } else if (translation.empty()) {
          ++tally.empty;
        } else {
          cells[i] = translation;
        }
      };
      for (const GettextEntry& entry : catalog.entries) {
        if (entry.plural_id.empty()) {
          add(entry.context, entry.id, false, entry.translations.front());
        } else {
          add(entry.context, entry.plural_id, true, entry.translations.back());
          if (entry.translations.size() == 2) add(entry.context, entry.id, false, entry.translations.front());
        }
      }
    }
    for (auto& [key, cells] : rows) add_row(std::get<1>(key), std::move(cells));
  }

  /// One row for each folded English string, in the order of those.
  std::vector<Row> merged() {
    std::vector<Row> rows;
    for (auto& [fold, spellings] : groups_) rows.push_back(merge(spellings));
    return rows;
  }

 private:
  using Spellings = std::map<std::string, std::vector<Row>>;  // exact English -> its messages

  /// "" when `text` is dropped, for the reason counted in `tally`.
  std::string clean(const std::string& text, GettextTally& tally) const {
    constexpr size_t kBytesACharacter = 16;  // with markup; what is longer is not even looked at
    if (text.size() > kBytesACharacter * options_.max_characters) {
      ++tally.over_long;
      return {};
    }
    std::string result = clean_ui_text(text);
    if (!has_letters(result)) {
      ++tally.no_letters;
      return {};
    }
    if (count_code_points(result) > options_.max_characters) {
      ++tally.over_long;
      return {};
    }
    return result;
  }

  void add_row(const std::string& raw_english, std::vector<std::string> cells) {
    Row row{.english = {}, .cells = std::move(cells)};
    GettextTally english_tally;
    row.english = clean(raw_english, english_tally);
    const std::string fold = fold_text(row.english);
    for (size_t i = 0; i < row.cells.size(); ++i) {
      std::string& cell = row.cells[i];
      GettextTally& tally = tallies_[i];
      if (options_.languages[i] == kEnglish) {
        ++tally.found;
        cell = row.english;
      }
      if (row.english.empty()) {
        const bool counts = options_.languages[i] == kEnglish || !cell.empty();
        tally.no_letters += counts ? english_tally.no_letters : 0;
        tally.over_long += counts ? english_tally.over_long : 0;
      } else if (!cell.empty() && options_.languages[i] != kEnglish) {
        cell = clean(cell, tally);
        if (!cell.empty() && !is_english(options_.languages[i]) &&
            count_words(row.english) >= kSentenceWords && fold_text(cell) == fold) {
          ++tally.untranslated;
          cell.clear();
        }
      }
    }
    if (row.english.empty()) return;
    groups_[fold][row.english].push_back(std::move(row));
  }

  Row merge(Spellings& spellings) {
    const auto translations = [](const std::vector<Row>& rows) {
      int64_t sum = 0;
      for (const Row& row : rows) sum += coverage(row);
      return sum;
    };
    const auto best = std::ranges::max_element(spellings, [&](const auto& a, const auto& b) {
      return translations(a.second) < translations(b.second);
    });
    Row result{.english = best->first, .cells = std::vector<std::string>(options_.languages.size())};
    for (size_t i = 0; i < result.cells.size(); ++i) {
      std::map<std::string, int64_t> votes;
      for (const Row& row : best->second) {
        if (!row.cells[i].empty()) ++votes[row.cells[i]];
      }
      int64_t most = 0;
      for (const Row& row : best->second) {  // the first of the most frequent
        if (row.cells[i].empty() || votes[row.cells[i]] <= most) continue;
        most = votes[row.cells[i]];
        result.cells[i] = row.cells[i];
      }
      for (const auto& [english, rows] : spellings) {
        tallies_[i].duplicate +=
            std::ranges::count_if(rows, [&](const Row& row) { return !row.cells[i].empty(); });
      }
      if (!result.cells[i].empty()) --tallies_[i].duplicate;
    }
    return result;
  }

  const GettextCorpusOptions& options_;
  std::vector<GettextTally>& tallies_;
  std::map<std::string, Spellings> groups_;
};

/// Rows whose English has the same letters: they go into one split together.
struct Class {
  uint64_t order = 0;  // keyed hash of the letters
  std::string letters;
  std::vector<size_t> rows;
  size_t best = 0;       // the row to hold out: sentence-like, of the widest coverage
  int64_t coverage = 0;  // of best; 0 when no row is sentence-like
};

std::vector<Class> classes_of(const std::vector<Row>& rows, uint64_t seed) {
  std::map<std::string, std::vector<size_t>> by_letters;
  for (size_t i = 0; i < rows.size(); ++i) by_letters[fold_letters(rows[i].english)].push_back(i);
  const RandomKey key = RandomKey(seed).derive("gettext split");
  std::vector<Class> classes;
  for (auto& [letters, members] : by_letters) {
    Class& c = classes.emplace_back();
    c.order = key.derive(letters).value();
    c.letters = letters;
    c.rows = std::move(members);
    for (const size_t i : c.rows) {
      if (count_words(rows[i].english) < kSentenceWords || coverage(rows[i]) <= c.coverage) continue;
      c.best = i;
      c.coverage = coverage(rows[i]);
    }
  }
  std::ranges::sort(classes, {}, [](const Class& c) { return std::tie(c.order, c.letters); });
  return classes;
}

/// How many languages a row of valid or test must have, so that there is a choice.
int64_t needed_coverage(const std::vector<Class>& classes, const GettextCorpusOptions& options) {
  const auto languages = static_cast<int64_t>(options.languages.size());
  const int64_t least = std::max<int64_t>(2, (languages + 1) / 2), held_out = options.valid + options.test;
  const auto candidates = [&](int64_t needed) {
    return std::ranges::count_if(classes, [&](const Class& c) { return c.coverage >= needed; });
  };
  int64_t needed = languages;
  while (needed > least && candidates(needed) < 2 * held_out) --needed;
  if (candidates(needed) < held_out) {
    throw UserError(
        "valid and test ask for {}, out of only {} (of {} words or more, in {} languages or more)",
        counted(held_out, "row"), candidates(needed), kSentenceWords, needed);
  }
  return needed;
}

/// What may not stand in train: the folded strings of valid and test, a set a language.
struct HeldOut {
  std::unordered_set<std::string> english;
  std::vector<std::unordered_set<std::string>> language;

  void add(const Row& row) {
    english.insert(fold_letters(row.english));
    for (size_t i = 0; i < row.cells.size(); ++i) {
      if (!row.cells[i].empty()) language[i].insert(fold_letters(row.cells[i]));
    }
  }
};

class Splitter {
 public:
  Splitter(const GettextCorpusOptions& options, GettextCorpus& corpus) : options_(options), corpus_(corpus) {}

  void split(std::vector<Row> rows) {
    const std::vector<Class> classes = classes_of(rows, options_.seed);
    const int64_t needed = needed_coverage(classes, options_);
    auto& [train, valid, test] = corpus_.splits;
    HeldOut held_out;
    held_out.language.resize(options_.languages.size());
    std::vector<size_t> for_train;
    for (const Class& c : classes) {
      GettextSplit* split = test.rows < options_.test     ? &test
                            : valid.rows < options_.valid ? &valid
                                                          : nullptr;
      if (split == nullptr || c.coverage < needed) {
        for_train.insert(for_train.end(), c.rows.begin(), c.rows.end());
        continue;
      }
      held_out.add(rows[c.best]);
      for (const size_t i : c.rows) {
        if (i == c.best) {
          put(*split, rows[i], split == &test ? &GettextTally::test : &GettextTally::valid);
        } else {
          count(rows[i], &GettextTally::held_out);
        }
      }
    }
    for (const size_t i : for_train) {
      withhold(rows[i], held_out);
      if (coverage(rows[i]) >= 2) {
        put(train, rows[i], &GettextTally::train);
      } else {
        count(rows[i], &GettextTally::alone);
      }
    }
  }

 private:
  void withhold(Row& row, const HeldOut& held_out) {
    for (size_t i = 0; i < row.cells.size(); ++i) {
      if (row.cells[i].empty() || options_.languages[i] == kEnglish) continue;
      const std::string letters = fold_letters(row.cells[i]);
      if (!held_out.english.contains(letters) && !held_out.language[i].contains(letters)) continue;
      ++corpus_.tallies[i].held_out;
      row.cells[i].clear();
    }
  }

  void put(GettextSplit& split, const Row& row, int64_t GettextTally::*counter) {
    ++split.rows;
    for (size_t i = 0; i < row.cells.size(); ++i) split.text[i] += row.cells[i] + '\n';
    count(row, counter);
  }

  void count(const Row& row, int64_t GettextTally::*counter) {
    for (size_t i = 0; i < row.cells.size(); ++i) corpus_.tallies[i].*counter += row.cells[i].empty() ? 0 : 1;
  }

  const GettextCorpusOptions& options_;
  GettextCorpus& corpus_;
};

}  // namespace

GettextCorpus build_gettext_corpus(const GettextCorpusOptions& options) {
  check_options(options);
  GettextCorpus corpus;
  corpus.languages = options.languages;
  for (const auto& language : options.languages) corpus.tallies.emplace_back().language = language;
  constexpr const char* kNames[] = {"train", "valid", "test"};
  for (size_t i = 0; i < corpus.splits.size(); ++i) {
    corpus.splits[i].name = kNames[i];
    corpus.splits[i].text.resize(options.languages.size());
  }
  Collector collector(options, corpus.tallies);
  for (const auto& [domain, files] : find_catalogs(options)) {
    collector.add_catalog(files);
    corpus.catalogs += static_cast<int64_t>(files.size());
  }
  Splitter(options, corpus).split(collector.merged());
  return corpus;
}

}  // namespace chorus::inline corpus
