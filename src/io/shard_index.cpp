#include "io/internal/shard_index.h"

#include <nlohmann/json.hpp>

namespace chorus::inline io {

std::map<std::string, std::string> read_shard_index(const std::filesystem::path& path,
                                                    std::string_view extension) {
  const nlohmann::json index = read_json(path);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) throw UserError("{}: no object \"weight_map\"", path.string());
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string())
      throw UserError("{}: the file of tensor {} is not a text", path.string(), in_quotes(name));
    const std::string& file = value.get_ref<const std::string&>();
    if (file.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        file.find("..") != std::string::npos || !file.ends_with(extension) || file == extension) {
      throw UserError("{}: {} is not the name of a {} file in the same folder", path.string(),
                      in_quotes(file), extension);
    }
    files.emplace(name, file);
  }
  return files;
}

}  // namespace chorus::inline io
