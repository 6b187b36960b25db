// Language classifiers made to hurt: files whose checksums are right, with any languages, shapes and weights, are read
// or refused with UserError, and give probabilities. The input: four bytes of shape, a text, a NUL, the rest.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "base/error.h"
#include "detect/classifier.h"
#include "io/files.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  if (size < 5) return 0;
  static const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("classifier_fuzz." + std::to_string(::getpid()));
  const std::string text(reinterpret_cast<const char*>(data) + 4, size - 4);
  const std::string names = text.substr(0, text.find('\0'));
  const std::vector<TensorSpec> tensors = {
      {"weights", data[0] % 8 == 0 ? DType::u8 : DType::i8, {int64_t{1} << (data[1] % 12), data[2] % 16}},
      {"scales", DType::f32, {data[3] % 16}}};
  try {
    const SafetensorsLayout layout(file, tensors, {{"chorus.languages", names}});
    std::string contents(layout.bytes(), '\0');
    std::vector<uint64_t> hashes;
    for (const SafetensorsLayout::Tensor& tensor : layout.tensors()) {
      for (size_t i = tensor.begin; i < tensor.end; ++i) contents[i] = text[(i * 7) % text.size()];
      hashes.push_back(
          hash_bytes(std::string_view(contents).substr(tensor.begin, tensor.end - tensor.begin)));
    }
    const std::string header = layout.header(hashes);
    contents.replace(0, header.size(), header);
    std::ofstream(file, std::ios::binary) << contents;  // which does not wait for the disk
  } catch (const Error&) {
    return 0;  // names that are not UTF-8
  }
  try {
    const LanguageClassifier classifier(file);
    for (const DetectedLanguage& one : classifier.detect(text))
      if (!(one.confidence >= 1 && one.confidence <= 100 + 1e-9)) std::abort();
  } catch (const UserError&) {
  }
  std::filesystem::remove(file);
  return 0;
}
