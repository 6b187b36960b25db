// Models of which a part of the experts is in memory: the same bits, whatever the part; what goes wrong on the way.
#include "formats/expert_files.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include <ATen/ops/equal.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include "formats/exported.h"
#include "memory/disk_calls.h"
#include "model/step_decoder.h"

namespace chorus {
namespace {

ModelConfig sparse_config() {
  ModelConfig config = tiny_config();
  config.encoder_layers = 4;
  config.d_model = 48;  // experts of some blocks of a file
  config.ffn_dim = 320;
  config.moe = {.experts = 6, .encoder_every = 1, .decoder_every = 1, .top_k = 2};
  return config;
}

struct Bounded : Saved {
  explicit Bounded(const ModelConfig& config = sparse_config(),
                   const std::vector<std::string>& languages = {})
      : Saved(languages, config) {}

  [[nodiscard]] uint64_t bytes() const {
    uint64_t sum = 0;
    const SafetensorsFile file(path / "model.safetensors");
    for (const std::string& name : file.names()) sum += file.get(name).bytes.size();
    return sum;
  }
  LoadedModel load(uint64_t memory, at::ScalarType compute = at::kFloat) const {
    return load_model(path, describe_model(path), {.compute = compute}, memory);
  }
  /// With memory for so many experts.
  LoadedModel with_slots(int64_t slots, at::ScalarType compute = at::kFloat) const {
    const uint64_t most = bytes() - 1;
    const LoadedModel loaded = load(most, compute);
    return load(most - (loaded.experts->slots() - slots) * loaded.experts->slot_bytes(), compute);
  }
};

/// The same model with its weights quantized, by way of transformers.
struct BoundedQuantized : Bounded {
  explicit BoundedQuantized(Quantization experts) : Bounded(config(), {"eng_Latn", "deu_Latn"}) {
    export_model(path, {}, folder / "theirs");
    path = folder / "quantized";
    import_model(folder / "theirs", path, {.experts = experts, .dense = Quantization::int8});
  }
  static ModelConfig config() {
    ModelConfig config = sparse_config();
    config.moe.gate_normalization = GateNormalization::after_drop;
    return config;
  }
};

/// What a model makes of a batch: encoder, two steps of the decoder, and the loss.
struct Outputs {
  at::Tensor encoded, first, second;
  double loss;
  bool operator==(const Outputs& o) const {
    return at::equal(encoded, o.encoded) && at::equal(first, o.first) && at::equal(second, o.second) &&
           loss == o.loss;
  }
};

Outputs outputs_of(Transformer& model, uint64_t seed) {
  constexpr int64_t kRows = 3, kLength = 7;
  const RandomKey key(seed);
  const auto token = [&](uint64_t i) {
    return static_cast<int32_t>(4 + static_cast<int64_t>(key.uniform(i) * 15));
  };
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < kRows * kLength; ++i) ids.push_back(token(i));
  const auto decoder = make_step_decoder(model);
  const Side side = decoder->make_side(ids, kRows, kLength);
  const at::Tensor encoded = decoder->encode(side);
  const auto decoding = decoder->start(encoded, side.attention_mask, 4);
  const at::Tensor now = at::full({kRows}, kEos, at::kLong);
  const at::Tensor first = decoding->step(now).clone();
  const at::Tensor second = decoding->step(first.argmax(1)).clone();
  MicroBatch batch = {.rows = kRows, .source_length = kLength, .target_length = kLength};
  batch.source = batch.target_input = batch.target_labels = ids;
  batch.direction.assign(kRows, 0);
  batch.source_tokens = batch.target_tokens = kRows * kLength;
  const LossSums sums = model.evaluate(model.to_batch(batch), {.dropless = true});
  return {encoded, first, second, sums.loss};
}

TEST(ExpertFiles, ComputeTheSameBitsWhateverIsInMemory) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Bounded saved;
    saved.save(saved.path, type == at::kFloat ? DType::f32 : DType::bf16);
    const LoadedModel whole = load_model(saved.path, {.compute = type});
    std::vector<Outputs> expected;
    for (uint64_t seed = 0; seed < 3; ++seed) expected.push_back(outputs_of(*whole.model, seed));
    for (const int64_t slots : {6, 7, 17, 29}) {
      const LoadedModel bounded = saved.with_slots(slots, type);
      ASSERT_EQ(bounded.experts->slots(), slots);
      EXPECT_EQ(bounded.experts->experts(), 36);
      for (uint64_t seed = 0; seed < 3; ++seed)
        EXPECT_TRUE(outputs_of(*bounded.model, seed) == expected[seed]) << slots;
      const ExpertTraffic traffic = bounded.experts->traffic();
      EXPECT_GT(traffic.uses, traffic.hits);
      EXPECT_GE(traffic.reads, traffic.uses - traffic.hits);
      EXPECT_GE(traffic.bytes, traffic.reads * 2 * 320 * 48 * 2);
    }
  }
}

