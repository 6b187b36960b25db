// A many-way parallel corpus out of the translated messages of programs.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "corpus/gettext.h"

namespace chorus::inline corpus {

struct GettextCorpusOptions {
  std::filesystem::path root;          // searched for */<locale>/LC_MESSAGES/*.mo
  std::vector<std::string> languages;  // at least two; "en" is the language of the messages themselves
  int64_t valid = 1000;                // rows
  int64_t test = 1000;                 // rows
  uint64_t seed = 1;                   // of the split
  size_t max_characters = 400;         // longer strings are dropped
};

/// What became of the messages of one language: found is the sum of all others.
struct GettextTally {
  std::string language;
  int64_t found = 0;
  int64_t train = 0, valid = 0, test = 0;  // kept, in each split
  // Dropped:
  int64_t empty = 0;         // not translated yet
  int64_t ill_formed = 0;    // not valid in the catalog's character set
  int64_t no_letters = 0;    // it or its English is only digits, symbols and placeholders
  int64_t over_long = 0;     // it or its English
  int64_t untranslated = 0;  // three words or more of English left as they are
  int64_t duplicate = 0;     // another message has the same English, up to case, white space and punctuation
  int64_t held_out = 0;      // like a row of valid or test, up to numbers too, and so left out of train
  int64_t alone = 0;         // no other language asked for has the message
};

/// Aligned text: line i of every language is the same message, an empty line where the language lacks it.
struct GettextSplit {
  std::string name;  // "train", "valid" or "test"
  int64_t rows = 0;
  std::vector<std::string> text;  // [languages] each `rows` lines
};

struct GettextCorpus {
  std::vector<std::string> languages;
  std::array<GettextSplit, 3> splits;  // train, valid, test
  std::vector<GettextTally> tallies;   // [languages]
  int64_t catalogs = 0;                // files read
};

/// Reads the catalogs and joins them by (catalog, context, message): a plural message gives its plural with
/// the last form of the translation, and with exactly two forms also the singular. Strings are cleaned (see
/// ui_text.h) and filtered as in GettextTally. Messages whose English has the same letters and digits
/// (fold_text) become one row: the spelling with most translations, each language's most frequent translation
/// of it.
///
/// The split is made on the English letters alone (fold_letters) by a keyed hash, whole classes at a time, so
/// that no English string of valid or test is in train, not even in another case, spacing, punctuation or
/// with other numbers. What a language has in valid or test does not stand in its lines of train either (same
/// folding), nor does an English string of valid or test stand in any language's. A row of valid or test has
/// three words of English or more and is translated into all languages, or, where that leaves too few to
/// choose from, into as many as needed, at least half.
///
/// The result depends on the catalogs and the options alone. UserError when a language is not there (naming
/// those that are), a catalog is damaged, or too few rows qualify for valid and test.
GettextCorpus build_gettext_corpus(const GettextCorpusOptions& options);

/// Writes OUT/<split>.<language>, each file whole or not at all; files that hold the same bytes already are
/// left alone. OUT/.gettext.json records what was written. A file that would change and is not as recorded is
/// not this command's to replace: UserError, as for a link. Unless `overwrite`, UserError also when a
/// recorded file would change or does not belong to this corpus; with it, such files are replaced or removed.
/// Other files stay.
void write_gettext_corpus(const GettextCorpus& corpus, const std::filesystem::path& out, bool overwrite);

/// Return the numbers as text for a terminal, and as JSON.
std::string to_table(const GettextCorpus& corpus);
std::string to_json(const GettextCorpus& corpus);

}  // namespace chorus::inline corpus
