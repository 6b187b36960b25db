// The index of a model in several files: {"weight_map": {tensor: file}}.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/json.h"

namespace chorus::inline io {

/// The file of each tensor. UserError naming the index when it is not as it should be, and when a file's name
/// is not one of `extension` in the same folder.
std::map<std::string, std::string> read_shard_index(const std::filesystem::path& path,
                                                    std::string_view extension);

/// Opens them into `files` and gives the position there of each tensor's. UserError when one lacks a tensor.
template <class File>
std::map<std::string, size_t, std::less<>> open_shards(const std::filesystem::path& path,
                                                       std::string_view extension, std::vector<File>& files) {
  std::map<std::string, size_t> opened;
  std::map<std::string, size_t, std::less<>> index;
  for (const auto& [name, shard] : read_shard_index(path, extension)) {
    const auto [at, is_new] = opened.emplace(shard, files.size());
    if (is_new) files.emplace_back(path.parent_path() / shard);
    if (!files[at->second].contains(name)) {
      throw UserError("{}: {} has no tensor {}; is it of another model?", path.string(), in_quotes(shard),
                      in_quotes(name));
    }
    index.emplace(name, at->second);
  }
  return index;
}

}  // namespace chorus::inline io
