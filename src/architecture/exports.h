// Which classes of transformers can compute a model.
#pragma once

#include <string>
#include <vector>

#include "architecture/format.h"

namespace chorus::inline architecture {

/// Every reason why the format's class cannot compute what this model does; none: `chorus export` writes it.
std::vector<std::string> reasons_against(const ModelConfig& config, Format format);
/// UserError with all of them.
void check_exportable(const ModelConfig& config, Format format);

/// A line to show before training: the formats that the model can be exported to, and for the others of its
/// kind, why it cannot.
std::string describe_exports(const ModelConfig& config);

}  // namespace chorus::inline architecture
