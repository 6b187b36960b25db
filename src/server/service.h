// What the server does: a request of an interface becomes a job of the batcher, and its translations a reply.
//
// The interfaces are LibreTranslate's (libretranslate.cpp), DeepL's (deepl.cpp) and our own. It knows nothing of
// connections.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "document/document.h"
#include "server/access.h"
#include "server/batcher.h"
#include "server/http_message.h"
#include "server/kept_documents.h"
#include "server/request_counters.h"
#include "server/request_fields.h"
#include "server/served_models.h"

namespace chorus::inline server {

struct ServiceLimits {
  int64_t texts = 128;         // of a request
  int64_t characters = 20000;  // of all its texts together
  int64_t lines = 2000;        // likewise, of lines to translate: of HTML, blocks
  int64_t alternatives = 10;
  // Of a document with all its markup, where `characters` are not more.
  int64_t document_characters = 200'000;
  std::chrono::milliseconds timeout{60'000};  // from when a request is there; beyond, it is answered 504
  int64_t document_timeouts = 10;             // so many times as long for a document
  KeptLimits kept = {};                       // documents that are done
  BatcherLimits batches = {};
};

class Service {
 public:
  /// Without `keys` none is needed.
  explicit Service(std::shared_ptr<const ServedModels> models, std::vector<AccessKey> keys = {},
                   const ServiceLimits& limits = {});

  /// Handles a request, as HttpHandler.
  std::shared_ptr<Waiting> handle(const HttpRequest& request, Answer answer);
  /// Translates what comes from now on by these models.
  void replace(std::shared_ptr<const ServedModels> models);
  /// Lets /ready say no from now on.
  void begin_drain() { draining_ = true; }
  /// Counts a request that never came here.
  void count_refused(int status) { counters_.count(kOther, status, 0); }

 private:
  static constexpr const char* kOther = "other";  // endpoint of what is none of ours, in /metrics

  /// Texts to translate, whatever the interface.
  struct Asked {
    std::vector<std::string> texts;
    std::string source, target;  // as they were written; source may be "auto"
    DocumentFormat format = DocumentFormat::text;
    int64_t alternatives = 0;
    bool document = false;  // bounded as one
    bool events = false;    // tell of each line as it is done: server-sent events
  };
  struct Made {
    std::vector<std::vector<std::string>> texts;  // of each its translation and the alternatives
    std::optional<DetectedLanguage> detected;     // where the source was "auto"
  };
  using MakeReply = std::function<HttpReply(Made)>;

  // What the interfaces share. All that refuse throw Refusal.
  [[nodiscard]] std::shared_ptr<const ServedModels> models() const;
  std::shared_ptr<Waiting> dispatch(const HttpRequest& request, const Answer& answer);
  /// The key of the field api_key or of the header Authorization; "": there is none.
  [[nodiscard]] static std::string key_of(const HttpRequest& request, const RequestFields& fields);
  /// Counts texts against the limits of the request's key.
  void admit(const HttpRequest& request, const RequestFields& fields, std::span<const std::string> texts);
  /// `characters`: of them all, at most.
  void check(std::span<const std::string> texts, int64_t characters) const;
  [[nodiscard]] static std::string language(const ServedModels& models, const std::string& code);
  [[nodiscard]] static std::string not_available(const std::string& from, const std::string& to);
  std::shared_ptr<Waiting> translate(const Asked& asked, MakeReply make_reply, const Answer& answer);
  /// `reply` is made of lines that all are there; of others an error is.
  std::shared_ptr<Waiting> submit(std::shared_ptr<const TranslationRoute> route,
                                  std::vector<SourceLine> lines, std::chrono::milliseconds timeout,
                                  const Answer& answer,
                                  std::function<HttpReply(const std::vector<TranslatedLine>&)> reply,
                                  std::function<void(size_t line, const TranslatedLine&)> progress = {});

  std::shared_ptr<Waiting> libretranslate(const HttpRequest& request, const Answer& answer);
  std::shared_ptr<Waiting> translate_file(const HttpRequest& request, const Answer& answer);
  std::shared_ptr<Waiting> deepl(const HttpRequest& request, const Answer& answer);
  std::shared_ptr<Waiting> score(const HttpRequest& request, const Answer& answer);
  /// `path`: WORD/NAME, behind "/download_file/".
  HttpReply download(std::string_view path);
  HttpReply detected(const HttpRequest& request);
  HttpReply metrics(const HttpRequest& request);
  [[nodiscard]] HttpReply languages() const;
  [[nodiscard]] HttpReply frontend_settings() const;
  /// Refuses a request without these fields, or where they are empty.
  static void require(const RequestFields& fields, std::initializer_list<const char*> names);
  /// ".txt" and the others of documents that it translates.
  static std::vector<std::string> file_extensions();

  AccessControl access_;
  RequestCounters counters_;
  KeptDocuments documents_;
  ServiceLimits limits_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ServedModels> models_;  // under the mutex
  std::atomic<bool> draining_ = false;
  Batcher batcher_;  // last: it works for the others
};

}  // namespace chorus::inline server
