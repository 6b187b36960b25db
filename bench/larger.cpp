// Models larger than memory: one of random weights that routes as languages do, and what translating with it takes.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>

#include "formats/folder.h"
#include "formats/stored_tensors.h"
#include "model/expert_store.h"
#include "model/step_decoder.h"
#include "work.h"

namespace chorus::bench {

namespace {

constexpr int64_t kFirstId = 1000;      // rows of the embedding before are nobody's
constexpr double kLanguagePart = 1;     // of an embedding, beside a random part of norm 1
constexpr double kNoise = 1.5;          // deviation of the router's logits
constexpr double kPreference = 5;       // of a language's experts, added to their logits
constexpr double kEncoderShare = 0.28;  // of a layer's experts that carry a language (2205.10835)
constexpr double kDecoderShare = 0.094;
constexpr double kGain = 0.3;  // of matrices: what layers add stays small beside the embedding

/// A model whose weights are numbers drawn as they are written.
struct RandomModel {
  ModelConfig config;
  Catalogue catalogue;
  int64_t languages;
  at::Tensor directions;  // [languages, d], of length 1

  explicit RandomModel(const Json& options) : languages(options["languages"]) {
    const Json& m = options["model"];
    config = {.vocabulary = m["vocabulary"],
              .d_model = m["d_model"],
              .encoder_layers = m["layers"],
              .decoder_layers = m["layers"],
              .attention_heads = m["heads"],
              .ffn_dim = m["ffn"]};
    config.moe.experts = m["experts"];
    config.moe.encoder_every = config.moe.decoder_every = m["every"];
    config.moe.top_k = 2;
    config.moe.gate_normalization = GateNormalization::after_drop;
    config.quantization = {.experts = Quantization::int4, .dense = Quantization::int8};
    catalogue = make_catalogue(config);
    at::manual_seed(1);
    directions = at::randn({languages, config.d_model});
    directions /= directions.norm(2, 1, true);
  }

  [[nodiscard]] int64_t ids_per_language() const { return (config.vocabulary - kFirstId) / languages; }

  /// Rows first .. first + count of the embedding.
  [[nodiscard]] at::Tensor embedding(int64_t first, int64_t count) const {
    at::Tensor rows = at::randn({count, config.d_model}) / std::sqrt(config.d_model);
    for (int64_t row = std::max(first, kFirstId); row < first + count; ++row) {
      const int64_t language = std::min((row - kFirstId) / ids_per_language(), languages - 1);
      rows[row - first] += kLanguagePart * directions[language];
    }
    return rows;
  }
  [[nodiscard]] at::Tensor router(const ParameterSpec& spec, bool encoder) const {
    const int64_t experts = spec.shape[0];
    const double root = std::sqrt(config.d_model), part = kLanguagePart / std::hypot(kLanguagePart, 1.2);
    at::Tensor weight = at::randn({experts, config.d_model}) * (kNoise / root);
    const auto few = std::max<int64_t>(
        2, std::llround(static_cast<double>(experts) * (encoder ? kEncoderShare : kDecoderShare)));
    for (int64_t language = 0; language < languages; ++language) {
      const at::Tensor chosen = at::randn({experts}).argsort().narrow(0, 0, few);
      for (int64_t i = 0; i < few; ++i)
        weight[chosen[i].item<int64_t>()] += directions[language] * (kPreference / (root * part));
    }
    return weight;
  }
  /// Blocks of random numbers and equal scales, as kernels/quantized.h lays them out.
  static at::Tensor blocks(const ParameterSpec& spec) {
    const std::vector<int64_t> shape = spec.stored_shape(), file = spec.file_shape();
    const bool int4 = spec.quantization == Quantization::int4;
    if (shape[0] % kQuantizedRows != 0 || shape[1] % kQuantizedGroup != 0)
      throw std::runtime_error("random weights are of whole blocks");
    at::Tensor bytes = at::empty(file, at::kByte);
    auto* const out = bytes.mutable_data_ptr<uint8_t>();
    uint64_t state = 88172645463325252ULL;
    for (int64_t i = 0; i + 8 <= bytes.numel(); i += 8) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      uint64_t word = int4 ? state : state | 0x0101010101010101ULL;  // no byte is 0 in int8
      std::memcpy(out + i, &word, sizeof word);
    }
    const double deviation = int4 ? 4.6 : 73.6;
    const double scale = kGain / (std::sqrt(static_cast<double>(shape[1])) * deviation);
    const int64_t scales = shape[1] / kQuantizedGroup * kQuantizedRows;
    for (int64_t block = 0; block < file[0]; ++block)
      bytes[block].narrow(0, 0, 2 * scales).view(at::kBFloat16).fill_(scale);
    return bytes;
  }

