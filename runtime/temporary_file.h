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

class TemporaryFile {
 public:
  TemporaryFile() = default;
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&& other) noexcept;
  ~TemporaryFile();  // removes the file unless `finish` succeeded

  // Beside `path`, with the permissions that the umask leaves.
  int create(const std::string& path);
  // All bytes, at the end or at an offset.
  int append(std::span<const uint8_t> bytes);
  int write_at(std::span<const uint8_t> bytes, uint64_t offset);
  // Syncs, closes, renames, syncs the folder.
  int finish();

 private:
  void remove();

  std::string path_;
  std::string name_;  // empty: none, or renamed
  int fd_ = -1;
  int slot_ = -1;
};

class TemporaryFolder {
 public:
  TemporaryFolder() = default;
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  ~TemporaryFolder();  // removes the folder and what is in it unless `finish` succeeded

  // Beside `path`. `mode` as of mkdir: 0700 for folders that keep their name.
  int create(const std::string& path, mode_t mode = 0777);
  const std::string& name() const { return name_; }
  // Renames to `path`, which is absent or an empty folder. The files in it have been synced.
  int finish();

 private:
  void remove();

  std::string path_;
  std::string name_;
  int fd_ = -1;
  int slot_ = -1;
};

// $TMPDIR when that is absolute, else /tmp: where folders go that belong to no destination.
std::string temporary_root();

// Whether a file of this name (without its folder) is one of ours.
bool is_temporary_name(std::string_view name);

// Removes every file and folder (with the files in it) that this process has made and not finished.
// May be called from a signal handler.
void remove_temporaries() noexcept;

}  // namespace sinter::runtime
