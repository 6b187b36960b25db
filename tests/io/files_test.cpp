#include "io/files.h"

#include <csignal>
#include <fstream>
#include <functional>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "io/file_guard.h"
#include "io/places.h"
#include "temporary_folder.h"

namespace chorus {
namespace {
namespace fs = std::filesystem;
using ::testing::IsSubstring;

/// Runs `run` in a child process; its exit code, or 128 + the signal that ended it.
int in_child(auto&& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = run();
    } catch (const std::exception& error) {
      fmt::print(stderr, "in the child: {}\n", error.what());
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(ReadFile, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  for (const size_t size : {0, 1, 3, 65535, 65536, 65537, 3000000}) {
    std::string bytes(size, 'x');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 131 >> 3);
    write_file_atomically(folder / "file", bytes);
    EXPECT_EQ(read_file(folder / "file"), bytes);
    const MappedFile map(folder / "file");
    EXPECT_EQ(map.bytes().size(), size);
    EXPECT_TRUE(std::ranges::equal(map.bytes(), std::as_bytes(std::span(bytes))));
    EXPECT_EQ(hash_file(folder / "file"), hash_bytes(bytes));
  }
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(ReadFile, LooksAtTheSizeFirst) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "12345");
  EXPECT_EQ(read_file(folder / "file", 5), "12345");
  EXPECT_THROW(read_file(folder / "file", 4), UserError);
  fs::resize_file(folder / "file", uint64_t{1} << 42);  // of holes
  EXPECT_THROW(read_file(folder / "file"), UserError);
  EXPECT_THROW(read_file("/proc/self/maps", 10), UserError) << "it claims no size";
}

TEST(MappedFile, IsFoundByItsAddresses) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "one", std::string(5000, 'x'));
  write_file_atomically(folder / "two", "x");
  auto one = std::make_unique<MappedFile>(folder / "one");
  const MappedFile two(folder / "two");
  const std::byte* const first = one->bytes().data();
  EXPECT_EQ(mapped_file_at(first), (folder / "one").string());
  EXPECT_EQ(mapped_file_at(first + 4999), (folder / "one").string());
  EXPECT_EQ(mapped_file_at(two.bytes().data()), (folder / "two").string());
  EXPECT_EQ(mapped_file_at(&folder), nullptr);
  const MappedFile moved = std::move(*one);
  EXPECT_EQ(mapped_file_at(first), (folder / "one").string());
  one.reset();
  EXPECT_EQ(mapped_file_at(first), (folder / "one").string());
  { const MappedFile gone = std::move(const_cast<MappedFile&>(moved)); }
  EXPECT_EQ(mapped_file_at(first), nullptr);
}

TEST(ReadFile, ReadsFilesThatClaimNoSize) {
  EXPECT_PRED_FORMAT2(IsSubstring, "Pid:", read_file("/proc/self/status"));
}

TEST(ReadFile, NamesWhatItCannotRead) {
  const TemporaryFolder folder;
  const fs::path missing = folder / "missing", pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const auto& [path, words] :
       {std::pair{missing, "No such file"}, std::pair{folder.path(), "Is a directory"},
        std::pair{pipe, "not a regular file"}}) {
    const std::string whole = message_of<UserError>([&] { read_file(path); });
    EXPECT_PRED_FORMAT2(IsSubstring, path.string(), whole);
    EXPECT_PRED_FORMAT2(IsSubstring, words, whole);
    EXPECT_EQ(message_of<UserError>([&] { MappedFile map(path); }), whole);
    EXPECT_EQ(message_of<UserError>([&] { hash_file(path); }), whole);
  }
}

TEST(MappedFile, MovesItsBytes) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "abc");
  MappedFile first(folder / "file");
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().size(), 3U);
  first = MappedFile(folder / "file");
  second = std::move(first);
  EXPECT_EQ(second.bytes().size(), 3U);
  second = MappedFile();
  EXPECT_TRUE(second.bytes().empty());
}

TEST(AtomicFile, ReplacesOnlyWhenCommitted) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  {
    AtomicFile file(folder / "file");
    file.write("new", 3);
    EXPECT_EQ(read_file(folder / "file"), "old");
  }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(entries(folder.path()), 1U);
  AtomicFile file(folder / "file");
  file.write("newer", 5);
  file.write_at(7, "!", 1);
  file.write(" b", 2);
  file.commit();
  EXPECT_EQ(read_file(folder / "file"), "newer b!");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, WritesARelativeName) {
  const TemporaryFolder folder;
  EXPECT_EQ(in_child([&] {
              fs::current_path(folder.path());
              write_file_atomically("name", "x");
              return read_file("name") == "x" ? 0 : 1;
            }),
            0);
  EXPECT_EQ(read_file(folder / "name"), "x");
}

