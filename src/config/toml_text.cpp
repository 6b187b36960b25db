#include "config/internal/toml_text.h"

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline config {
namespace {

/// Goes through the text as far as toml++ would before its first error, with the least grammar that tells
/// keys from strings and comments.
class Checker {
 public:
  Checker(std::string_view text, std::string_view origin) : text_(text), origin_(origin) {}

  void check() {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    bool first = true;  // of its line, and in no list or table
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') {
        ++line_;
        dots_ = 0;
        first = depth_ == 0;
      } else if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        continue;
      } else if (!is_blank(c)) {
        if (c == '"' || c == '\'') {
          if (!skip_string()) return;
        } else {
          look_at(c, first);
        }
        first = false;
        if (c == '"' || c == '\'') continue;
      }
      ++at_;
    }
  }

 private:
  static constexpr int kDeepest = 32;

  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
  static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  }

  [[noreturn]] void refuse(std::string_view why) const {
    throw UserError("{}:{}: not TOML: {}", origin_, line_, why);
  }
  [[noreturn]] void refuse_depth() const {
    throw UserError("{}:{}: nested deeper than {} levels", origin_, line_, kDeepest);
  }

  /// A character outside of strings and comments.
  void look_at(char c, bool first) {
    if (static_cast<unsigned char>(c) >= 0x80) refuse("characters beyond ASCII belong in quotes");
    if (c == '.') {
      if (++dots_ >= kDeepest) refuse_depth();
    } else if (!is_bare(c)) {
      dots_ = 0;
    }
    if (c == '[' || c == '{') {
      if (++depth_ > kDeepest) refuse_depth();
      if (c == '[' && first) check_header();
    } else if ((c == ']' || c == '}') && depth_ > 0) {
      --depth_;
    }
  }

  /// Behind the "[" of a table header there is a key.
  void check_header() const {
    size_t next = at_ + 1;
    if (next < text_.size() && text_[next] == '[') ++next;
    while (next < text_.size() && is_blank(text_[next])) ++next;
    const char c = next < text_.size() ? text_[next] : '\n';
    if (!is_bare(c) && c != '"' && c != '\'') refuse("a table header without a name");
  }

  /// False when the string does not end: toml++ stops there too.
  bool skip_string() {
    const char quote = text_[at_];
    const std::string three(3, quote);
    const bool many_lines = text_.substr(at_, 3) == three;
    for (at_ += many_lines ? 3 : 1; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') {
        if (!many_lines) return false;
        ++line_;
      } else if (c == '\\' && quote == '"') {
        if (many_lines) check_continued();
        if (text_.substr(at_ + 1, 1) == "\n") ++line_;
        ++at_;
      } else if (c == quote && !many_lines) {
        ++at_;
        return true;
      } else if (c == quote && text_.substr(at_, 3) == three) {
        at_ += 3;
        for (int extra = 0; extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra) ++at_;
        return true;
      }
    }
    return false;
  }

  /// What follows a backslash at the end of a line.
  void check_continued() const {
    const size_t next = text_.find_first_not_of(" \t\r\n", at_ + 1);
    if (next != std::string_view::npos && static_cast<unsigned char>(text_[next]) >= 0x80)
      refuse("a line that goes on after a backslash begins with a character beyond ASCII; join the lines");
  }

  std::string_view text_, origin_;
  size_t at_ = 0, line_ = 1;
  int depth_ = 0;  // of lists and tables
  int dots_ = 0;   // of the key
};

}  // namespace

toml::table parse_toml(std::string_view text, std::string_view origin) {
  Checker(text, origin).check();
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw UserError("{}:{}: not TOML: {}", origin, error.source().begin.line, one_line(error.description()));
  }
}

}  // namespace chorus::inline config
