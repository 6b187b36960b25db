// What is ordered after what on the simulated device, and when it ends by its clock. device/simulated.h says what for.
//
// Each stream counts what it is given. A clock says of every stream how much of that is known to have ended: a stream
// has one, so has an event, and so has the host. What an operation touches must have been touched last by something in
// the clock of its stream, or nothing orders the two. All may be called by several threads at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/Stream.h>

namespace chorus::testing {

/// A point in what a stream was given: what has ended by then, and the time in seconds.
struct Moment {
  std::vector<int64_t> clock;  // by the streams' numbers in order.cpp
  double time = 0;
  double taken = 0;  // when the host asked for it: a thread that has to do with it is no earlier
};

/// After all that the stream was given so far.
Moment present(c10::Stream stream);
/// What the stream is given from now on runs after that.
void let_wait(c10::Stream stream, const Moment& moment);
/// The calling thread waits for that. What one thread has waited for, all know: how threads of the host wait for each
/// other cannot be seen. Time is each thread's own.
void host_waits(const Moment& moment);
/// For all streams of the device.
void host_waits(c10::DeviceIndex device);
/// The calling thread is busy for so long.
void host_works(double seconds);

/// Something that a stream is given. It is carried out on the calling thread while this lives; what other threads give
/// the stream comes before or after it.
class Operation {
 public:
  /// `name` is for messages.
  Operation(std::string_view name, c10::Stream stream);
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  // Before it reads or writes the bytes: memory of the device, or page-locked. c10::Error where nothing orders it after
  // what touched them before. Page-locked memory is closed to the host until it has waited for the operation: to all
  // use where it is written, to writing where it is read; but not pages that lie in it in part.

  void reads(const void* at, size_t bytes) { touches(at, bytes, false); }
  void writes(const void* at, size_t bytes) { touches(at, bytes, true); }

  void takes(double seconds);
  /// The calling thread waits for its end.
  void host_waits();

 private:
  void touches(const void* at, size_t bytes, bool write);

  std::unique_lock<std::recursive_mutex> running_;
  size_t stream_;
  const char* name_;
  std::string sizes_;  // of what it has touched
};

/// Device memory is the stream's; what it was used for before is what the stream was given so far.
void allocated(const void* at, size_t bytes, c10::Stream stream);
void allocated_page_locked(const void* at, size_t bytes);
/// The stream's use of the memory that begins at `at` may go on when it is freed.
void record_use(const void* at, c10::Stream stream);
/// Ends the program with one line where another stream may still use it. Returns its bytes.
size_t freed(const void* at);

}  // namespace chorus::testing
