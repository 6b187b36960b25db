#include "chorus/prune.h"

#include "formats/folder.h"
#include "surgery/models.h"
#include "surgery/prune.h"

namespace chorus::inline face {

double prune(const std::filesystem::path& model, double keep, const PruneText& text,
             const std::filesystem::path& out) {
  if (!(keep > 0 && keep <= 1))
    throw UserError("keep = {}: it is the part of the experts to keep, above 0 and at most 1", keep);
  check_absent(out);
  const SourceConfig source = {.name = text.files, .files = text.files, .directions = text.directions};
  const LoadedModel loaded = load_model(model, {});
  const std::vector<DirectionText> texts =
      read_directions({&source, 1}, text.sentences, loaded.vocabulary.languages());
  const std::vector<ExpertUsage> usage = measure_usage(*loaded.model, loaded.vocabulary, texts, {});
  const bool adapts = !loaded.model->config().quantization.any();
  Refit refit;
  if (adapts) {
    refit = [&](const std::filesystem::path& folder) {
      const LoadedModel pruned = load_model(folder, {});
      return refit_outputs(*pruned.model, *loaded.model, loaded.vocabulary, texts, {});
    };
  }
  const PruneReport report = prune_model(
      model, usage, {.keep = keep, .method = adapts ? PruneMethod::merge : PruneMethod::drop}, out, refit);
  return static_cast<double>(report.bytes_after) / static_cast<double>(report.bytes_before);
}

}  // namespace chorus::inline face
