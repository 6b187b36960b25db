// Writing and reporting of the corpora that gettext_corpus.cpp builds.
#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/data/gettext_corpus.h"

namespace chorus {
namespace {

struct Reason {
  const char* name;
  int64_t GettextTally::*count;
};
constexpr Reason kReasons[] = {
    {"empty", &GettextTally::empty},
    {"ill-formed", &GettextTally::ill_formed},
    {"no letters", &GettextTally::no_letters},
    {"over-long", &GettextTally::over_long},
    {"untranslated", &GettextTally::untranslated},
    {"duplicate", &GettextTally::duplicate},
    {"held out", &GettextTally::held_out},
    {"alone", &GettextTally::alone},
};

}  // namespace

void write_gettext_corpus(const GettextCorpus& corpus, const std::filesystem::path& out, bool overwrite) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw UserError("cannot make folder {}: {}", out.string(), error.message());
  std::set<std::string> names, stale;
  for (const auto& split : corpus.splits) {
    for (const auto& language : corpus.languages) names.insert(split.name + "." + language);
    for (const auto& entry : fs::directory_iterator(out)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(split.name + ".") && !names.contains(name)) stale.insert(name);
    }
  }
  if (!overwrite && !stale.empty()) {
    throw UserError("{} has files of another corpus, such as {}: name another --out, or give --overwrite",
                    out.string(), *stale.begin());
  }
  std::vector<std::pair<fs::path, const std::string*>> changes;
  for (const auto& split : corpus.splits) {
    for (size_t i = 0; i < corpus.languages.size(); ++i) {
      const fs::path path = out / (split.name + "." + corpus.languages[i]);
      const bool exists = fs::exists(path);
      if (exists && read_file(path) == split.text[i]) continue;
      if (exists && !overwrite) {
        throw UserError("{} exists and would change: name another --out, or give --overwrite", path.string());
      }
      changes.emplace_back(path, &split.text[i]);
    }
  }
  for (const auto& [path, text] : changes) write_file_atomically(path, *text);
  for (const auto& name : stale) fs::remove(out / name);
}

std::string to_table(const GettextCorpus& corpus) {
  std::string text =
      fmt::format("{:<12}{:>8}{:>8}{:>7}{:>7}  dropped\n", "language", "found", "train", "valid", "test");
  for (const auto& tally : corpus.tallies) {
    std::string dropped;
    for (const auto& [name, count] : kReasons) {
      if (tally.*count > 0)
        dropped += fmt::format("{}{} {}", dropped.empty() ? "" : ", ", tally.*count, name);
    }
    text += fmt::format("{:<12}{:>8}{:>8}{:>7}{:>7}  {}\n", tally.language, tally.found, tally.train,
                        tally.valid, tally.test, dropped.empty() ? "none" : dropped);
  }
  const auto& [train, valid, test] = corpus.splits;
  return text + fmt::format("{} catalogs; rows: {} train, {} valid, {} test\n", corpus.catalogs, train.rows,
                            valid.rows, test.rows);
}

std::string to_json(const GettextCorpus& corpus) {
  nlohmann::ordered_json json;
  json["catalogs"] = corpus.catalogs;
  for (const auto& split : corpus.splits) json["rows"][split.name] = split.rows;
  for (const auto& tally : corpus.tallies) {
    nlohmann::ordered_json language = {{"language", tally.language},
                                       {"found", tally.found},
                                       {"train", tally.train},
                                       {"valid", tally.valid},
                                       {"test", tally.test}};
    for (const auto& [name, count] : kReasons) {
      std::string key = name;
      std::ranges::replace_if(
          key, [](char c) { return c == ' ' || c == '-'; }, '_');
      language["dropped"][key] = tally.*count;
    }
    json["languages"].push_back(language);
  }
  return json.dump(2) + "\n";
}

}  // namespace chorus