TEST(AtomicFile, ThreadsWritingOneNameLeaveOneWholeFile) {
  const TemporaryFolder folder;
  std::vector<std::jthread> threads;
  for (char c = 'a'; c < 'e'; ++c) {
    threads.emplace_back([&folder, c] {
      for (int i = 0; i < 10; ++i) write_file_atomically(folder / "file", std::string(10000, c));
    });
  }
  threads.clear();
  const std::string bytes = read_file(folder / "file");
  EXPECT_EQ(bytes, std::string(10000, bytes.at(0)));
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, NamesAWrongPlace) {
  const TemporaryFolder folder;
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "cannot write " + (folder / "no" / "file").string() + ": No such file or directory",
                      message_of<UserError>([&] { write_file_atomically(folder / "no" / "file", "x"); }));
  fs::create_directories(folder / "sub");
  EXPECT_PRED_FORMAT2(IsSubstring, "Is a directory",
                      message_of<UserError>([&] { write_file_atomically(folder / "sub", "x"); }));
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, RefusesAReadOnlyFolder) {
  const TemporaryFolder folder;
  const int code = in_child([&] {
    fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_exec);
    if (::getuid() == 0 && ::setuid(65534) != 0) return 77;  // root may write anywhere
    const std::string words = message_of<UserError>([&] { write_file_atomically(folder / "file", "x"); });
    return words == "cannot write " + (folder / "file").string() + ": Permission denied" ? 0 : 1;
  });
  fs::permissions(folder.path(), fs::perms::owner_all);
  if (code == 77) GTEST_SKIP() << "cannot give up root's rights here";
  EXPECT_EQ(code, 0);
}

TEST(AtomicFile, KeepsTheOldFileWhenTheLimitOnItsSizeIsReached) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  EXPECT_EQ(in_child([&] {
              const rlimit limit = {100000, 100000};
              std::signal(SIGXFSZ, SIG_IGN);
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
              const std::string words = message_of<Error>(
                  [&] { write_file_atomically(folder / "file", std::string(200000, 'n')); });
              return words == "cannot write " + (folder / "file").string() + ": File too large" ? 0 : 1;
            }),
            0);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, KeepsTheOldFileWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  const int code = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
      return 77;
    }
    write_file_atomically(folder / "file", "old");
    const std::string words =
        message_of<Error>([&] { write_file_atomically(folder / "file", std::string(1000000, 'n')); });
    if (words != "cannot write " + (folder / "file").string() + ": No space left on device") return 1;
    return read_file(folder / "file") == "old" && entries(folder.path()) == 1 ? 0 : 2;
  });
  if (code == 77) GTEST_SKIP() << "only root can mount a small disk to fill";
  EXPECT_EQ(code, 0);
}

TEST(RemoveTemporaries, RemovesOnlyThem) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "x");
  std::ofstream(temporary_name(folder.path())) << "left behind";
  fs::create_directories(temporary_name(folder.path()) / "sub");
  EXPECT_EQ(entries(folder.path()), 3U);
  remove_temporaries(folder.path());
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_EQ(read_file(folder / "file"), "x");
  message_of<UserError>([&] { remove_temporaries(folder / "missing"); });
}

TEST(Places, WhatIsNotThereIsNotWhatCannotBeLookedAt) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "b", "x");
  fs::create_directories(folder / "a");
  EXPECT_TRUE(is_there(folder / "a"));
  EXPECT_TRUE(is_there(folder / "b"));
  EXPECT_FALSE(is_there(folder / "c"));
  EXPECT_FALSE(is_there(folder / "b" / "below a file"));
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(names_in(folder / "c").empty());
  EXPECT_TRUE(names_in(folder / "b").empty());
  const std::string name(1000, 'x');
  for (const auto& look : {std::function<void()>([&] { static_cast<void>(is_there(folder / name)); }),
                           std::function<void()>([&] { static_cast<void>(names_in(folder / name)); })})
    EXPECT_PRED_FORMAT2(IsSubstring, "File name too long", message_of<UserError>(look));
}

// Values of the reference implementation: `xxhsum -H3`.
TEST(Hash, IsXxh3) {
  EXPECT_EQ(hash_text(hash_bytes("")), "2d06800538d394c2");
  EXPECT_EQ(hash_text(hash_bytes("a")), "e6c632b61e964e1f");
  EXPECT_EQ(hash_text(hash_bytes(std::string(1000, 'a'))), "b3e7af627147db7c");
  Hasher hasher;
  for (int i = 0; i < 1000; ++i) hasher.update(std::as_bytes(std::span("a", 1)));
  EXPECT_EQ(hasher.digest(), hash_bytes(std::string(1000, 'a')));
}

TEST(FolderLock, IsHeldByOneProcessAtATime) {
  const TemporaryFolder folder;
  const auto try_in_child = [&] {
    return in_child([&] {
      const std::string words = message_of<UserError>([&] { FolderLock lock(folder.path()); });
      return words.find("in use by process " + std::to_string(::getppid()) + " on ") != std::string::npos ? 0
                                                                                                          : 1;
    });
  };
  {
    const FolderLock lock(folder.path());
    EXPECT_EQ(try_in_child(), 0);
    message_of<UserError>([&] { FolderLock again(folder.path()); });
  }
  const FolderLock lock(folder.path());
  EXPECT_EQ(try_in_child(), 0);
}

