#include "state/frozen.h"

#include <algorithm>
#include <set>

#include <fnmatch.h>

#include "base/error.h"
#include "layout/shapes.h"

namespace chorus::inline state {

namespace {

std::set<size_t> routers_of(const Catalogue& catalogue) {
  std::set<size_t> routers;
  for (const SparseLayer& layer : sparse_layers(catalogue)) routers.insert(layer.ffn.router);
  return routers;
}

}  // namespace

std::vector<bool> frozen_parameters(const Catalogue& catalogue, const std::vector<std::string>& patterns) {
  const std::set<size_t> routers = routers_of(catalogue);
  const auto names = [&](const std::string& pattern, size_t p) {
    const ParameterSpec& spec = catalogue.parameters[p];
    if (pattern == "embedding") return p == catalogue.embedding || p == catalogue.output;
    if (pattern == "router") return routers.contains(p);
    if (pattern == "expert") return spec.role == Role::expert;
    if (pattern == "dense") return spec.role == Role::dense;
    return fnmatch(pattern.c_str(), spec.name.c_str(), 0) == 0;
  };
  std::vector<bool> frozen(catalogue.parameters.size());
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (size_t p = 0; p < frozen.size(); ++p) {
      if (!names(pattern, p)) continue;
      frozen[p] = found = true;
    }
    if (!found) {
      throw UserError(
          "train.freeze: '{}' names no parameter of this model; there are embedding, router, expert, dense "
          "and "
          "patterns of names such as {}",
          pattern, catalogue.parameters[catalogue.encoder.front().self_qkv.weight].name);
    }
  }
  if (std::ranges::find(frozen, false) == frozen.end())
    throw UserError("train.freeze leaves nothing to train");
  return frozen;
}

}  // namespace chorus::inline state
