#include "formats/internal/rewrite.h"

#include <nlohmann/json.hpp>

#include "architecture/format.h"
#include "base/error.h"
#include "formats/alignment_choice.h"
#include "formats/folder_files.h"
#include "formats/language_detector.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/places.h"

#include "formats/internal/manifest.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;

void check_is_rewritable(const fs::path& folder) {
  const auto refuse = [&](std::string_view why) {
    throw UserError("cannot write {}: it {}", folder.string(), why);
  };
  std::error_code error;
  if (fs::is_symlink(folder, error)) refuse("is a symbolic link; name the folder that it leads to");
  if (!is_there(folder / kConfigFile)) refuse("is not a model");
  if (is_there(folder / kStateFile)) refuse("is a checkpoint of a run; name its model, or an exported one");
}

void rewrite_folder(const fs::path& folder, const std::function<void(const fs::path& copy)>& change) {
  AtomicFolder whole(folder, check_is_rewritable);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path copy = whole.temporary() / entry.path().lexically_relative(folder);
    std::error_code no_links;  // as on some file systems
    if (entry.is_symlink()) {
      fs::copy_symlink(entry.path(), copy);
    } else if (entry.is_directory()) {
      fs::create_directory(copy, entry.path());
    } else if (fs::create_hard_link(entry.path(), copy, no_links); no_links) {
      fs::copy_file(entry.path(), copy);
    }
  }
  change(whole.temporary());
  if (fs::exists(folder / kManifestFile)) write_manifest(whole.temporary());
  whole.commit();
}

void keep_alignment(const fs::path& folder, int64_t layer, int64_t head) {
  nlohmann::json json = read_json(folder / kConfigFile);
  json["chorus"]["alignment"] = {{"layer", layer}, {"head", head}};
  static_cast<void>(model_config_from_json(json));
  rewrite_folder(folder, [&](const fs::path& copy) { write_json(copy / kConfigFile, json); });
}

void keep_language_detector(const fs::path& folder, const LanguageClassifier& classifier) {
  rewrite_folder(folder, [&](const fs::path& copy) { classifier.save(copy / kClassifierFile); });
}

void copy_language_detector(const fs::path& from, const fs::path& to) {
  if (!fs::exists(from / kClassifierFile)) return;
  check_manifest(from, kClassifierFile);
  write_file_atomically(to / kClassifierFile, read_file(from / kClassifierFile));
}

}  // namespace chorus::inline formats