TEST(ExpertFiles, ComputeTheSameBitsWhereTheyAreQuantized) {
  for (const Quantization type : {Quantization::int4, Quantization::int8}) {
    const BoundedQuantized saved(type);
    for (const at::ScalarType caches : {at::kFloat, at::kBFloat16}) {
      const LoadedModel whole = load_model(saved.path, {.compute = caches});
      for (const int64_t slots : {6, 11, 20}) {
        const LoadedModel bounded = saved.with_slots(slots, caches);
        ASSERT_EQ(bounded.experts->slots(), slots);
        for (uint64_t seed = 0; seed < 3; ++seed)
          EXPECT_TRUE(outputs_of(*bounded.model, seed) == outputs_of(*whole.model, seed)) << slots;
        EXPECT_GT(bounded.experts->traffic().uses, bounded.experts->traffic().hits);
      }
    }
  }
}

TEST(ExpertFiles, AreAllInMemoryWhereThatIsLargeEnough) {
  const Bounded saved;
  EXPECT_EQ(saved.load(saved.bytes()).experts, nullptr);
  EXPECT_EQ(saved.load(saved.bytes() * 2 / 3, at::kBFloat16).experts,
            nullptr);  // by what they take there, not in the file
  saved.save(saved.path, DType::bf16);
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.load(saved.bytes() * 3 / 2); }), "in bfloat16"));
}

TEST(ExpertFiles, AreReadOncePerBatchOfTheEncoder) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(18);
  const auto decoder = make_step_decoder(*bounded.model);
  std::vector<int32_t> ids;
  for (int i = 0; i < 64; ++i) ids.push_back(4 + i % 15);
  for (int64_t batch = 1; batch <= 4; ++batch) {
    static_cast<void>(decoder->encode(decoder->make_side(ids, 8, 8)));
    EXPECT_LE(bounded.experts->traffic().reads, batch * 24);  // experts of the encoder
  }
  EXPECT_LT(bounded.experts->traffic().reads, 4 * 24);  // some stay
}

TEST(ExpertFiles, StayOnceTheyAreThere) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(32);
  static_cast<void>(outputs_of(*bounded.model, 1));
  const int64_t reads = bounded.experts->traffic().reads;
  static_cast<void>(outputs_of(*bounded.model, 1));
  EXPECT_LE(bounded.experts->traffic().reads, reads + 8);
}

TEST(ExpertFiles, ComeWhereTheyAreExpected) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(6);
  const Catalogue& catalogue = bounded.model->catalogue();
  ExpertStore& store = *bounded.experts;
  store.expect(catalogue.decoder[0].block, {0, 3, 0, 1, 0, 0});
  EXPECT_EQ(store.traffic().reads, 2);
  store.borrow(catalogue.decoder[0].block, {0, 1, 0, 2, 0, 0})->wait(3);
  EXPECT_EQ(store.traffic().hits, 2);
  // A guess that is wrong costs reading, and no more; all the room there is goes to what is needed.
  store.expect(catalogue.decoder[1].block, {1, 1, 1, 1, 1, 1});
  const auto loan = store.borrow(catalogue.encoder[0].block, {1, 1, 1, 1, 1, 1});
  for (const int64_t e : loan->order()) loan->wait(e);
  EXPECT_EQ(store.traffic().hits, 2);
}

TEST(ExpertFiles, AreExpectedByTheFirstSentence) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(29);
  const auto decoder = make_step_decoder(*bounded.model);
  static_cast<void>(decoder->encode(decoder->make_side({4, 9, 5}, 1, 3)));
  const ExpertTraffic traffic = bounded.experts->traffic();
  EXPECT_GT(traffic.hits, traffic.uses / 2);
}

