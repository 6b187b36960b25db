// Any bytes as a run file, or as the state of a run in a checkpoint: refused with a UserError, or settings that are the
// same there and back. The first byte says which.
#include <nlohmann/json.hpp>

#include "fuzz/target.h"
#include "io/json.h"
#include "train/config.h"
#include "train/state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  FuzzInput input(data, size);
  if (input.number() % 2 == 0) {
    RunConfig config;
    Schema schema;
    describe(schema, config);
    if (!accepted([&] { schema.read_text(input.rest(), "input"); })) return 0;
    try {
      check(config);
    } catch (const UserError&) {  // names stand in it as the user wrote them: who prints makes a line of it
    }
  } else {
    accepted([&] {
      const TrainState state = train_state_from_json(parse_json(input.rest(), "input"), "input");
      check(to_json(train_state_from_json(to_json(state), "again")) == to_json(state));
    });
  }
  return 0;
}
