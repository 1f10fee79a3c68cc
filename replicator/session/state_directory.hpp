#pragma once
// What a daemon keeps in its state directory whichever its role: that it is the only one there, and
// whom it trusts.

#include "replicator/session/kept.hpp"
#include "replicator/session/trust.hpp"

#include <memory>
#include <string>

namespace farshore {

class state_directory {
  public:
    state_directory(file_system &files, executor disk, std::string path);

    /// Made when absent, taken for this daemon until the object ends, read. errc::busy: another
    /// daemon has it; errc::corrupt, with what to do.
    task<result<>> open();

    kept<trust_store> trust; ///< trust.json

  private:
    result<trust_store> open_on_disk();

    file_system &files_;
    executor disk_;
    std::string path_;
    std::unique_ptr<file> lock_;
};

} // namespace farshore
