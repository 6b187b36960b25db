// Any bytes as config.json, vocab.json, tokenizer_config.json, tokenizer.json or added_tokens.json of a
// folder: refused with a UserError, or read as something that holds together. The first byte says which.
#include <cstdint>
#include <cstdlib>

#include "architecture/format.h"
#include "base/error.h"
#include "data/corpus.h"
#include "io/files.h"
#include "io/json.h"

#include "formats/internal/tokenizer_files.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void read_config(std::string_view text) {
  const chorus::ModelConfig config = chorus::model_config_from_json(chorus::parse_json(text, "input"));
  check(config.d_model % config.attention_heads == 0 && config.vocabulary > 0);
  check(chorus::to_json(chorus::model_config_from_json(chorus::to_json(config))) == chorus::to_json(config));
  for (const chorus::Architecture* architecture : chorus::architectures()) {
    try {
      (void)chorus::to_json(config, architecture->format);
    } catch (const chorus::UserError&) {
    }
  }
}

/// A folder whose tokenizer consists of a small SentencePiece model and `file`.
void read_tokenizer(const char* file, std::string_view text) {
  static const chorus::TemporaryFolder folder;
  static const std::string model = chorus::small_vocabulary().sentencepiece();
  const auto path = folder / file;
  chorus::write_text(folder / "sentencepiece.bpe.model", model);
  chorus::write_text(path, std::string(text));
  try {
    const chorus::Vocabulary vocabulary = chorus::read_tokenizer(folder.path(), 1 << 20);
    check(!vocabulary.languages().empty());
    for (const std::string& language : vocabulary.languages())
      check(vocabulary.tag(language) < vocabulary.size() && vocabulary.is_tag(vocabulary.tag(language)));
    for (const int32_t id : vocabulary.encode("abc __de__ xyz"))
      check(id >= 3 && id < vocabulary.size() && !vocabulary.is_tag(id));
  } catch (const chorus::UserError&) {
  }
  std::filesystem::remove(path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (static_cast<uint8_t>(data[0] - 0x30) % 5) {
      case 0:
        read_config(text);
        break;
      case 1:
        read_tokenizer("vocab.json", text);
        break;
      case 2:
        read_tokenizer("tokenizer_config.json", text);
        break;
      case 3:
        read_tokenizer("tokenizer.json", text);
        break;
      default:
        read_tokenizer("added_tokens.json", text);
    }
  } catch (const chorus::UserError&) {
  }
  return 0;
}