  [[nodiscard]] std::vector<Transfer> transfers() const {
    std::vector<Transfer> all;
    for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
      const ParameterSpec& spec = catalogue.parameters[p];
      for (size_t i = 0; i < spec.stored.size(); ++i) {
        Transfer& transfer = all.emplace_back();
        transfer.tensor = file_tensor(spec, i, DType::f32);
        const bool is_embedding = p == catalogue.embedding;
        const int64_t at_once = 16 * kQuantizedRows;
        if (is_embedding) transfer.pieces = (spec.shape[0] + at_once - 1) / at_once;
        transfer.make = [this, p, is_embedding, at_once, &spec](int64_t piece) {
          if (is_embedding) {
            const int64_t first = piece * at_once;
            return quantize(embedding(first, std::min(at_once, spec.shape[0] - first)), spec.quantization);
          }
          if (spec.quantization != Quantization::none) return blocks(spec);
          if (spec.name.find("router") != std::string::npos)
            return router(spec, spec.name.starts_with("encoder"));
          const at::Tensor vector = at::zeros(spec.stored_shape());
          return spec.name.find("norm.weight") != std::string::npos ? vector + 1 : vector;
        };
      }
    }
    return all;
  }
};

double seconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

/// Bytes per second of reading a file past the page cache, as much of it as 1 GB, into memory that was touched before.
double disk_rate(const std::filesystem::path& path) {
  constexpr int64_t kPiece = int64_t{8} << 20, kAtOnce = 16;
  const int64_t pieces =
      std::min<int64_t>(static_cast<int64_t>(std::filesystem::file_size(path)) / kPiece, 128);
  const std::unique_ptr<char, decltype(&std::free)> memory(
      static_cast<char*>(std::aligned_alloc(BlockFile::kBlock, kPiece * kAtOnce)), &std::free);
  std::memset(memory.get(), 1, kPiece * kAtOnce);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw std::runtime_error("cannot read " + path.string());
  BlockFile file(fd, {path.string(), "stop"});
  std::deque<BlockFile::Request> reading;
  const auto begun = std::chrono::steady_clock::now();
  for (int64_t piece = 0; piece < pieces; ++piece) {
    if (std::ssize(reading) == kAtOnce) {
      file.wait(reading.front());
      reading.pop_front();
    }
    reading.push_back(file.read(piece * kPiece, memory.get() + piece % kAtOnce * kPiece, kPiece));
  }
  for (const BlockFile::Request request : reading) file.wait(request);
  return static_cast<double>(pieces * kPiece) / seconds_since(begun);
}

/// Tokens of a language, frequent ones more often: log-uniform by rank.
class Text {
 public:
  Text(const ModelConfig& config, int64_t languages)
      : size_((config.vocabulary - kFirstId) / languages), key_(7) {}
  int32_t token(int64_t language) {
    const auto rank = static_cast<int64_t>(std::pow(static_cast<double>(size_), key_.uniform(next_++)));
    return static_cast<int32_t>(kFirstId + language * size_ + std::min(rank, size_) - 1);
  }

 private:
  int64_t size_;
  RandomKey key_;
  uint64_t next_ = 0;
};

/// A model, and what translating batches of text with it takes.
class Measurement {
 public:
  explicit Measurement(const Json& options)
      : options_(options), model_(load(options)), text_(model_.model->config(), options["languages"]) {
    decoder_ = make_step_decoder(*model_.model);
  }
  [[nodiscard]] const ExpertStore* experts() const { return model_.experts.get(); }

  /// Of each phase: seconds, and what became of the experts.
  Json batch() {
    const int64_t sentences = options_["sentences"], length = options_["source"];
    std::vector<int32_t> ids;
    for (int64_t b = 0; b < sentences; ++b)
      for (int64_t i = 0; i < length; ++i) ids.push_back(text_.token(language("from", b)));
    const Side side = decoder_->make_side(ids, sentences, length);
    Json facts;
    at::Tensor encoded;
    facts["encoder"] = timed([&] { encoded = decoder_->encode(side); });
    double check = 0;  // the same whatever the memory
    facts["decoder"] = timed([&] { check = decode(encoded, side); });
    facts["check"] = check;
    return facts;
  }

