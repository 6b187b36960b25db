#include "formats/alignment_choice.h"

#include <nlohmann/json.hpp>

#include "architecture/format.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/json.h"

#include "formats/internal/manifest.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;

void keep_alignment(const fs::path& folder, int64_t layer, int64_t head) {
  nlohmann::json json = read_json(folder / kConfigFile);
  json["chorus"]["alignment"] = {{"layer", layer}, {"head", head}};
  static_cast<void>(model_config_from_json(json));
  AtomicFolder whole(folder, check_is_replaceable);
  for (const fs::directory_entry& file : fs::directory_iterator(folder)) {
    const fs::path copy = whole.temporary() / file.path().filename();
    std::error_code no_links;  // as on some file systems
    fs::create_hard_link(file.path(), copy, no_links);
    if (no_links) fs::copy_file(file.path(), copy);
  }
  write_json(whole.temporary() / kConfigFile, json);
  if (fs::exists(folder / kManifestFile)) write_manifest(whole.temporary());
  whole.commit();
}

}  // namespace chorus::inline formats
