// Any bytes as a TSV file of three languages, or as two files: refused with a UserError, or rows whose good cells are
// text, and whose lines are all counted.
#include "base/utf8.h"
#include "data/parallel_text.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  FuzzInput input(data, size);
  TextSource source;
  if (input.number() % 2 == 0) {
    source = {.languages = {"a", "b", "c"}, .files = {folder / "rows.tsv"}};
    put_file(source.files[0], input.rest());
  } else {
    source = {.languages = {"a", "b"}, .files = {folder / "text.a", folder / "text.b"}};
    put_file(source.files[0], input.text());
    put_file(source.files[1], input.rest());
  }
  accepted([&] {
    ParallelReader reader(source, 64);
    int64_t rows = 0;
    while (reader.next()) {
      check(reader.row() == ++rows && reader.cells().size() == source.languages.size());
      for (const Cell& cell : reader.cells()) {
        check((cell.status == CellStatus::ok) == !cell.text.empty());
        check(is_valid_utf8(cell.text) && trim_space(cell.text) == cell.text && cell.text.size() <= 64);
      }
    }
    for (const CellCounts& counts : reader.counts()) {
      check(counts.lines == rows && counts.lines == counts.ok + counts.empty.count +
                                                        counts.invalid_utf8.count + counts.over_long.count +
                                                        counts.misshapen.count);
      for (const std::string& line : summary(counts)) check(line.find('\n') == line.npos);
    }
  });
  return 0;
}
