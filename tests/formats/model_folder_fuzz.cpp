// Any bytes as config.json and chorus.json of a native model folder, parted by 0xFF: refused with a UserError, or a
// description whose parts fit.
#include "data/corpus.h"
#include "formats/folder.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  [[maybe_unused]] static const bool made = [] {
    put_file(folder / "sentencepiece.bpe.model", small_vocabulary().sentencepiece());
    return true;
  }();
  FuzzInput input(data, size);
  put_file(folder / "config.json", input.text());
  if (input.rest().empty())
    std::filesystem::remove(folder / "chorus.json");
  else
    put_file(folder / "chorus.json", input.rest());
  accepted([] {
    const ModelDescription model = describe_model(folder.path());
    check(model.vocabulary.size() <= model.config.vocabulary);
    for (const int32_t id : model.vocabulary.encode("abc de")) check(id < model.vocabulary.size());
  });
  return 0;
}