 private:
  static LoadedModel load(const Json& options) {
    const std::filesystem::path path = options["path"].get<std::string>();
    const uint64_t memory = options["memory"];
    return load_model(path, describe_model(path), {},
                      memory > 0 ? memory : std::numeric_limits<uint64_t>::max());
  }
  [[nodiscard]] int64_t language(const char* side, int64_t sentence) const {
    return (options_[side].get<int64_t>() + (options_["mixed"] ? sentence : 0)) %
           options_["languages"].get<int64_t>();
  }
  Json timed(const std::function<void()>& phase) const {
    const ExpertTraffic before = experts() ? experts()->traffic() : ExpertTraffic();
    const auto begun = std::chrono::steady_clock::now();
    phase();
    Json facts = {{"seconds", seconds_since(begun)}};
    if (!experts()) return facts;
    const ExpertTraffic now = experts()->traffic();
    facts["uses"] = now.uses - before.uses;
    facts["hits"] = now.hits - before.hits;
    facts["reads"] = now.reads - before.reads;
    facts["bytes"] = now.bytes - before.bytes;
    facts["waited"] = now.waited - before.waited;
    return facts;
  }
  double decode(const at::Tensor& encoded, const Side& side) {
    const int64_t sentences = encoded.size(0), beam = options_["beam"], target = options_["target"];
    const auto decoding = decoder_->start(encoded, side.attention_mask, target, beam);
    double check = 0;
    for (int64_t step = 0; step < target; ++step) {
      const int64_t rows = step == 0 ? sentences : sentences * beam;
      const at::Tensor tokens = at::empty({rows}, at::kLong),
                       parents = at::empty({sentences * beam}, at::kLong);
      for (int64_t row = 0; row < rows; ++row)
        tokens.mutable_data_ptr<int64_t>()[row] = text_.token(language("to", row * sentences / rows));
      check += decoding->step(tokens)[0].max().item<double>();
      if (step > 0 || beam == 1) continue;
      for (int64_t row = 0; row < sentences * beam; ++row)
        parents.mutable_data_ptr<int64_t>()[row] = row / beam;
      decoding->reorder(parents, {});
    }
    return check;
  }

  Json options_;
  LoadedModel model_;
  Text text_;
  std::unique_ptr<const StepDecoder> decoder_;
};

}  // namespace

/// model: vocabulary, d_model, layers (of each stack), heads, ffn, experts, every; languages; vocabulary: a
/// SentencePiece model; path: the folder, of int4 experts and int8 for the rest, written tensor by tensor.
Work write_random_model(const Json& options) {
  const at::NoGradGuard plain;
  const RandomModel model(options);
  const Vocabulary vocabulary = Vocabulary::load(options["vocabulary"].get<std::string>());
  save_model(options["path"].get<std::string>(), model.config, vocabulary, DType::f32,
             [&](const std::filesystem::path& path) {
               const std::vector<Transfer> transfers = model.transfers();
               write_tensors(path, transfers);
             });
  Work work = {.run = [] {}};
  work.facts["parameters"] = model.catalogue.elements(Role::dense) + model.catalogue.elements(Role::expert);
  return work;
}

/// path, languages (as it was written with); memory: bytes for weights, 0: all mapped; sentences (of a batch), source,
/// target: tokens of a sentence; beam; batches; from, to: languages, each sentence's number added where `mixed`. Tokens
/// of the target are given, not chosen: random weights would choose one and the same.
Work larger_than_memory(const Json& options) {
  const at::NoGradGuard plain;
  Work work = {.run = [] {}};
  const auto begun = std::chrono::steady_clock::now();
  Measurement measurement(options);
  work.facts["load_seconds"] = seconds_since(begun);
  if (const ExpertStore* const experts = measurement.experts()) {
    work.facts["slots"] = experts->slots();
    work.facts["experts"] = experts->experts();
    work.facts["expert_bytes"] = experts->slot_bytes();
    work.facts["rate"] =
        disk_rate(std::filesystem::path(options["path"].get<std::string>()) / "model.safetensors");
  }
  work.facts["batches"] = Json::array();
  for (int64_t i = 0; i < options["batches"]; ++i) work.facts["batches"].push_back(measurement.batch());
  return work;
}

}  // namespace chorus::bench
