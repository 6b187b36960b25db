#include "io/checkpoint.h"

#include <atomic>
#include <csignal>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "temporary_folder.h"

namespace chorus {
namespace {
namespace fs = std::filesystem;
using ::testing::IsSubstring;
using Steps = std::vector<int64_t>;

/// A model of two tensors and a text file, both saying the step.
void write_files(const fs::path& folder, int64_t step) {
  SafetensorsWriter writer(folder / "model.safetensors",
                           {{"step", DType::i64, {}}, {"many", DType::i64, {500}}});
  const std::vector<int64_t> many(500, step);
  writer.write("many", std::as_bytes(std::span(many)));
  writer.write("step", std::as_bytes(std::span(&step, 1)));
  writer.commit();
  std::ofstream(folder / "notes.txt") << "step " << step << "\n";
}

void write_step(CheckpointStore& store, int64_t step) {
  store.write(step, fmt::format(R"({{"position":[{},0.1,18446744073709551615]}})", step),
              [&](const fs::path& folder) { write_files(folder, step); });
}

void expect_whole(const Checkpoint& checkpoint) {
  const int64_t step = checkpoint.step;
  EXPECT_EQ(checkpoint.state, fmt::format(R"({{"position":[{},0.1,18446744073709551615]}})", step));
  const SafetensorsFile file(checkpoint.folder / "model.safetensors");
  const std::vector<int64_t> many(500, step);
  EXPECT_TRUE(std::ranges::equal(file.get("many").bytes, std::as_bytes(std::span(many))));
  EXPECT_EQ(read_file(checkpoint.folder / "notes.txt"), fmt::format("step {}\n", step));
}

/// Changes a file where it lies.
void put_byte(const fs::path& path, size_t at, char byte) {
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(static_cast<std::streamoff>(at))
      .put(byte);
}

TEST(CheckpointStore, GivesBackWhatWasWritten) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  std::vector<std::string> complaints;
  EXPECT_FALSE(store.latest_valid(complaints));
  EXPECT_TRUE(complaints.empty());
  for (const int64_t step : Steps{120, 0, 123456789012}) write_step(store, step);
  EXPECT_EQ(store.steps(), (Steps{0, 120, 123456789012}));
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000120/state.json"));
  for (const int64_t step : store.steps()) expect_whole(store.open(step));
  EXPECT_EQ(store.latest_valid(complaints)->step, 123456789012);
  EXPECT_TRUE(complaints.empty());
  EXPECT_PRED_FORMAT2(IsSubstring, "step-00000007/state.json: No such file",
                      message_of<UserError>([&] { (void)store.open(7); }));
}

TEST(CheckpointStore, AFailedWriteChangesNothing) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  write_step(store, 1);
  const auto fail = [](const fs::path& folder) {
    write_files(folder, 2);
    throw Error("no more");
  };
  EXPECT_EQ(message_of<Error>([&] { store.write(1, "{}", fail); }), "no more");
  EXPECT_EQ(message_of<Error>([&] { store.write(2, "{}", fail); }), "no more");
  message_of<UserError>([&] { store.write(2, "{", [](const fs::path&) {}); });
  message_of<Error>(
      [&] { store.write(2, "{}", [](const fs::path& at) { fs::create_directory(at / "sub"); }); });
  EXPECT_EQ(entries(run / "checkpoints"), 1U);
  expect_whole(store.open(1));
}

TEST(CheckpointStore, AStepIsReplacedWhole) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  store.write(1, "[]", [](const fs::path& folder) { std::ofstream(folder / "other") << "x"; });
  write_step(store, 1);
  EXPECT_EQ(entries(run / "checkpoints"), 1U);
  EXPECT_FALSE(fs::exists(store.folder_of(1) / "other"));
  expect_whole(store.open(1));
}

TEST(CheckpointStore, EveryFlippedBitIsNoticedAndNamed) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  write_step(store, 1);
  store.write(2, "{}", [](const fs::path& folder) {
    SafetensorsWriter writer(folder / "a.safetensors", {{"t", DType::u8, {9}}});
    writer.write("t", std::as_bytes(std::span("12345678", 9)));
    writer.commit();
    std::ofstream(folder / "b.txt") << "hello";
  });
  for (const char* name : {"a.safetensors", "b.txt", "state.json"}) {
    const fs::path path = store.folder_of(2) / name;
    const std::string whole = read_file(path);
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      put_byte(path, bit / 8, static_cast<char>(whole[bit / 8] ^ (1 << (bit % 8))));
      std::vector<std::string> complaints;
      EXPECT_EQ(store.latest_valid(complaints).value().step, 1) << name << " bit " << bit;
      ASSERT_EQ(complaints.size(), 1U);
      EXPECT_PRED_FORMAT2(IsSubstring, path.string(), complaints[0]);
      EXPECT_EQ(complaints[0].find('\n'), std::string::npos);
      put_byte(path, bit / 8, whole[bit / 8]);
    }
    for (size_t cut = 1; cut <= whole.size() + 1; ++cut) {
      fs::resize_file(path, cut <= whole.size() ? whole.size() - cut : whole.size() + 1);
      EXPECT_PRED_FORMAT2(IsSubstring, path.string(), message_of<UserError>([&] { (void)store.open(2); }));
    }
    fs::remove(path);
    EXPECT_PRED_FORMAT2(IsSubstring, path.string() + ": No such file",
                        message_of<UserError>([&] { (void)store.open(2); }));
    std::ofstream(path, std::ios::binary) << whole;
    EXPECT_EQ(store.open(2).step, 2);
  }
}

