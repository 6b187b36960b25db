#include "chorus/vocabulary.h"

#include "base/error.h"
#include "base/utf8.h"
#include "formats/folder.h"
#include "formats/place.h"

#include "inference/internal/loaded.h"

namespace chorus::inline face {

struct ModelVocabulary::State {
  Vocabulary vocabulary;

  void check(int32_t id) const {
    if (id < 0 || id >= vocabulary.size())
      throw UserError("{} is no token: the vocabulary has ids from 0 to {}", id, vocabulary.size() - 1);
  }
};

ModelVocabulary::ModelVocabulary(const std::filesystem::path& folder)
    : state_(
          std::make_shared<const State>(State{describe_model(find_model(folder).description).vocabulary})) {}

ModelVocabulary::ModelVocabulary(const Model& model)
    : state_(std::make_shared<const State>(State{model.loaded().vocabulary})) {}

int64_t ModelVocabulary::size() const {
  return state_->vocabulary.size();
}

std::vector<std::string> ModelVocabulary::languages() const {
  return state_->vocabulary.languages();
}

std::vector<int32_t> ModelVocabulary::encode(const std::string& text, const std::string& language) const {
  if (!is_valid_utf8(text)) throw UserError("the text is not UTF-8");
  const Vocabulary& vocabulary = state_->vocabulary;
  if (language.empty()) return vocabulary.encode(text);
  static_cast<void>(vocabulary.language(language));
  return vocabulary.written_in(language).encode(text);
}

std::string ModelVocabulary::decode(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) state_->check(id);
  return state_->vocabulary.decode(ids);
}

std::string ModelVocabulary::piece(int32_t id) const {
  state_->check(id);
  return state_->vocabulary.name_of(id);
}

int32_t ModelVocabulary::tag(const std::string& language) const {
  return state_->vocabulary.tag(language);
}

}  // namespace chorus::inline face
