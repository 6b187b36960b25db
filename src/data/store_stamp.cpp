#include "data/internal/store_stamp.h"

#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "io/files.h"

namespace chorus::inline data {
namespace fs = std::filesystem;

StoreStamp::StoreStamp(TextSource source, Vocabulary vocabulary)
    : source_(std::move(source)), vocabulary_(std::move(vocabulary)) {
  for (const auto& path : source_.files) {
    std::error_code error;
    File file{.path = fs::absolute(path).string()};
    file.bytes = fs::file_size(path, error);
    if (!error) file.time = fs::last_write_time(path, error).time_since_epoch().count();
    if (error) throw UserError("cannot read {}: {}", path.string(), error.message());
    files_.push_back(std::move(file));
  }
}

std::string StoreStamp::name() const {
  std::string text = join(source_.languages, ",");
  for (const auto& file : files_) text += "\n" + file.path;
  return fmt::format("{}-{}", source_.languages.front(), hash_text(hash_bytes(std::string_view(text))));
}

std::string StoreStamp::json() const {
  nlohmann::json files = nlohmann::json::array();
  for (const auto& file : files_) {
    files.push_back({{"path", file.path},
                     {"bytes", file.bytes},
                     {"time", file.time},
                     {"hash", hash_text(hash_file(file.path))}});
  }
  return nlohmann::json{
      {"languages", source_.languages}, {"vocabulary", hash_text(vocabulary_.hash())}, {"files", files}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string StoreStamp::differs_from(std::string_view text) const {
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("languages") != source_.languages) return "the languages are others";
    if (json.at("vocabulary") != hash_text(vocabulary_.hash())) return "the vocabulary is another";
    if (json.at("files").size() != files_.size()) return "the files are others";
    for (size_t i = 0; i < files_.size(); ++i) {
      const auto& was = json.at("files")[i];
      const bool touched = was.at("bytes") != files_[i].bytes || was.at("time") != files_[i].time;
      if (touched && was.at("hash") != hash_text(hash_file(files_[i].path))) {
        return fmt::format("{} has changed", files_[i].path);
      }
    }
  } catch (const nlohmann::json::exception&) {
    return "it is damaged";
  }
  return "";
}

void StoreStamp::check_unchanged() const {
  const StoreStamp now(source_, vocabulary_);
  for (size_t i = 0; i < files_.size(); ++i) {
    if (now.files_[i] != files_[i])
      throw UserError("{} changed while it was read; start again", files_[i].path);
  }
}

}  // namespace chorus::inline data
