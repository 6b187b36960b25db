// Token stores whose checksums are right, with any numbers in header, directory and blocks: refused, or every cell can
// be read. What is refused is built anew, which fails, as the text is an archive.
#include "data/corpus.h"
#include "data/token_store.h"
#include "fuzz/target.h"

#include "data/internal/store_stamp.h"

namespace {

using namespace chorus;

struct Header {
  char magic[8];
  uint32_t version, id_bytes, columns, block_rows;
  uint64_t rows, tail, tail_bytes, tail_hash, header_hash;
};

template <class T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const TemporaryFolder folder;
  static const SourceConfig source = {.files = (folder / "text.{lang}").string(), .languages = {"en", "de"}};
  static const StoreStamp stamp = [] {
    for (const char* name : {"text.en", "text.de"}) put_file(folder / name, "PK\3\4 an archive");
    return StoreStamp({{"en", "de"}, {folder / "text.en", folder / "text.de"}}, small_vocabulary());
  }();
  static const std::string stamp_json = stamp.json();
  std::filesystem::create_directory(folder / "store");

  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  Header header = {.magic = {'c', 'h', 'o', 'r', 'T', 'O', 'K', 'S'},
                   .version = 1,
                   .id_bytes = 2,
                   .columns = 2,
                   .block_rows = 1024,
                   .rows = input.number<uint16_t>()};
  if ((kind & 1) != 0) header.id_bytes = 4;
  if ((kind & 2) != 0) header.rows = input.number<uint64_t>();
  std::string tail;  // the directory: of each block its place
  const size_t blocks = input.number() % 4;
  std::vector<uint64_t> offsets;
  uint64_t end = sizeof header;
  std::vector<std::string> contents;
  for (size_t i = 0; i < blocks; ++i) {
    contents.emplace_back(input.bytes(input.number<uint16_t>())).resize((contents.back().size() + 7) / 8 * 8);
    offsets.push_back((kind & 4) != 0 && i == 0 ? input.number<uint64_t>() : end);
    end += contents.back().size();
    const uint64_t hash = hash_bytes(std::string_view(contents.back()));
    tail.append(bytes_of(offsets.back())).append(bytes_of(hash));
  }
  tail += (kind & 8) != 0 ? input.rest() : stamp_json;
  header.tail = (kind & 16) != 0 ? input.number<uint64_t>() : end;
  header.tail_bytes = tail.size();
  header.tail_hash = hash_bytes(std::string_view(tail));
  header.header_hash = hash_bytes(bytes_of(header).substr(0, offsetof(Header, header_hash)));
  std::string file(bytes_of(header));
  for (const std::string& block : contents) file += block;
  put_file(folder / ("store/" + stamp.name() + ".tokens"), file + tail);

  accepted([] {
    const TokenStore store =
        TokenStore::open(source, "fuzz", small_vocabulary(), folder / "store", {.threads = 1});
    for (int64_t row = 0; row < store.rows(); ++row)
      for (int64_t column = 0; column < store.columns(); ++column) {
        (void)store.status(row, column);
        try {
          check(std::cmp_equal(store.read(row, column).size(), store.length(row, column)));
        } catch (const UserError&) {
          throw;
        } catch (const Error&) {  // an id beyond the vocabulary
        }
      }
  });
  return 0;
}
