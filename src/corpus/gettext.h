// Compiled gettext catalogs (.mo): what programs ship their translated messages in.
//
// The format is that of GNU gettext's manual, "The Format of GNU MO Files": a header, two tables of (length,
// offset), and the strings. Catalogs are untrusted: every number in them is checked before it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline corpus {

/// One message. All text is UTF-8.
struct GettextEntry {
  std::string context;                    // "" when there is none
  std::string id;                         // the message in the program's own language, English by convention
  std::string plural_id;                  // its plural; "" when the message has none
  std::vector<std::string> translations;  // one; or one per plural form of the language
};

struct GettextCatalog {
  std::vector<GettextEntry> entries;  // without the header entry
  std::string charset = "UTF-8";      // what the file was in
  int64_t ill_formed = 0;  // entries left out: not valid in that character set, or of over 16 forms
};

/// Reads a catalog of either byte order, revision 0 or 1, from its bytes; text in another character set
/// (named by the header entry) is converted to UTF-8. `name` is what messages call it. UserError when the
/// bytes are no catalog, when a table or string lies outside them, when strings overlap so that they are much
/// larger than the file, or when the character set is unknown.
GettextCatalog parse_gettext(std::string_view bytes, const std::string& name);

/// A catalog of a folder tree: `.../<locale>/LC_MESSAGES/<domain>.mo`.
struct GettextFile {
  std::filesystem::path path;
  std::string locale;  // as the folder is called: "de", "pt_BR", "sr@latin"
  std::string domain;  // the path without the locale; the same for all translations of one catalog
};

/// All catalogs under `root`, sorted by path. UserError when `root` or a folder in it cannot be listed.
std::vector<GettextFile> find_gettext_files(const std::filesystem::path& root);

/// Whether two names mean the same locale: case, "-" for "_", and a codeset (".UTF-8") make no difference.
bool same_locale(std::string_view a, std::string_view b);

}  // namespace chorus::inline corpus
