#include "replicator/carry/qemu_img.hpp"

#include "replicator/carry/child.hpp"
#include "replicator/carry/output.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

namespace farshore::carry {
namespace {

constexpr const char *package = "qemu-utils";
constexpr std::array formats{
    std::pair{image_format::raw, "raw"}, std::pair{image_format::qcow2, "qcow2"},
    std::pair{image_format::vmdk, "vmdk"}, std::pair{image_format::vhdx, "vhdx"},
    std::pair{image_format::vdi, "vdi"}};

/// Its first line says what went wrong; the rest is how to call it.
std::string first_line(const std::string &text) { return text.substr(0, text.find('\n')); }

auto report(const std::string &what, std::uint64_t size, const means &with) {
    return [&with, what, size](const std::string &text) {
        if (const auto percent = percent_of(text)) {
            with.progress(what, size / 10'000 * *percent, size);
        }
    };
}

} // namespace

const char *name_of(image_format format) {
    for (const auto &[value, name] : formats) {
        if (value == format) {
            return name;
        }
    }
    return "raw";
}

std::optional<image_format> image_format_of(const std::string &name) {
    for (const auto &[value, known] : formats) {
        if (name == known) {
            return value;
        }
    }
    return std::nullopt;
}

std::optional<unsigned> percent_of(const std::string &text) {
    const auto end = text.rfind("/100%)");
    const auto begin = end == std::string::npos ? end : text.rfind('(', end);
    if (begin == std::string::npos) {
        return std::nullopt;
    }
    const std::string_view number = std::string_view(text).substr(begin + 1, end - begin - 1);
    const auto dot = number.find('.');
    unsigned whole = 0;
    unsigned hundredths = 0;
    const auto head = number.substr(0, dot);
    const auto tail = dot == std::string_view::npos ? "" : number.substr(dot + 1);
    if (std::from_chars(head.data(), head.data() + head.size(), whole).ec != std::errc{} ||
        whole > 100) {
        return std::nullopt;
    }
    std::from_chars(tail.data(), tail.data() + tail.size(), hundredths);
    return whole * 100 + (hundredths < 100 ? hundredths : 0);
}

std::vector<std::string> convert_words(const std::string &uri, const std::string &path,
                                       image_format format) {
    return {"qemu-img", "convert", "-p", "-f", "raw", "-O", name_of(format), "--", uri, path};
}

result<> convert(const std::string &uri, std::uint64_t size, const std::string &path,
                 image_format format, const std::string &what, const means &with) {
    FS_TRY(done, run_child(convert_words(uri, path, format), package, report(what, size, with),
                           with.stop));
    if (done.exit == 0) {
        return {};
    }
    if (done.err.contains("No space left on device")) {
        return write_failed(ENOSPC, what);
    }
    if (done.exit > 128) {
        return fail_errno(EIO, fmt::format("{}: qemu-img was ended by signal {}; was it killed, or "
                                           "is a limit of file sizes (ulimit -f) too low?",
                                           what, done.exit - 128));
    }
    return fail_errno(EIO, fmt::format("{}: {}", what, first_line(done.err)));
}

result<> compare(const std::string &uri, std::uint64_t size, const std::string &path,
                 image_format format, const std::string &what, const means &with) {
    const std::vector<std::string> words{"qemu-img", "compare",       "-p", "-f", "raw",
                                         "-F",       name_of(format), "--", uri,  path};
    FS_TRY(done, run_child(words, package, report(what + " compare", size, with), with.stop));
    if (done.exit == 0) {
        return {};
    }
    if (done.exit == 1) {
        const auto begin = done.out.rfind('\r');
        return fail(
            errc::mismatch,
            fmt::format("{} does not show what the point does ({}): the disk it is on may "
                        "be bad. It is removed; look at the kernel's log before the next",
                        what,
                        first_line(done.out.substr(begin == std::string::npos ? 0 : begin + 1))));
    }
    return fail_errno(EIO, fmt::format("{}: comparing: {}", what, first_line(done.err)));
}

} // namespace farshore::carry