TEST(ExpertFiles, ComeBeforeTheyAreNeededWhereAStatisticSaysSo) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(6);
  const Catalogue& catalogue = bounded.model->catalogue();
  const size_t first = catalogue.decoder[0].block, second = catalogue.decoder[1].block;
  // Of 7 with a share the 6 with the largest ones come.
  bounded.experts->warm({{first, {0.1, 0.3, 0, 0.5, 0.1, 0}}, {second, {0.02, 0.48, 0, 0, 0, 0.5}}});
  EXPECT_EQ(bounded.experts->traffic().reads, 6);
  const auto hits = [&](size_t block, const std::vector<int64_t>& rows) {
    const int64_t before = bounded.experts->traffic().hits;
    const auto loan = bounded.experts->borrow(block, rows);
    for (const int64_t e : loan->order()) loan->wait(e);
    return bounded.experts->traffic().hits - before;
  };
  EXPECT_EQ(hits(first, {1, 1, 0, 1, 1, 0}), 4);
  EXPECT_EQ(hits(second, {0, 1, 0, 0, 0, 1}), 2);
}

TEST(ExpertFiles, AStatisticThatIsWrongIsForgotten) {
  const Bounded saved;
  const LoadedModel bounded = saved.with_slots(6);
  const size_t block = bounded.model->catalogue().decoder[0].block,
               other = bounded.model->catalogue().decoder[1].block;
  bounded.experts->warm({{other, {0.2, 0.2, 0.2, 0.2, 0.1, 0.1}}});
  const std::vector<int64_t> rows = {1, 1, 1, 0, 0, 0};
  for (int step = 0; step < 2000; ++step) {
    const auto loan = bounded.experts->borrow(block, rows);
    for (const int64_t e : loan->order()) loan->wait(e);
  }
  EXPECT_EQ(bounded.experts->traffic().reads, 6 + 3);
}

TEST(ExpertFiles, AreUsedByThreadsTogether) {
  const Bounded saved;
  const LoadedModel whole = load_model(saved.path, {}), bounded = saved.with_slots(8);
  std::vector<Outputs> expected;
  for (uint64_t seed = 0; seed < 4; ++seed) expected.push_back(outputs_of(*whole.model, seed));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      for (int i = 0; i < 5; ++i)
        if (!(outputs_of(*bounded.model, seed) == expected[seed])) ++wrong;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ExpertFiles, RefuseTooLittleMemory) {
  const Bounded saved;
  const std::string refusal = message_of<UserError>([&] { saved.load(1000); });
  EXPECT_TRUE(has(refusal, "a memory of 1000 B is too small")) << refusal;
  EXPECT_TRUE(has(refusal, "for the 6 experts of a layer")) << refusal;
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.with_slots(5); }), "is too small"));
  ModelConfig dense = tiny_config();
  dense.moe.experts = 0;
  const Bounded without(dense);
  EXPECT_TRUE(has(message_of<UserError>([&] { without.load(1000); }), "no experts that could stay"));
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.load(saved.bytes() / 3, at::kBFloat16); }),
                  "as the file has them, in float32"));
}

TEST(ExpertFiles, SayWhichExpertIsDamaged) {
  const Bounded saved;
  const std::string name = "model.encoder.layers.2.ffn.experts.expert_3.fc2.weight";
  uint64_t at = 0;
  {
    const SafetensorsFolder folder(saved.path);
    at = folder.place_of(folder.get(name)).offset;
  }
  std::fstream file(saved.path / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at + 7));
  file.put('x');
  file.close();
  const LoadedModel bounded = saved.with_slots(6);  // which does not look at it
  const size_t block = bounded.model->catalogue().encoder[2].block;
  const auto use = [&](const std::vector<int64_t>& rows) {
    const auto loan = bounded.experts->borrow(block, rows);
    for (const int64_t e : loan->order()) loan->wait(e);
  };
  for (int again = 0; again < 2; ++again) {
    const std::string words = message_of<UserError>([&] { use({1, 1, 1, 1, 1, 1}); });
    EXPECT_TRUE(has(words, "damaged: tensor \"" + name + "\"")) << words;
    use({1, 1, 1, 0, 1, 1});
  }
}

/// A disk whose reads fail, or give a block at a time, for as long as a test says so, with io_uring or without.
class ExpertFilesOnABadDisk : public testing::TestWithParam<bool> {
 protected:
  enum class Fault : uint8_t { none, fails, in_parts };

