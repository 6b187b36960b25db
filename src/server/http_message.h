// A request and its answer, as what answers sees them: HTTP itself is http_server.h's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "server/batcher.h"

namespace chorus::inline server {

struct HttpRequest {
  std::string method;                               // "GET"
  std::string path, query;                          // of the target, as they came: "/translate", "q=a%20b"
  std::string content_type, accept, authorization;  // as they came; "": not given
  std::string site;  // what the client called this server: "http://localhost:8080"
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};  // more of them
  // Whether it is the beginning of a body, or a piece of it: of later pieces only the body is looked at.
  bool more = false;
  int outcome = 0;  // of the last piece, where a fault ends it: the status that it would have had alone
};

/// Takes the reply to a request, on any thread: once, or in pieces, of which the last alone is without `more`.
using Answer = std::function<void(HttpReply)>;

/// Answers a request, at once or later. When the client has left, whoever calls it must abandon() what it returned
/// (which may be null): nobody works for the request then. Throws nothing.
using HttpHandler = std::function<std::shared_ptr<Waiting>(HttpRequest, Answer)>;

/// Makes a reply of JSON; what is not UTF-8 is replaced.
HttpReply json_reply(const nlohmann::ordered_json& json);
/// Makes a reply {"error": WHAT}, as LibreTranslate has it. `retry`: seconds of a Retry-After; 0: none.
HttpReply error_reply(int status, const std::string& what, int retry = 0);

}  // namespace chorus::inline server
