// What a request says, however it says it: a JSON object, a form, or the query of its target.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "server/http_message.h"

namespace chorus::inline server {

/// A request that is refused; what() goes to the client.
class Refusal : public Error {
 public:
  /// `retry`: seconds after which it may be asked again; 0: nobody knows.
  Refusal(int status, const std::string& what, int retry = 0) : Error(what), status_(status), retry_(retry) {}
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] int retry() const { return retry_; }

 private:
  int status_, retry_;
};

/// A number is its digits, true and false are words, null is not there.
class RequestFields {
 public:
  /// Reads the fields: of application/json the object, else of application/x-www-form-urlencoded the pairs, or of
  /// multipart/form-data the parts, and those of the query. Refusal 400 on a body that is none of them, JSON that is
  /// no object of texts, numbers and lists of texts, as read_multipart(), and on what is not UTF-8, files apart.
  explicit RequestFields(const HttpRequest& request);

  [[nodiscard]] bool has(const std::string& name) const { return fields_.contains(name); }
  /// One text; "" where it is not there. Refusal 400 where there are several.
  [[nodiscard]] std::string text(const std::string& name) const;
  /// All, and whether they came as a list, which a form never has.
  struct Texts {
    std::vector<std::string> texts;
    bool list = false;
  };
  [[nodiscard]] Texts texts(const std::string& name) const;
  /// Refusal 400 where it is no whole number up to `most`; 0 for one below, `fallback` where it is not there.
  [[nodiscard]] int64_t number(const std::string& name, int64_t fallback, int64_t most) const;
  struct File {
    std::string name, bytes;  // any, both
  };
  /// Null where it is not there.
  [[nodiscard]] const File* file(const std::string& name) const;

 private:
  void read_json(std::string_view body);
  void read_pairs(std::string_view text);
  void read_parts(const HttpRequest& request);

  std::map<std::string, Texts, std::less<>> fields_;
  std::map<std::string, File, std::less<>> files_;
};

/// "%41" undone, and "+", which is `plus`. Refusal 400 on a '%' without two digits.
std::string decode_url(std::string_view text, char plus = ' ');

}  // namespace chorus::inline server