  ExpertFilesOnABadDisk() {
    fault = Fault::none;
    if (!GetParam()) disk_calls().begin = [](unsigned, io_uring*, unsigned) { return -ENOSYS; };
    disk_calls().next = [](io_uring* ring, io_uring_cqe** event, bool wait) {
      const int result = DiskCalls().next(ring, event, wait);
      if (result != 0) return result;
      int& bytes = (*event)->res;
      if (fault == Fault::fails) bytes = -EIO;
      if (fault == Fault::in_parts && bytes > kPart) bytes = kPart;
      return result;
    };
    disk_calls().read = [](int fd, void* data, size_t bytes, off_t offset) -> ssize_t {
      errno = EIO;
      if (fault == Fault::fails) return -1;
      return DiskCalls().read(fd, data, fault == Fault::in_parts ? std::min<size_t>(bytes, kPart) : bytes,
                              offset);
    };
  }
  ~ExpertFilesOnABadDisk() override { disk_calls() = {}; }

  static constexpr int kPart = BlockFile::kBlock;
  static std::atomic<Fault> fault;
};
std::atomic<ExpertFilesOnABadDisk::Fault> ExpertFilesOnABadDisk::fault;

TEST_P(ExpertFilesOnABadDisk, SayThatItFailsAndAreReadAgainOnceItDoesNot) {
  constexpr int kSlots = 8;
  const Bounded saved;
  const LoadedModel whole = load_model(saved.path, {}), bounded = saved.with_slots(kSlots);
  EXPECT_TRUE(outputs_of(*bounded.model, 0) == outputs_of(*whole.model, 0));
  for (int again = 0; again < 2; ++again) {
    fault = Fault::fails;
    const std::string words = message_of<Error>([&] { outputs_of(*bounded.model, 1); });
    EXPECT_EQ(words, "cannot read " + (saved.path / "model.safetensors").string() +
                         ": Input/output error; look at the disk, or restore the file from a copy");
    fault = Fault::none;
    const auto is_told = [&] {  // of what was on its way then, once for each
      try {
        outputs_of(*bounded.model, 1);
      } catch (const Error&) {
        return true;
      }
      return false;
    };
    int told = 0;
    while (is_told()) ASSERT_LE(++told, kSlots);
    EXPECT_TRUE(outputs_of(*bounded.model, 1) == outputs_of(*whole.model, 1));
  }
}

TEST_P(ExpertFilesOnABadDisk, TakeWhatComesInParts) {
  const Bounded saved;
  const LoadedModel whole = load_model(saved.path, {}), bounded = saved.with_slots(8);
  fault = Fault::in_parts;
  for (uint64_t seed = 0; seed < 3; ++seed)
    EXPECT_TRUE(outputs_of(*bounded.model, seed) == outputs_of(*whole.model, seed));
}

INSTANTIATE_TEST_SUITE_P(Engines, ExpertFilesOnABadDisk, testing::Bool());

TEST(ExpertFiles, SayThatTheFileWasCut) {
  const Bounded saved;
  const LoadedModel bounded = load_model(saved.path, {});
  const fs::path cut = saved.folder / "cut";
  const SafetensorsFolder folder(saved.path);
  const size_t block = bounded.model->catalogue().encoder[1].block;
  ExpertFiles files;
  for (size_t p = 0; p < bounded.model->parameters().size(); ++p) {
    const ParameterSpec& spec = bounded.model->catalogue().parameters[p];
    if (spec.block != block || !may_stay_in_file(spec)) continue;
    files.blocks[block].resize(spec.stored.size());
    for (size_t e = 0; e < spec.stored.size(); ++e) {
      const TensorView view = folder.get(spec.stored[e]);
      files.blocks[block][e].push_back(
          {.parameter = p, .offset = folder.place_of(view).offset, .bytes = view.bytes.size()});
    }
  }
  const StoredPart last = files.blocks[block].back().back();
  fs::copy_file(saved.path / "model.safetensors", cut);
  fs::resize_file(cut, last.offset + last.bytes - 1);
  files.names = {cut.string()};
  files.files.push_back(
      std::make_unique<BlockFile>(::open(cut.c_str(), O_RDONLY), BlockFile::Words{cut.string(), "help"}));
  ExpertStore store(*bounded.model, std::move(files), 6);
  const auto loan = store.borrow(block, {1, 0, 0, 0, 1, 1});
  loan->wait(0);
  loan->wait(4);
  const std::string words = message_of<Error>([&] { loan->wait(5); });
  EXPECT_EQ(words, "cannot read " + cut.string() + ": Input/output error; help");
}

}  // namespace
}  // namespace chorus
