// Writing and reporting of the corpora that gettext_corpus.cpp builds.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "corpus/gettext_corpus.h"
#include "io/file_guard.h"
#include "io/files.h"
#include "io/json.h"

namespace chorus::inline corpus {
namespace fs = std::filesystem;
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

// What this wrote into a folder: by name, the hashes that a file may have (two while one replaces the other).
using Record = std::map<std::string, std::set<std::string>>;
constexpr const char* kRecord = ".gettext.json";

Record read_record(const fs::path& path) {
  if (!fs::exists(fs::symlink_status(path))) return {};
  try {
    return read_json(path).get<Record>();
  } catch (const nlohmann::json::exception&) {
    throw UserError("{}: this is no record of written files: move it, or name another --out", path.string());
  }
}

void write_record(const fs::path& path, const Record& record) {
  const std::string text = nlohmann::json(record).dump(1) + "\n";
  if (!fs::exists(path) || read_file(path) != text) write_file_atomically(path, text);
}

/// Whether OUT/name is as this wrote it.
bool is_own(const fs::path& out, const std::string& name, const Record& record) {
  const auto hashes = record.find(name);
  const fs::path path = out / name;
  return hashes != record.end() && name.find('/') == std::string::npos &&
         fs::is_regular_file(fs::symlink_status(path)) && hashes->second.contains(hash_text(hash_file(path)));
}

}  // namespace

void write_gettext_corpus(const GettextCorpus& corpus, const fs::path& out, bool overwrite) {
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw UserError("cannot make folder {}: {}", out.string(), error.message());
  Record record = read_record(out / kRecord), written;
  std::vector<std::pair<fs::path, const std::string*>> changes;
  for (const auto& split : corpus.splits) {
    for (size_t i = 0; i < corpus.languages.size(); ++i) {
      const std::string name = split.name + "." + corpus.languages[i];
      const fs::path path = out / name;
      written[name] = {hash_text(hash_bytes(split.text[i]))};
      const bool exists = fs::exists(fs::symlink_status(path));
      const bool alike = exists && fs::is_regular_file(path) && fs::file_size(path) == split.text[i].size();
      if (alike && read_file(path, split.text[i].size()) == split.text[i]) continue;
      if (exists && !is_own(out, name, record)) {
        throw UserError(
            "{} exists, would change, and is not as this command wrote it: move it, or name another --out",
            path.string());
      }
      if (exists && !overwrite) {
        throw UserError("{} exists and would change: name another --out, or give --overwrite", path.string());
      }
      changes.emplace_back(path, &split.text[i]);
    }
  }
  std::vector<std::string> stale;
  for (const auto& [name, hashes] : record) {
    if (!written.contains(name) && is_own(out, name, record)) stale.push_back(name);
  }
  if (!overwrite && !stale.empty()) {
    throw UserError("{} has files of another corpus, such as {}: name another --out, or give --overwrite",
                    out.string(), stale.front());
  }
  for (const auto& [name, hashes] : written) record[name].insert(hashes.begin(), hashes.end());
  write_record(out / kRecord, record);  // before, so that after a kill all are still known
  for (const auto& [path, text] : changes) write_file_atomically(path, *text);
  for (const auto& name : stale) fs::remove(out / name);
  write_record(out / kRecord, written);
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
    text += fmt::format("{:<12}{:>8}{:>8}{:>7}{:>7}  {}\n", one_line(tally.language), tally.found,
                        tally.train, tally.valid, tally.test, dropped.empty() ? "none" : dropped);
  }
  const auto& [train, valid, test] = corpus.splits;
  return text + fmt::format("{}; rows: {} train, {} valid, {} test\n", counted(corpus.catalogs, "catalog"),
                            train.rows, valid.rows, test.rows);
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
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace chorus::inline corpus