TEST(CheckpointStore, AFileOfAnotherCheckpointIsNoticed) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  write_step(store, 1);
  write_step(store, 2);
  const fs::path path = store.folder_of(2) / "model.safetensors";
  fs::copy_file(store.folder_of(1) / "model.safetensors", path, fs::copy_options::overwrite_existing);
  EXPECT_EQ(message_of<UserError>([&] { (void)store.open(2); }),
            path.string() + ": damaged: its header is not the one that was written");
  fs::rename(store.folder_of(1), store.folder_of(5));
  EXPECT_PRED_FORMAT2(IsSubstring, "this is the checkpoint of step 1",
                      message_of<UserError>([&] { (void)store.open(5); }));
}

/// state.json with a checksum that fits, whatever it says.
void write_state(const fs::path& folder, const std::string& open_object) {
  fs::create_directories(folder);
  write_file_atomically(folder / "state.json", fmt::format("{},\"xxh3\":\"{}\"}}\n", open_object,
                                                           hash_text(hash_bytes(open_object))));
}

TEST(CheckpointStore, StrangeManifestsAreRefused) {
  const TemporaryFolder run;
  const fs::path folder = run / "c";
  write_state(folder, R"({"format":1,"step":3,"state":null,"files":{})");
  EXPECT_EQ(read_checkpoint(folder).step, 3);
  for (const char* text :
       {R"({"format":"1","step":3,"state":null,"files":{})", R"({"format":1,"state":null,"files":{})",
        R"({"format":1,"step":3,"files":{})", R"({"format":1,"step":3,"state":null)",
        R"({"format":1,"step":3,"state":null,"files":{"state.json":{}})",
        R"({"format":1,"step":1e300,"state":null,"files":{})",
        R"({"format":1.0,"step":3,"state":null,"files":{})",
        R"({"format":1,"step":3,"state":null,"files":{"state.json":{"bytes":1e300,"xxh3":""}})",
        R"({"format":1,"step":3,"state":null,"files":{"../c/state.json":{"bytes":1,"xxh3":""}})",
        R"({"format":1,"step":3,"state":null,"files":{"state.json":{"bytes":-1,"xxh3":1}})",
        R"({"format":1)"}) {
    write_state(folder, text);
    EXPECT_PRED_FORMAT2(IsSubstring, "state.json: damaged",
                        message_of<UserError>([&] { read_checkpoint(folder); }))
        << text;
  }
  write_state(folder, std::string(100000, '['));
  message_of<UserError>([&] { read_checkpoint(folder); });

  CheckpointStore store(run.path());
  write_step(store, 1);
  write_state(store.folder_of(2), R"({"format":2)");
  std::vector<std::string> complaints;
  EXPECT_PRED_FORMAT2(IsSubstring, "format 2; this chorus reads format 1",
                      message_of<UserError>([&] { (void)store.latest_valid(complaints); }));
}

TEST(CheckpointStore, KeepsTheNewestTheBestAndTheProtected) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  for (int64_t step = 1; step <= 7; ++step) write_step(store, step);
  EXPECT_FALSE(store.best());
  store.mark_best(2);
  EXPECT_EQ(store.best(), 2);
  store.keep(3, {1, 99});
  EXPECT_EQ(store.steps(), (Steps{1, 2, 5, 6, 7}));
  store.mark_best(6);
  store.keep(0);
  EXPECT_EQ(store.steps(), (Steps{6, 7}));
  EXPECT_EQ(entries(run / "checkpoints"), 3U);
  message_of<Error>([&] { store.mark_best(2); });
  EXPECT_EQ(store.best(), 6);

  fs::remove_all(store.folder_of(6));
  EXPECT_FALSE(store.best());
  std::ofstream(run / "checkpoints/best.json") << "{}";
  EXPECT_PRED_FORMAT2(IsSubstring, "best.json: damaged", message_of<UserError>([&] { store.keep(1); }));
}

