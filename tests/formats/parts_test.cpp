#include "formats/parts.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "formats/folder.h"
#include "io/files.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

ModelConfig config_of() {
  ModelConfig config;
  config.vocabulary = 37;
  config.d_model = 8;
  config.encoder_layers = config.decoder_layers = 2;
  config.attention_heads = 2;
  config.ffn_dim = 12;
  config.moe.experts = 3;
  return config;
}

/// Parameter by parameter, cut after every `length` elements.
std::vector<TensorPart> cut(const Catalogue& catalogue, const std::vector<at::Tensor>& values,
                            int64_t length) {
  std::vector<TensorPart> parts;
  for (size_t p = 0; p < values.size(); ++p) {
    for (int64_t first = 0; first < values[p].numel(); first += length) {
      parts.push_back({p, local_part(catalogue.parameters[p], Place()), first,
                       values[p].view(-1).narrow(0, first, std::min(length, values[p].numel() - first))});
    }
  }
  return parts;
}

TEST(Parts, MakeTheFileThatWholeTensorsMake) {
  const TemporaryFolder folder;
  for (const Format format : {Format::nllb_moe, Format::switch_transformers}) {
    const Catalogue catalogue = make_catalogue(config_of(), format);
    std::vector<at::Tensor> values, read;
    for (const ParameterSpec& spec : catalogue.parameters) {
      values.push_back(at::randn(spec.shape));
      read.push_back(at::zeros(spec.shape));
    }
    const TensorSet whole = {.prefix = "m.", .tensor = [&](size_t p) { return values[p]; }};
    save_tensors(folder / "whole.safetensors", catalogue, {&whole, 1});
    for (const int64_t length : {int64_t{1'000'000}, int64_t{13}}) {
      Group alone;
      const std::filesystem::path path =
          folder / (std::to_string(length) + std::to_string(static_cast<int>(format)));
      PartWriter writer(alone, path, catalogue, {"m."});
      for (const TensorPart& part : cut(catalogue, values, length)) writer.write(0, part);
      writer.finish();
      EXPECT_EQ(read_file(folder / "whole.safetensors"), read_file(path));
      EXPECT_TRUE(SafetensorsFile(path).verify());
      const std::vector<std::string> prefixes = {"m."};
      const PartReader reader(path, catalogue, prefixes);
      for (const TensorPart& part : cut(catalogue, read, 7)) reader.read(0, part);
      for (size_t p = 0; p < values.size(); ++p) {
        EXPECT_TRUE(at::equal(values[p], read[p])) << catalogue.parameters[p].name;
      }
    }
  }
}

}  // namespace
}  // namespace chorus
