#pragma once
// What qemu-img does for us: images of other hypervisors, and the comparison with the point.

#include "replicator/base/error.hpp"
#include "replicator/carry/carry.hpp"

#include <optional>
#include <string>
#include <vector>

namespace farshore::carry {

/// As qemu-img and `--format` say it: "vhdx".
const char *name_of(image_format format);
std::optional<image_format> image_format_of(const std::string &name);

/// "    (43.50/100%)\r" as 4,350; nothing when there is no such text. The last one counts. Pure.
std::optional<unsigned> percent_of(const std::string &text);
/// Pure.
std::vector<std::string> convert_words(const std::string &uri, const std::string &path,
                                       image_format format);

/// Writes the content of `uri` (raw, `size` bytes) to `path`, which may be there.
result<> convert(const std::string &uri, std::uint64_t size, const std::string &path,
                 image_format format, const std::string &what, const means &with);
/// errc::mismatch when the image does not show what `uri` does.
result<> compare(const std::string &uri, std::uint64_t size, const std::string &path,
                 image_format format, const std::string &what, const means &with);

} // namespace farshore::carry