TEST(CheckpointStore, ADamagedNewerStepDoesNotPushOutTheWholeOnes) {
  const TemporaryFolder run;
  CheckpointStore store(run.path());
  for (const int64_t step : Steps{1, 2, 9}) write_step(store, step);
  std::ofstream(store.folder_of(9) / "notes.txt") << "?";
  CheckpointStore resumed(run.path());
  std::vector<std::string> complaints;
  EXPECT_EQ(resumed.latest_valid(complaints)->step, 2);
  write_step(resumed, 3);
  resumed.keep(1);
  EXPECT_EQ(resumed.steps(), (Steps{3, 9}));
}

TEST(CheckpointStore, StrangersInTheFolderAreLeftAlone) {
  const TemporaryFolder run;
  fs::create_directories(run / "checkpoints/step-1");
  fs::create_directories(run / "checkpoints/step-00000001x");
  fs::create_directories(run / "checkpoints/step-99999999999999999999");
  std::ofstream(run / "checkpoints/step-00000003") << "a file";
  fs::create_directories(run / "checkpoints/.chorus-tmp-1-1/sub");
  CheckpointStore store(run.path());
  EXPECT_TRUE(store.steps().empty());
  EXPECT_EQ(entries(run / "checkpoints"), 4U);
  EXPECT_PRED_FORMAT2(IsSubstring, "cannot make the folder", message_of<UserError>([&] {
                        CheckpointStore missing(run / "missing");
                        write_step(missing, 1);
                      }));
}

// What the writer that is to be killed says it has finished; shared with it.
struct Written {
  std::atomic<int64_t> steps = 0;
};

TEST(CheckpointStore, AKilledWriterLeavesTheNewestWhole) {
  void* shared = ::mmap(nullptr, sizeof(Written), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  Written& written = *new (shared) Written;
  const TemporaryFolder run;
  std::mt19937 random(5);
  int killed_while_growing = 0;
  for (int fork_number = 0; fork_number < 40; ++fork_number) {
    const pid_t child = ::fork();
    if (child == 0) {
      const FolderLock lock(run.path());
      CheckpointStore store(run.path());
      for (int64_t step = written.steps + 1;; ++step) {
        write_step(store, step);
        written.steps = step;
        if (step % 4 == 0) store.mark_best(step);
        store.keep(1);
        if (step % 2 == 0) write_step(store, step);  // replaces the only one
      }
    }
    // However slow the disk is: some are killed in their first step, some in their third.
    const int64_t enough = written.steps + std::uniform_int_distribution<int64_t>(0, 2)(random);
    while (written.steps < enough) ::usleep(100);
    ::usleep(std::uniform_int_distribution<useconds_t>(0, 4000)(random));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (!fs::exists(run / "checkpoints")) continue;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      killed_while_growing += entry.path().filename().string().starts_with(".chorus-tmp-") ? 1 : 0;
    }
    const FolderLock lock(run.path());
    CheckpointStore store(run.path());
    std::vector<std::string> complaints;
    const std::optional<Checkpoint> latest = store.latest_valid(complaints);
    ASSERT_TRUE(complaints.empty()) << complaints[0];
    ASSERT_EQ(latest.has_value(), !store.steps().empty());
    if (written.steps == 0 && !latest) continue;
    ASSERT_GE(latest->step, written.steps);
    expect_whole(*latest);
    for (const int64_t step : store.steps()) expect_whole(store.open(step));
    if (store.best()) expect_whole(store.open(*store.best()));
    written.steps = latest->step;
  }
  EXPECT_GT(written.steps, 0);
  EXPECT_GT(killed_while_growing, 0) << "no kill hit a checkpoint that was growing: the test proves nothing";
  ::munmap(shared, sizeof(Written));
}

TEST(CheckpointStore, AFullDiskLeavesTheOneBefore) {
  const TemporaryFolder run;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {6000, 6000};
    CheckpointStore store(run.path());
    write_step(store, 1);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto write_much = [](const fs::path& folder) {
      const std::string much(10000, 'x');
      SafetensorsWriter writer(folder / "much.safetensors", {{"much", DType::u8, {10000}}});
      writer.write("much", std::as_bytes(std::span(much)));
      writer.commit();
    };
    const std::string words = message_of<Error>([&] { store.write(2, "{}", write_much); });
    ::_exit(words.ends_with("much.safetensors: File too large") ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  CheckpointStore store(run.path());
  EXPECT_EQ(entries(run / "checkpoints"), 1U);
  expect_whole(store.open(1));
}

}  // namespace
}  // namespace chorus
