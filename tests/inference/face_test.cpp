// The public face for models that are there: that it hands on what the rooms below compute.
#include <algorithm>
#include <iterator>

#include <chorus/chorus.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "decode/fixtures.h"
#include "formats/saved_model.h"
#include "model/step_decoder.h"

namespace chorus {
namespace {

const std::vector<std::string> kTexts = {"ab cd ef gh ij kl mn op", "", "xy"};

/// A folder of weights that choose.
const Saved& saved() {
  struct Choosing : Saved {
    Choosing() {
      model = opinionated_model(model->config(), 2);
      save(path);
    }
  };
  static const Choosing made;
  return made;
}

TEST(FaceEncoder, GivesWhatDecodingStartsFrom) {
  const Model model(saved().path);
  const Encoder encoder(model, "en", "de");
  const std::vector<EncodedText> encoded = encoder.encode(kTexts);
  ASSERT_EQ(encoded.size(), kTexts.size());
  const auto decoder = make_step_decoder(*saved().model);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    std::vector<int32_t> ids = {saved().vocabulary.tag("en")};
    std::ranges::copy(saved().vocabulary.encode(kTexts[i]), std::back_inserter(ids));
    ids.push_back(kEos);
    const std::vector<float>& states = encoded[i].states;
    ASSERT_EQ(encoded[i].tokens.size(), ids.size());
    ASSERT_EQ(std::ssize(states), std::ssize(ids) * encoder.width());
    EXPECT_EQ(encoded[i].tokens.front(), "__en__");
    EXPECT_EQ(encoded[i].tokens.back(), "</s>");
    const at::Tensor alone =
        decoder->encode(decoder->make_side(ids, 1, std::ssize(ids))).reshape({-1}).contiguous();
    for (size_t k = 0; k < states.size(); ++k)
      ASSERT_NEAR(states[k], alone.const_data_ptr<float>()[k], 1e-4) << "text " << i << ", number " << k;
  }
}

TEST(FaceEncoder, NamesMoELayersAndTheirProbabilities) {
  const Encoder encoder(Model(saved().path), "en", "de");
  const std::vector<EncodedText> together = encoder.encode(kTexts);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const EncodedText alone = encoder.encode({kTexts[i]}).front();
    ASSERT_EQ(together[i].routers.size(), 1U);  // every second layer
    const RouterProbabilities& router = together[i].routers.front();
    EXPECT_EQ(router.layer, "encoder.layers.1");
    ASSERT_EQ(router.experts, 4);
    ASSERT_EQ(router.probabilities.size(), together[i].tokens.size() * 4);
    for (size_t k = 0; k < router.probabilities.size(); k += 4) {
      double sum = 0;
      for (size_t e = k; e < k + 4; ++e) {
        sum += router.probabilities[e];
        EXPECT_NEAR(router.probabilities[e], alone.routers.front().probabilities[e], 1e-5);
      }
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

TEST(FaceEncoder, RefusesWhatIsNoTextAndWhatIsTooLong) {
  const Encoder encoder(Model(saved().path), "en", "de");
  EXPECT_EQ(message_of<UserError>([&] { return encoder.encode({"a", "\xff"}); }), "text 2: it is not UTF-8");
  std::string longer;
  for (int i = 0; i < 200; ++i) longer += "ab ";
  EXPECT_THROW(static_cast<void>(encoder.encode({longer})), UserError);
  EXPECT_THROW(Encoder(Model(saved().path), "en", "zz"), UserError);
}

TEST(FaceTranslator, AlignsWhenAsked) {
  const Model model(saved().path);
  const Translator plain(model, "en", "de"), aligning(model, "en", "de", {.alignment = true});
  const auto without = plain.nbest(kTexts), with = aligning.nbest(kTexts);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    EXPECT_EQ(without[i].front().text, with[i].front().text);
    EXPECT_TRUE(without[i].front().alignment.empty());
    int64_t words = 0;
    for (const std::string_view word : split(with[i].front().text, ' ')) words += word.empty() ? 0 : 1;
    EXPECT_EQ(std::ssize(with[i].front().alignment), words);
  }
}

TEST(FaceTranslator, IsEndedBetweenTwoSteps) {
  struct Enough {};
  int steps = 0;
  const Translator translator(Model(saved().path), "en", "de", {.before_step = [&] {
                                if (++steps == 3) throw Enough();
                              }});
  EXPECT_THROW(static_cast<void>(translator.translate(kTexts.front())), Enough);
  EXPECT_EQ(steps, 3);
  EXPECT_EQ(translator.translate(kTexts.front()),
            Translator(Model(saved().path), "en", "de").translate(kTexts.front()));
  EXPECT_GT(steps, 4);
}

TEST(FaceTranslator, RefusesTermsThatAreNone) {
  using Terms = std::vector<std::pair<std::string, std::string>>;
  const Model model(saved().path);
  for (const Terms& terms : {Terms{{"", "ab"}}, {{" ", "ab"}}, {{"ab", ""}}, {{"ab", "cd"}, {"ab", "ef"}}})
    EXPECT_THROW(Translator(model, "en", "de", {.terms = terms}), UserError);
}

TEST(FaceMetrics, RefuseWhatCannotBeScored) {
  EXPECT_THROW(bleu({}, {}), UserError);
  EXPECT_THROW(chrf({"a"}, {"a", "b"}), UserError);
  for (const int order : {-1, 11, 1'000'000'000}) EXPECT_THROW(chrf({"a"}, {"a"}, order), UserError);
  EXPECT_EQ(chrf({"a b c d e f"}, {"a b c d e f"}, 10), 100);
}

TEST(FaceVocabulary, ReadsNoWeights) {
  const TemporaryFolder folder;
  fs::copy(saved().path, folder / "model", fs::copy_options::recursive);
  fs::remove(folder / "model/model.safetensors");
  forget_manifest(folder / "model");
  const ModelVocabulary vocabulary(folder / "model");
  const std::vector<int32_t> ids = vocabulary.encode(kTexts.front());
  EXPECT_EQ(ids, saved().vocabulary.encode(kTexts.front()));
  EXPECT_EQ(ids, ModelVocabulary(Model(saved().path)).encode(kTexts.front(), "de"));
  EXPECT_EQ(vocabulary.decode(ids), kTexts.front());
  EXPECT_EQ(vocabulary.piece(vocabulary.tag("de")), "__de__");
  EXPECT_EQ(vocabulary.size(), saved().vocabulary.size());
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"de", "en"}));
  for (const int32_t wrong : {-1, static_cast<int32_t>(vocabulary.size())}) {
    EXPECT_THROW(static_cast<void>(vocabulary.piece(wrong)), UserError);
    EXPECT_THROW(static_cast<void>(vocabulary.decode(std::vector{wrong})), UserError);
  }
  EXPECT_THROW(static_cast<void>(vocabulary.encode("\xff")), UserError);
  EXPECT_THROW(static_cast<void>(vocabulary.encode("a", "zz")), UserError);
}

TEST(FaceModel, RefusesDevicesAndSizesThatAreNone) {
  EXPECT_THROW(Model(saved().path, {.device = "abacus"}), UserError);
  EXPECT_EQ(parse_memory("8GB"), 8'000'000'000U);
  EXPECT_GT(parse_memory("auto"), 0U);
  EXPECT_THROW(parse_memory("much"), UserError);
  EXPECT_THROW(Model(saved().path, {.memory = 1}), UserError);
}

TEST(FaceScorer, RefusesWhatIsNoText) {
  const Scorer scorer(Model(saved().path), "en", "de");
  EXPECT_EQ(message_of<UserError>([&] { return scorer.score({"a"}, {"\xff"}); }),
            "target 1: it is not UTF-8");
}

TEST(FaceMetrics, TakeATokenizer) {
  const std::vector<std::string> made = {"ab cd ef gh"}, wanted = {"ab cd ef gx"};
  EXPECT_NE(bleu(made, wanted), bleu(made, wanted, "char"));
  EXPECT_THROW(bleu(made, wanted, "moses"), UserError);
}

}  // namespace
}  // namespace chorus
