// Weights that torch.save wrote (pytorch_model.bin), without libtorch and without Python.
//
// Such a file is a zip archive: NAME/data.pkl, a program in Python's pickle format that makes a dictionary of
// tensors, and NAME/data/KEY, the storages on which these are windows. Only what torch.save writes for
// dictionaries of tensors is read; nothing that a file says is executed.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.h"
#include "io/safetensors.h"

namespace chorus::inline io {

class TorchFile {
 public:
  /// Maps the file and checks every place that it names. UserError naming the file (and the tensor): it is
  /// damaged, holds anything but tensors, or was written by torch before 1.6.
  explicit TorchFile(std::filesystem::path path);
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::vector<std::string> names() const;  // sorted
  [[nodiscard]] bool contains(std::string_view name) const { return tensors_.contains(name); }
  /// UserError naming the file and the tensor when it is not there.
  [[nodiscard]] TensorView get(std::string_view name) const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

/// FOLDER/pytorch_model.bin, or the shards that FOLDER/pytorch_model.bin.index.json lists. As
/// SafetensorsFolder.
class TorchFolder {
 public:
  static bool is_there(const std::filesystem::path& folder);

  explicit TorchFolder(const std::filesystem::path& folder);
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(std::string_view name) const { return index_.contains(name); }
  [[nodiscard]] TensorView get(std::string_view name) const;
  [[nodiscard]] const std::vector<TorchFile>& files() const { return files_; }

 private:
  std::filesystem::path folder_;
  std::vector<TorchFile> files_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> position in files_
};

}  // namespace chorus::inline io
