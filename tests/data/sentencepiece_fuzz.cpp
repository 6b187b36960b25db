// SentencePiece models: refused with a UserError, or one that encodes, decodes and samples in bounds. An input that
// begins with m says which pieces and options a model has, and then a text; any other is the bytes of a model.
#include <limits>

#include <protozero/pbf_writer.hpp>
#include <sentencepiece_processor.h>

#include "data/piece_sampler.h"
#include "data/sentencepiece.h"
#include "data/vocabulary.h"
#include "fuzz/target.h"

namespace {

using namespace chorus;

std::string built_model(FuzzInput& input) {
  std::string bytes;
  protozero::pbf_writer model(bytes);
  const auto add = [&](std::string_view text, float score, int32_t type) {
    protozero::pbf_writer piece(model, 1);
    piece.add_string(1, text.data(), text.size());
    piece.add_float(2, score);
    piece.add_enum(3, type);
  };
  const uint8_t options = input.number(), count = input.number() % 64;
  add("<unk>", 0, 2);
  for (const char* control : {"<s>", "</s>"}) add(control, 0, 3);
  for (uint8_t i = 0; i < count; ++i) {
    const int8_t score = input.number<int8_t>();
    const uint8_t type = input.number();
    add(input.text(), static_cast<float>(score), type < 0x80 ? 1 : type % 7);
  }
  if ((options & 1) != 0)
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 0, 6);
  {
    protozero::pbf_writer trainer(model, 2);
    trainer.add_enum(3, 1 + (options >> 1 & 1));
    trainer.add_bool(35, (options & 1) != 0);
    trainer.add_bool(24, (options & 4) != 0);
  }
  protozero::pbf_writer normalizer(model, 3);
  normalizer.add_bool(3, (options & 8) != 0);
  normalizer.add_bool(4, (options & 16) != 0);
  normalizer.add_bool(5, (options & 32) != 0);
  return bytes;
}

void use(const std::string& model, std::string_view text) {
  const auto processor = load_sentencepiece(model, "input");
  std::vector<std::string> pieces;
  if (!processor->Encode(text, &pieces).ok()) return;
  check(pieces.size() <= 200 * (text.size() + 1));
  std::string decoded;
  (void)processor->Decode(pieces, &decoded);

  static const TemporaryFolder folder;
  put_file(folder / "model", model);
  const Vocabulary vocabulary = Vocabulary::load(folder / "model");
  const std::vector<int32_t> ids = vocabulary.encode(text);
  const std::vector<int32_t> sampled = PieceSampler(vocabulary).sample(ids, 0.3, RandomKey(text.size()));
  for (const auto* list : {&ids, &sampled})
    for (const int32_t id : *list) check(id >= 3 && id < vocabulary.size());
  (void)vocabulary.decode(sampled);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  accepted([&] {
    if (input.rest().starts_with('m')) {
      input.bytes(1);
      const std::string model = built_model(input);
      use(model, input.rest());
    } else {
      use(std::string(input.rest()), "The ship \xEF\xB7\xBA sails\xE3\x80\x80to \xD0\xB6 x\xC2\xB2 12345.");
    }
  });
  return 0;
}
