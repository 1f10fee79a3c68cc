#pragma once
// A file that gets its name when it is whole. Until then it is NAME.partial-XXXXXX beside it, or
// lies in a directory of that name where the content has to know its own name (vmdk).
//
// A crash or kill -9 leaves at most the partial one, which says what it is. Durable after
// publish().

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <string>

namespace farshore::carry {

enum class existing : unsigned char { refuse, replace };
enum class partial_as : unsigned char { file, directory };

class new_file {
  public:
    /// Makes the partial file, empty, mode 0600. errc::refused when `path` is there and is not to
    /// be replaced, or is no plain file; errno of the directory otherwise.
    static result<new_file> make(const std::string &path, existing when_there,
                                 partial_as how = partial_as::file);
    new_file(new_file &&o) noexcept;
    new_file &operator=(new_file &&) = delete;
    ~new_file(); ///< removes what was not published

    const std::string &path() const { return path_; }       ///< the wished one
    const std::string &partial() const { return partial_; } ///< where it is now
    int fd() const { return fd_.get(); }

    /// Syncs it, gives it its name, syncs the directory. Without `replace` a file that came up
    /// meanwhile is kept: errc::refused.
    result<> publish();
    /// Takes back what publish() did, for a set of files of which another one failed.
    void withdraw();

  private:
    new_file() = default;

    std::string path_;
    std::string partial_;
    std::string directory_; ///< a partial directory; empty: none
    existing when_there_ = existing::refuse;
    unique_fd fd_;
    bool there_ = false; ///< the partial one
};

std::string directory_of(const std::string &path);
std::string base_name(const std::string &path);

} // namespace farshore::carry
