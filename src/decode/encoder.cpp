#include "decode/encoder.h"

#include <algorithm>

#include "data/batch.h"
#include "data/batches.h"

#include "decode/internal/pairs.h"

namespace chorus::inline decode {

std::vector<EncodedSource> encode_sources(Transformer& model, std::span<const SentencePair> pairs,
                                          int64_t batch_tokens) {
  const Catalogue& catalogue = model.catalogue();
  const auto in_encoder =
      std::ranges::count_if(catalogue.encoder, [](const LayerIndex& l) { return l.ffn.sparse; });
  const auto on_host = [](const at::Tensor& x) { return x.to(at::kCPU, at::kFloat).contiguous(); };
  std::vector<EncodedSource> encoded(pairs.size());
  for_each_batch(
      pairs, batch_tokens, [&](std::span<const size_t> which, std::span<const SentencePair> batch) {
        const MicroBatch ids = make_batch(batch);
        const Batch on_device = model.to_batch(ids);
        std::vector<RoutingRecord> routings(catalogue.sparse_layers());
        const at::Tensor states = on_host(model.encode(on_device.source, &routings));
        std::vector<at::Tensor> routers;
        for (int64_t layer = 0; layer < in_encoder; ++layer)
          routers.push_back(on_host(routings[layer].probabilities).view({ids.rows, ids.source_length, -1}));
        for (int64_t row = 0; row < ids.rows; ++row) {
          EncodedSource& one = encoded[which[row]];
          const auto first = ids.source.begin() + row * ids.source_length;
          one.ids.assign(first, std::find(first, first + ids.source_length, kPad));
          const auto own = [&](const at::Tensor& x) { return x[row].narrow(0, 0, std::ssize(one.ids)); };
          one.states = own(states);
          for (const at::Tensor& router : routers) one.routers.push_back(own(router));
        }
      });
  return encoded;
}

}  // namespace chorus::inline decode
