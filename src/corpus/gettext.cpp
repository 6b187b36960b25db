#include "corpus/gettext.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <unicode/ucnv.h>
#include <unicode/unistr.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"

namespace chorus::inline corpus {
namespace {

constexpr uint32_t kMagic = 0x950412DE;
constexpr size_t kHeaderBytes = 28;
/// Strings may share bytes, but a file whose strings add up to more than this many times its size was made to
/// fill memory.
constexpr uint64_t kMaxOverlap = 8;

/// The file's bytes, and where things are in them.
class MoFile {
 public:
  MoFile(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {
    if (bytes.size() < kHeaderBytes) refuse("too short for a gettext catalog");
    const uint32_t magic = word(0);
    swapped_ = magic == __builtin_bswap32(kMagic);
    if (magic != kMagic && !swapped_) refuse("not a gettext catalog (.mo)");
    if (word(4) >> 16 > 1) refuse("a gettext catalog of an unknown revision");
    count_ = word(8);
    ids_ = word(12);
    translations_ = word(16);
    for (const uint64_t table : {ids_, translations_}) {
      if (table + count_ * uint64_t{8} > bytes.size())
        refuse("a damaged gettext catalog: a table lies beyond the end of the file");
    }
  }

  [[nodiscard]] uint32_t count() const { return count_; }
  std::string_view id(uint32_t i) { return string(ids_ + i * uint64_t{8}); }
  std::string_view translation(uint32_t i) { return string(translations_ + i * uint64_t{8}); }

 private:
  [[noreturn]] void refuse(const char* what) const { throw UserError("{}: {}", name_, what); }

  [[nodiscard]] uint32_t word(uint64_t offset) const {
    uint32_t value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return swapped_ ? __builtin_bswap32(value) : value;
  }

  std::string_view string(uint64_t table_row) {
    const uint64_t length = word(table_row), offset = word(table_row + 4);
    if (offset + length > bytes_.size())
      refuse("a damaged gettext catalog: a string lies beyond the end of the file");
    total_ += length;
    if (total_ > kMaxOverlap * bytes_.size()) refuse("a damaged gettext catalog: its strings overlap");
    return bytes_.substr(offset, length);
  }

  std::string_view bytes_;
  const std::string& name_;
  bool swapped_ = false;
  uint32_t count_ = 0;
  uint64_t ids_ = 0, translations_ = 0, total_ = 0;
};

/// Text of a catalog's character set as UTF-8; nothing when it is ill-formed. (Half a pair, which a few sets
/// such as SCSU can write, becomes U+FFFD.)
class Decoder {
 public:
  explicit Decoder(const std::string& charset, const std::string& name) {
    if (ucnv_compareNames(charset.c_str(), "UTF-8") == 0 || charset == "CHARSET")
      return;  // CHARSET: never filled in
    UErrorCode status = U_ZERO_ERROR;
    converter_.reset(ucnv_open(charset.c_str(), &status));
    if (U_FAILURE(status)) throw UserError("{}: unknown character set {}", name, one_line(charset));
    ucnv_setToUCallBack(converter_.get(), UCNV_TO_U_CALLBACK_STOP, nullptr, nullptr, nullptr, &status);
  }

  [[nodiscard]] std::optional<std::string> operator()(std::string_view text) const {
    if (converter_ == nullptr) return is_valid_utf8(text) ? std::optional<std::string>(text) : std::nullopt;
    UErrorCode status = U_ZERO_ERROR;
    const icu::UnicodeString wide(text.data(), static_cast<int32_t>(text.size()), converter_.get(), status);
    if (U_FAILURE(status)) return std::nullopt;
    std::string result;
    wide.toUTF8String(result);
    return result;
  }

 private:
  struct Close {
    void operator()(UConverter* converter) const { ucnv_close(converter); }
  };
  std::unique_ptr<UConverter, Close> converter_;  // none for UTF-8
};

/// "...; charset=ISO-8859-1\n..." of the header entry's text.
std::string charset_of(std::string_view header) {
  constexpr std::string_view kName = "charset=";
  const size_t begin = header.find(kName);
  if (begin == std::string_view::npos) return "UTF-8";
  const std::string_view rest = header.substr(begin + kName.size());
  return std::string(rest.substr(0, std::min(rest.find_first_of(" \t\r\n;\0"), rest.size())));
}

constexpr size_t kMostForms = 16;  // of a plural; Arabic has 6

/// Cuts at NUL bytes; nothing when there are too many.
std::vector<std::string> split_forms(std::string_view text) {
  std::vector<std::string> forms;
  if (std::cmp_greater_equal(std::ranges::count(text, '\0'), kMostForms)) return forms;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    forms.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return forms;
}

}  // namespace

GettextCatalog parse_gettext(std::string_view bytes, const std::string& name) {
  MoFile file(bytes, name);
  GettextCatalog catalog;
  for (uint32_t i = 0; i < file.count(); ++i) {
    if (file.id(i).empty()) catalog.charset = charset_of(file.translation(i));
  }
  const Decoder decode(catalog.charset, name);
  for (uint32_t i = 0; i < file.count(); ++i) {
    const std::string_view raw_id = file.id(i);
    if (raw_id.empty()) continue;
    const auto id = decode(raw_id), translation = decode(file.translation(i));
    if (!id || !translation) {
      ++catalog.ill_formed;
      continue;
    }
    GettextEntry& entry = catalog.entries.emplace_back();
    std::string_view rest = *id;
    if (const size_t end = rest.find('\x04'); end != std::string_view::npos) {
      entry.context = rest.substr(0, end);
      rest.remove_prefix(end + 1);
    }
    const size_t singular = std::min(rest.find('\0'), rest.size());
    entry.id = rest.substr(0, singular);
    if (singular < rest.size()) {
      entry.plural_id = rest.substr(singular + 1);
      entry.translations = split_forms(*translation);
      if (entry.translations.empty()) {
        catalog.entries.pop_back();
        ++catalog.ill_formed;
      }
    } else {
      entry.translations = {*translation};
    }
  }
  return catalog;
}

std::vector<GettextFile> find_gettext_files(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<GettextFile> files;
  auto entry = fs::recursive_directory_iterator(root, error);
  while (!error && entry != fs::recursive_directory_iterator()) {
    const fs::path& path = entry->path();
    const fs::path folder = path.parent_path();
    if (path.extension() == ".mo" && folder.filename() == "LC_MESSAGES" && entry->is_regular_file(error)) {
      const fs::path locale = folder.parent_path();
      files.push_back({path, locale.filename().string(),
                       (locale.parent_path() / path.filename()).lexically_relative(root).generic_string()});
    }
    entry.increment(error);
  }
  if (error) throw UserError("cannot look for catalogs under {}: {}", root.string(), error.message());
  std::ranges::sort(files, {}, &GettextFile::path);
  return files;
}

bool same_locale(std::string_view a, std::string_view b) {
  const auto plain = [](std::string_view name) {
    std::string result;
    bool codeset = false;
    for (const char c : name) {
      if (c == '.') codeset = true;
      if (c == '@') codeset = false;
      if (codeset) continue;
      result += c == '-' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return result;
  };
  return plain(a) == plain(b);
}

}  // namespace chorus::inline corpus
