// Any bytes as config.json: refused with a UserError, or a configuration that holds together and is the same there and
// back.
#include "architecture/format.h"
#include "fuzz/target.h"
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  accepted([&] {
    const ModelConfig config = model_config_from_json(parse_json(FuzzInput(data, size).rest(), "input"));
    check((config.head_dim > 0 || config.d_model % config.attention_heads == 0) && config.vocabulary > 0);
    check(to_json(model_config_from_json(to_json(config))) == to_json(config));
    for (const Architecture* architecture : architectures())
      accepted([&] { (void)to_json(config, architecture->format); });
  });
  return 0;
}
