// Any bytes as a run file: read, or refused with a UserError of one line.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "config/options.h"

namespace {

struct Item {
  std::string name;
};

void describe_item(chorus::Schema& schema, Item& item) {
  schema.add("name", item.name, {.help = "a name"});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string title, label;
  std::vector<std::string> prepare;
  double rate = 0;
  int64_t count = 0;
  std::vector<Item> tables;
  chorus::Schema schema;
  schema.add("title", title, {.help = "a title"});
  schema.add("prepare", prepare, {.help = "a list"});
  schema.section("row", "a row");
  schema.add("label", label, {.help = "a label"});
  schema.add("rate", rate, {.help = "a rate", .min = 0, .max = 1});
  schema.add("count", count, {.help = "a count"});
  schema.list("table", tables, &describe_item, {.help = "tables"});
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    schema.read_text(text, "input");
  } catch (const chorus::UserError& error) {
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();
  }
  try {
    schema.set(text);
  } catch (const chorus::UserError& error) {
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();
  }
  if (!(rate >= 0 && rate <= 1)) std::abort();
  return 0;
}
