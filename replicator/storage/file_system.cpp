#include "replicator/storage/file_system.hpp"

#include "replicator/base/limits.hpp"

namespace farshore {
namespace {

constexpr std::uint64_t small_file_bytes_max = 4 * limits::MiB;

result<> write_new(file_system &fs, const std::string &path, bytes_view content) {
    FS_TRY(out, fs.open(path, open_mode::create_new));
    FS_CHECK(out->write_at(0, content));
    return out->sync_data();
}

} // namespace

result<byte_vector> file_system::read_file(const std::string &path) {
    FS_TRY(in, open(path, open_mode::read));
    FS_TRY(size, in->size());
    if (size > small_file_bytes_max) {
        return fail(errc::limit, "can't read " + path + " of more than 4 MiB as a whole");
    }
    byte_vector content(static_cast<std::size_t>(size));
    FS_CHECK(in->read_at(0, content));
    return content;
}

// Crash order: 1. the temporary's bytes are durable before its name can become `path`, so a power
// cut never shows an empty or partial file; 2. rename swaps the name in one step; 3. the directory
// sync makes the new name outlive a power cut. Before 3 the old content may come back, whole.
result<> file_system::replace_file(const std::string &path, bytes_view content) {
    if (content.size() > small_file_bytes_max) {
        return fail(errc::limit, "can't write " + path + " of more than 4 MiB as a whole");
    }
    const std::string temporary = path + ".tmp";
    FS_CHECK(remove(temporary)); // left by a crash
    if (auto written = write_new(*this, temporary, content); !written) {
        // The first failure is what the caller must hear of; what a second one leaves behind is
        // removed by the next replace_file.
        static_cast<void>(remove(temporary));
        return written;
    }
    if (auto renamed = rename(temporary, path); !renamed) {
        static_cast<void>(remove(temporary));
        return renamed;
    }
    return sync_directory(parent_path(path));
}

std::string join_path(const std::string &directory, const std::string &name) {
    if (directory.empty()) {
        return name;
    }
    const std::size_t last = directory.find_last_not_of('/');
    const std::string stem = last == std::string::npos ? "" : directory.substr(0, last + 1);
    const std::size_t first = name.find_first_not_of('/');
    return stem + '/' + (first == std::string::npos ? "" : name.substr(first));
}

std::string parent_path(const std::string &path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

} // namespace farshore