TEST(FolderLock, LeavesFilesOfOthersAsTheyAre) {
  const TemporaryFolder folder;
  const fs::path lock = folder / ".lock", other = folder / "other";
  const auto refusal = [&] { return message_of<UserError>([&] { const FolderLock taken(folder.path()); }); };
  write_file_atomically(other, "precious");
  fs::create_symlink("other", lock);
  EXPECT_PRED_FORMAT2(IsSubstring, ".lock: it is a symbolic link", refusal());
  EXPECT_EQ(read_file(other), "precious");
  fs::remove(other);
  EXPECT_PRED_FORMAT2(IsSubstring, ".lock: it is a symbolic link", refusal());
  EXPECT_FALSE(fs::exists(other));
  fs::remove(lock);
  write_file_atomically(lock, "precious");
  EXPECT_PRED_FORMAT2(IsSubstring, "not chorus's lock", refusal());
  EXPECT_EQ(read_file(lock), "precious");
  fs::remove(lock);
  ASSERT_EQ(::mkfifo(lock.c_str(), 0600), 0);
  EXPECT_PRED_FORMAT2(IsSubstring, "not a regular file", refusal());
  fs::remove(lock);
  write_file_atomically(lock, "process 1 on elsewhere\n");  // left by one that has died
  const FolderLock taken(folder.path());
}

TEST(AtomicFolder, AsksAgainBeforeItReplaces) {
  const TemporaryFolder folder;
  const fs::path place = folder / "place";
  const auto absent = [](const fs::path& path) {
    if (fs::exists(fs::symlink_status(path))) throw UserError("{} is there", path.string());
  };
  {
    AtomicFolder whole(place / "", absent);
    write_file_atomically(whole.temporary() / "new", "new");
    fs::create_directory(place);  // while it is being filled
    write_file_atomically(place / "notes", "precious");
    EXPECT_PRED_FORMAT2(IsSubstring, "place is there", message_of<UserError>([&] { whole.commit(); }));
  }
  EXPECT_EQ(read_file(place / "notes"), "precious");
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_THROW(AtomicFolder(place, absent), UserError);
  EXPECT_EQ(entries(folder.path()), 1U);
  AtomicFolder whole(place, [](const fs::path&) {});
  write_file_atomically(whole.temporary() / "new", "new");
  whole.commit();
  EXPECT_EQ(read_file(place / "new"), "new");
}

TEST(AtomicFolder, RemovesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  const auto anything = [](const fs::path&) {};
  EXPECT_EQ(in_child([&] {
              const AtomicFolder growing(folder / "killed", anything);
              write_file_atomically(growing.temporary() / "file", "x");
              return ::raise(SIGKILL);
            }),
            128 + SIGKILL);
  EXPECT_EQ(entries(folder.path()), 1U);
  const AtomicFolder living(folder / "living", anything);
  EXPECT_EQ(entries(folder.path()), 1U);
  {
    AtomicFolder other(folder / "other", anything);
    EXPECT_TRUE(fs::exists(living.temporary()));
    other.commit();
  }
  EXPECT_TRUE(fs::exists(living.temporary()));
  EXPECT_EQ(entries(folder.path()), 2U);
}

TEST(AtomicFile, RemovesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  EXPECT_EQ(in_child([&] {
              AtomicFile growing(folder / "killed");
              growing.write("half", 4);
              return ::raise(SIGKILL);
            }),
            128 + SIGKILL);
  EXPECT_EQ(entries(folder.path()), 1U);
  AtomicFile living(folder / "living");
  EXPECT_EQ(entries(folder.path()), 1U);
  write_file_atomically(folder / "other", "whole");
  EXPECT_EQ(entries(folder.path()), 2U);
  living.write("whole", 5);
  living.commit();
  EXPECT_EQ(read_file(folder / "living"), "whole");
  EXPECT_EQ(entries(folder.path()), 2U);
}

TEST(FolderLock, SaysWhyItCannotWriteWhoHoldsIt) {
  const TemporaryFolder folder;
  EXPECT_EQ(in_child([&] {
              const rlimit limit = {5, 5};
              std::signal(SIGXFSZ, SIG_IGN);
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
              const std::string words = message_of<Error>([&] { FolderLock lock(folder.path()); });
              return words == "cannot write " + (folder / ".lock").string() + ": File too large" ? 0 : 1;
            }),
            0);
}

TEST(FolderLock, IsGoneWhenItsHolderIsKilled) {
  const TemporaryFolder folder;
  EXPECT_EQ(in_child([&] {
              const FolderLock lock(folder.path());
              return ::raise(SIGKILL);
            }),
            128 + SIGKILL);
  const FolderLock lock(folder.path());
  EXPECT_PRED_FORMAT2(IsSubstring, "No such file",
                      message_of<UserError>([&] { FolderLock other(folder / "missing"); }));
}

}  // namespace
}  // namespace chorus
