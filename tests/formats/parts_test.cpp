#include "formats/parts.h"

#include <deque>

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/folder.h"
#include "io/files.h"
#include "io/places.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using testing::HasSubstr, testing::ThrowsMessage;

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

/// Some values of a model, of each prefix, written by several ranks.
class RankParts : public testing::Test {
 protected:
  void write(uint64_t most, int64_t length) {
    std::deque<RankPartsWriter> writers;
    for (int rank = 0; rank < 3; ++rank)
      writers.emplace_back(folder_.path(), rank, catalogue_, prefixes_, most);
    size_t number = 0;
    for (size_t set = 0; set < values_.size(); ++set)
      for (const TensorPart& part : cut(catalogue_, values_[set], length))
        writers[number++ % 3].write(set, part);
    for (RankPartsWriter& writer : writers) writer.finish();
  }
  /// Once more, of other lengths.
  void expect_values() {
    const PartReader reader(folder_.path(), catalogue_, prefixes_);
    for (size_t set = 0; set < values_.size(); ++set) {
      std::vector<at::Tensor> read;
      for (const ParameterSpec& spec : catalogue_.parameters) read.push_back(at::zeros(spec.shape));
      for (const TensorPart& part : cut(catalogue_, read, 1013)) reader.read(set, part);
      for (size_t p = 0; p < read.size(); ++p)
        EXPECT_TRUE(at::equal(values_[set][p], read[p])) << set << " " << catalogue_.parameters[p].name;
    }
  }
  [[nodiscard]] std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> files;
    for (const std::string& name : names_in(folder_.path())) files.push_back(folder_ / name);
    return files;
  }
  void SetUp() override {
    ModelConfig config = config_of();
    config.vocabulary = 30'000;  // an embedding of nearly a file
    catalogue_ = make_catalogue(config, Format::switch_transformers);
    for (const auto& prefix : prefixes_) {
      static_cast<void>(prefix);
      auto& values = values_.emplace_back();
      for (const ParameterSpec& spec : catalogue_.parameters) values.push_back(at::randn(spec.shape));
    }
  }

  TemporaryFolder folder_;
  Catalogue catalogue_;
  const std::vector<std::string> prefixes_ = {"", "m.", "v."};
  std::vector<std::vector<at::Tensor>> values_;
};

TEST_F(RankParts, OfAnyRanksMakeUpAllValues) {
  for (const int64_t length : {int64_t{1'000'000}, int64_t{777}}) {
    for (const auto& file : files()) std::filesystem::remove(file);
    EXPECT_FALSE(is_in_parts(folder_.path()));
    write(kLeastPartFile, length);
    EXPECT_TRUE(is_in_parts(folder_.path()));
    EXPECT_GT(files().size(), 3U);
    for (const auto& file : files()) {
      EXPECT_LE(std::filesystem::file_size(file), kLeastPartFile);
      EXPECT_TRUE(SafetensorsFile(file).verify());
    }
    expect_values();
  }
}

TEST_F(RankParts, ThatAreMissingOrThereTwiceAreNamed) {
  write(kLeastPartFile, 5000);
  const auto all = files();
  const std::string bytes = read_file(all.back());
  std::filesystem::remove(all.back());
  EXPECT_THAT([&] { expect_values(); },
              ThrowsMessage<UserError>(HasSubstr("a file is missing, or of another checkpoint")));
  write_file_atomically(all.back(), bytes);
  expect_values();
  write_file_atomically(folder_ / "part-00007-00000.safetensors", bytes);
  EXPECT_THROW(expect_values(), UserError);
  for (const char* name : {"w", "w@", "w@-1", "w@1x", "w@99999999999999999999"}) {
    std::filesystem::remove(folder_ / "part-00007-00000.safetensors");
    SafetensorsStream file(folder_ / "part-00007-00000.safetensors", 4096);
    const std::vector<float> values = {1, 2};
    file.write({name, DType::f32, {2}}, std::as_bytes(std::span(values)));
    file.commit();
    EXPECT_THAT([&] { expect_values(); }, ThrowsMessage<UserError>(HasSubstr("is no part of a tensor")))
        << name;
  }
}

}  // namespace
}  // namespace chorus
