// The one place where temporary files and folders are made. What is written gets a name of its own
// beside its destination, ".NAME.sinter-tmp-" and 16 random hexadecimal digits, and takes the
// destination's name when it is whole and on the disk: the destination is the old file or the whole
// new one, whatever happens. Functions give 0 or an errno.
//
// Nothing stays behind. Objects remove what they made; a program's signal handlers call
// `remove_temporaries` first; and what a killed process left is removed by the next one that makes
// a temporary file in the same folder: a living owner holds a lock (flock), a dead one does not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sinter::runtime {

// What files and folders have in common: the name, and the descriptor that holds the lock.
class TemporaryEntry {
 public:
  enum Kind { file, folder };

  TemporaryEntry() = default;
  TemporaryEntry(TemporaryEntry&& other) noexcept;
  TemporaryEntry& operator=(TemporaryEntry&& other) noexcept;
  ~TemporaryEntry();  // removes it, and what is in a folder, unless `finish` succeeded

  int create(const std::string& path, Kind kind, mode_t mode);
  int finish();
  const std::string& name() const { return name_; }
  int descriptor() const { return fd_; }

 private:
  std::string path_;
  std::string name_;  // empty: none, or renamed
  Kind kind_ = file;
  int fd_ = -1;
  int slot_ = -1;
};

class TemporaryFile {
 public:
  // Beside `path`, with the permissions that the umask leaves.
  int create(const std::string& path) { return entry_.create(path, TemporaryEntry::file, 0666); }
  // All bytes, at the end or at an offset.
  int append(std::span<const uint8_t> bytes);
  int write_at(std::span<const uint8_t> bytes, uint64_t offset);
  // Syncs, renames, closes, syncs the folder.
  int finish() { return entry_.finish(); }

 private:
  TemporaryEntry entry_;
};

class TemporaryFolder {
 public:
  // Beside `path`. `mode` as of mkdir: 0700 for folders that keep their name.
  int create(const std::string& path, mode_t mode = 0777) {
    return entry_.create(path, TemporaryEntry::folder, mode);
  }
  const std::string& name() const { return entry_.name(); }
  // Renames to `path`, which is absent or an empty folder. The files in it have been synced.
  int finish() { return entry_.finish(); }

 private:
  TemporaryEntry entry_;
};

// $TMPDIR when that is absolute, else /tmp: where folders go that belong to no destination.
std::string temporary_root();

// Whether a file of this name (without its folder) is one of ours.
bool is_temporary_name(std::string_view name);

// Removes every file and folder (with the files in it) that this process has made and not finished.
// May be called from a signal handler.
void remove_temporaries() noexcept;

}  // namespace sinter::runtime
