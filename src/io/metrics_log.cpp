#include "io/metrics_log.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"
#include "base/log.h"
#include "io/files.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {
namespace {

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void check_record(size_t bytes, const std::filesystem::path& path) {
  if (bytes > kLongestRecord)
    throw UserError("{}: a line of more than {} bytes: it is no file of metrics; move it away", path.string(),
                    kLongestRecord);
}

/// Cuts half a line off the end of a file, if there is one.
void cut_half_line(const std::filesystem::path& path) {
  const uintmax_t size = std::filesystem::file_size(path);
  uintmax_t whole = 0;
  {
    const MappedFile file(path);
    const std::string_view text = text_of(file);
    const size_t before = text.size() - std::min(text.size(), kLongestRecord + 1);
    const size_t end = text.substr(before).rfind('\n');
    whole = end == std::string_view::npos ? before : before + end + 1;
    check_record(text.size() - whole, path);
  }
  if (whole < size && ::truncate(path.c_str(), static_cast<off_t>(whole)) != 0) fail_to_write(path, errno);
}

// ---- protocol buffers, as much of them as an Event needs ----

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
template <class Number>
void put_raw(std::string& out, Number value) {
  static_assert(std::endian::native == std::endian::little);
  std::array<char, sizeof value> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  out.append(bytes.data(), bytes.size());
}
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
void put_field(std::string& out, uint64_t field, WireType type) {
  put_varint(out, field << 3 | type);
}
void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_field(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

/// Event {double wall_time = 1; int64 step = 2; ...}; a step of zero is left out, as proto3 does.
std::string begin_event(double time, int64_t step) {
  std::string event;
  put_field(event, 1, kFixed64);
  put_raw(event, time);
  if (step != 0) {
    put_field(event, 2, kVarint);
    put_varint(event, static_cast<uint64_t>(step));
  }
  return event;
}

uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

std::filesystem::path new_event_file(const std::filesystem::path& folder, double time) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail_to_write(folder, error.value());
  std::array<char, 256> host = {};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  // Two files of one second would have one name without the counter.
  for (int i = 0;; ++i) {
    auto path = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(time),
                                     host.data(), ::getpid(), i);
    if (!std::filesystem::exists(std::filesystem::symlink_status(path))) return path;
  }
}

}  // namespace

AppendFile::AppendFile(std::filesystem::path path, Mode mode) : path_(std::move(path)) {
  fd_ = open_own_file(path_, O_WRONLY | O_APPEND | O_CREAT | (mode == Mode::create_new ? O_EXCL : 0));
}

AppendFile::~AppendFile() {
  ::close(fd_);
}

void AppendFile::append(std::string_view record) {
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  while (!record.empty()) {
    const ssize_t written = again([&] { return ::write(fd_, record.data(), record.size()); });
    if (written < 0) {
      const int error = errno;
      // Half a record would spoil the next one. That this fails too cannot be helped.
      [[maybe_unused]] const int unused = ::ftruncate(fd_, before);
      errno = error;
      fail_to_write(path_, errno);
    }
    record.remove_prefix(static_cast<size_t>(written));
  }
}

JsonlWriter::JsonlWriter(const std::filesystem::path& path) : file_(path, AppendFile::Mode::append) {
  cut_half_line(path);
}

void JsonlWriter::write(const nlohmann::json& record) {
  const std::string line = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  if (line.size() > kLongestRecord) {
    log_warning("metrics: a record of {} bytes is left out: its readers take {} at most", line.size(),
                kLongestRecord);
    return;
  }
  file_.append(line);
}

void drop_records_after(const std::filesystem::path& path, int64_t update) {
  if (!std::filesystem::exists(std::filesystem::symlink_status(path))) return;
  ::close(open_own_file(path, O_RDWR));
  const MappedFile file(path);
  const std::string_view text = text_of(file);
  std::optional<AtomicFile> kept;  // from the first record on that goes
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    std::string_view line = text.substr(begin, kLongestRecord + 1);
    line = line.substr(0, std::min(line.find('\n'), line.size() - 1) + 1);
    check_record(line.size(), path);
    end = begin + line.size();
    const auto record = nlohmann::json::parse(line, nullptr, false);
    const auto found = record.is_object() ? record.find("update") : record.end();
    const bool drop = record.is_object() && found != record.end() && found->is_number() &&
                      found->get<double>() > static_cast<double>(update);
    if (drop && !kept) {
      kept.emplace(path);
      kept->write(text.data(), begin);
    } else if (!drop && kept) {
      kept->write(line.data(), line.size());
    }
  }
  if (kept) kept->commit();
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step, double time)
    : path_(new_event_file(folder, time)), file_(path_, AppendFile::Mode::create_new) {
  std::string event = begin_event(time, 0);
  put_bytes(event, 3, "brain.Event:2");  // file_version
  write_event(event);
  if (first_step > 0) {
    event = begin_event(time, first_step);
    put_bytes(event, 7, std::string_view("\x08\x01", 2));  // session_log {status: START}
    write_event(event);
  }
}

void TensorBoardWriter::write(int64_t step, std::span<const std::pair<std::string, double>> scalars,
                              double time) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;  // Summary.Value {string tag = 1; float simple_value = 2}
    put_bytes(value, 1, tag);
    put_field(value, 2, kFixed32);
    put_raw(value, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  std::string event = begin_event(time, step);
  put_bytes(event, 5, summary);
  write_event(event);
}

void TensorBoardWriter::write_event(std::string_view event) {
  // TFRecord: length, its checksum, the bytes, their checksum.
  std::string record;
  put_raw(record, static_cast<uint64_t>(event.size()));
  put_raw(record, masked_crc(record));
  record += event;
  put_raw(record, masked_crc(event));
  file_.append(record);
}

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = [] {
    std::array<uint32_t, 256> table = {};
    for (uint32_t i = 0; i < table.size(); ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78U : 0);
      table[i] = c;
    }
    return table;
  }();
  uint32_t crc = ~0U;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  return ~crc;
}

}  // namespace chorus::inline io
