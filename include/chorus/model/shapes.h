// The catalogue of a model that is only reckoned with.
#pragma once

#include "chorus/model/catalogue.h"

namespace chorus {

/// make_catalogue() without the names on disk of experts, which for a hundred thousand of them take
/// gigabytes.
Catalogue shapes_of(ModelConfig model);

}  // namespace chorus
