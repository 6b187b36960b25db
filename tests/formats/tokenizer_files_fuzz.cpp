// Any bytes as the files of a folder's tokenizer, parted by 0xFF: tokenizer_config.json, tokenizer.json,
// added_tokens.json, special_tokens_map.json, vocab.json; those that are empty are not there. Refused with a UserError,
// or a vocabulary that holds together. The first byte says whose tokenizer it is.
#include <filesystem>

#include "data/corpus.h"
#include "data/t5_model.h"
#include "fuzz/target.h"

#include "formats/internal/tokenizer_files.h"

namespace {

using namespace chorus;

/// Of NLLB or M2M100, T5, MADLAD and OPUS-MT.
constexpr size_t kKinds = 4;

const std::filesystem::path& folder_of(size_t kind) {
  static const TemporaryFolder folder;
  static const std::vector<std::filesystem::path> folders = [] {
    std::vector<std::filesystem::path> made;
    for (size_t i = 0; i < kKinds; ++i) {
      made.push_back(folder / std::to_string(i));
      std::filesystem::create_directory(made.back());
    }
    put_file(made[0] / "sentencepiece.bpe.model", small_vocabulary().sentencepiece());
    put_file(made[1] / "spiece.model", t5_model());
    put_file(made[2] / "spiece.model", madlad_model());
    for (const char* side : {"source.spm", "target.spm"}) put_file(made[3] / side, t5_model());
    return made;
  }();
  return folders[kind];
}

void use(const Vocabulary& vocabulary) {
  for (const std::string& language : vocabulary.languages()) {
    const int32_t tag = vocabulary.tag(language);
    check(tag < vocabulary.size() && (tag == kNoTag || vocabulary.is_tag(tag)));
  }
  const std::vector<int32_t> ids = vocabulary.encode("abc __de__ xyz <extra_id_0> the park");
  for (const int32_t id : ids) check(id >= 0 && id < vocabulary.size() && !vocabulary.is_tag(id));
  (void)vocabulary.decode(ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const size_t kind = input.number() % kKinds;
  const std::filesystem::path& folder = folder_of(kind);
  for (const char* name : {"tokenizer_config.json", "tokenizer.json", "added_tokens.json",
                           "special_tokens_map.json", "vocab.json"}) {
    if (const std::string_view text = input.text(); text.empty())
      std::filesystem::remove(folder / name);
    else
      put_file(folder / name, text);
  }
  accepted([&] {
    use(read_tokenizer(folder, 1 << 20,
                       kind == 3   ? TokenIds::marian
                       : kind == 0 ? TokenIds::fairseq
                                   : TokenIds::t5));
  });
  return 0;
}
