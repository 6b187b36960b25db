// Aligned text as people name it: what a SourceConfig leaves open is filled in from the files that exist.
//
//   files = "dev/{lang}.gz", no languages      every language that has such a file
//   files = "train.{pair}.{lang}"              a source for every pair of languages that has both files, such
//                                              as train.en-de.en and train.en-de.de ("en_de" and "de-en" are
//                                              found too)
//
// Run files, `--files` of every command, and vocabularies read their text through this.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/config.h"

namespace chorus::inline data {

struct FindOptions {
  std::span<const std::string> among = {};  // languages that count where the source names none; empty: all
  size_t least = 2;                         // languages of a source
};

/// Returns the sources that `source` stands for, each with its languages. With {pair} that is one per pair of
/// languages, each with those of the directions that lie between the two. UserError beginning with `where` as
/// check_source(), where there are too few files, where one side of a pair is missing, and on a language or a
/// direction that no pair has.
std::vector<SourceConfig> find_sources(const SourceConfig& source, const std::string& where,
                                       const FindOptions& options = {});
/// Finds the sources of a whole list, named as source_label() does.
std::vector<SourceConfig> find_sources(std::span<const SourceConfig> sources, std::string_view list,
                                       const FindOptions& options = {});

/// The languages of a denoising task that has files of its own.
std::vector<std::string> find_languages(const DenoiseConfig& task, const std::string& where);

}  // namespace chorus::inline data
