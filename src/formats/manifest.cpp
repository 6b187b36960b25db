#include "formats/internal/manifest.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "detect/classifier.h"
#include "formats/folder_files.h"
#include "formats/parts.h"
#include "io/files.h"
#include "io/json.h"
#include "io/places.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kFormatVersion = 1;

/// What the folder's manifest says of a file; nothing where there is no manifest, or it does not name it.
std::optional<std::string> noted_hash(const fs::path& folder, const std::string& file) {
  const fs::path path = folder / kManifestFile;
  if (!is_there(path)) return std::nullopt;
  const nlohmann::json manifest = read_json(path);
  const auto damaged = [&](const std::string& what) {
    return UserError("{}: damaged: {}; restore it, or delete it to take the folder as it is", path.string(),
                     what);
  };
  const auto format = manifest.is_object() ? manifest.find("format") : manifest.end();
  if (format == manifest.end() || !exactly<int64_t>(*format)) throw damaged("it has no format");
  if (*format != kFormatVersion)
    throw UserError("{}: written by a later version of chorus (format {})", path.string(), format->dump());
  const auto files = manifest.find("files");
  if (files == manifest.end() || !files->is_object()) throw damaged("it names no files");
  const auto hash = files->find(file);
  if (hash == files->end()) return std::nullopt;
  std::optional<std::string> text = exactly<std::string>(*hash);
  if (!text) throw damaged(fmt::format("the checksum of {}", in_quotes(file)));
  return text;
}

void compare(const fs::path& folder, const std::string& file, uint64_t hash, const char* what) {
  const std::optional<std::string> noted = noted_hash(folder, file);
  if (noted && *noted != hash_text(hash)) {
    throw UserError(
        "{} is not the {} that this model was saved with: restore it, or delete {} if you have changed "
        "it on purpose",
        (folder / file).string(), what, (folder / kManifestFile).string());
  }
}

}  // namespace

void write_manifest(const fs::path& folder) {
  nlohmann::json files;
  std::vector<const char*> noted = {kConfigFile, kClassifierFile};
  std::ranges::copy(vocabulary_files(), std::back_inserter(noted));
  for (const char* file : noted)
    if (fs::exists(folder / file)) files[file] = hash_text(hash_file(folder / file));
  if (!is_in_parts(folder)) {  // which the checkpoint's own state vouches for
    const SafetensorsFolder weights(folder);
    for (const SafetensorsFile& file : weights.files())
      files[file.path().filename().string()] = hash_text(file.hash());
  }
  write_json(folder / kManifestFile, {{"format", kFormatVersion}, {"files", files}});
}

void check_manifest(const fs::path& folder, const char* file) {
  if (noted_hash(folder, file)) {
    compare(folder, file, hash_file(folder / file),
            file == std::string_view(kConfigFile)       ? "configuration"
            : file == std::string_view(kClassifierFile) ? "language classifier"
                                                        : "vocabulary");
  }
}

void check_manifest(const SafetensorsFolder& weights) {
  for (const SafetensorsFile& file : weights.files())
    compare(file.path().parent_path(), file.path().filename().string(), file.hash(), "file of weights");
}

}  // namespace chorus::inline formats
