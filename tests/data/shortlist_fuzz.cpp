// Shortlists of any types, names and ids, with right checksums, for the right vocabulary or none: refused with a
// UserError, or ascending ids of text.
#include <algorithm>

#include "data/corpus.h"
#include "data/shortlist.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  const Vocabulary& vocabulary = small_vocabulary();
  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  const std::vector<TensorSpec> tensors = {
      {std::string(input.text()),
       (kind & 1) == 0 ? DType::i32 : static_cast<DType>(input.number() % 10),
       {input.number() % 64, 1 + (kind >> 1 & 1)}},
      {"en", DType::i32, {input.number() % 64}}};
  std::map<std::string, std::string> metadata = {{"vocabulary", hash_text(vocabulary.hash())}};
  if ((kind & 4) != 0) metadata = {{std::string(input.text()), std::string(input.text())}};
  std::string file;
  try {
    file = safetensors_of(tensors, metadata, input.rest());
  } catch (const Error&) {
    return 0;  // names that cannot be
  }
  put_file(folder / "list", file);
  for (const char* language : {"en", "de"}) {
    accepted([&] {
      const std::vector<int32_t> list = read_shortlist(folder / "list", vocabulary, language);
      check(!list.empty() && std::ranges::is_sorted(list, std::less_equal()) == std::ranges::is_sorted(list));
      for (const int32_t id : list) check(vocabulary.is_text(id));
    });
  }
  return 0;
}
