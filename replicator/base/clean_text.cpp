#include "replicator/base/clean_text.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace farshore {
namespace {

struct character {
    std::uint32_t code = 0;
    std::size_t bytes = 0; ///< 0: not UTF-8
};

/// RFC 3629: shortest form only, no surrogates, nothing above U+10FFFF.
character first_of(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
    };
    const std::uint32_t lead = byte(0);
    if (lead < 0x80) {
        return {lead, 1};
    }
    const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) {
        return {};
    }
    std::uint32_t code = lead & (0x7FU >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xC0) != 0x80) {
            return {};
        }
        code = code << 6 | (byte(i) & 0x3F);
    }
    constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        return {};
    }
    return {code, bytes};
}

struct code_range {
    std::uint32_t first;
    std::uint32_t last;
};
/// Format characters of Unicode that change or hide what stands beside them.
constexpr code_range unseen[] = {
    {0x00AD, 0x00AD}, {0x061C, 0x061C}, {0x115F, 0x1160},   {0x180B, 0x180F},   {0x200B, 0x200F},
    {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}, {0xFFFE, 0xFFFF},
};

std::string shown(character c, std::string_view text) {
    if (c.bytes == 0) {
        return fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
    }
    switch (c.code) {
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        break;
    }
    if (c.code < 0x20 || (c.code >= 0x7F && c.code < 0xA0)) {
        return fmt::format("\\x{:02x}", c.code);
    }
    for (const code_range &r : unseen) {
        if (c.code >= r.first && c.code <= r.last) {
            return fmt::format("\\u{{{:x}}}", c.code);
        }
    }
    return std::string(text.substr(0, c.bytes));
}

} // namespace

std::string clean_text(std::string_view text, std::size_t bytes_max) {
    constexpr std::string_view cut = "...";
    std::string out;
    std::size_t whole = 0; // of out, that leave room for the sign of a cut
    while (!text.empty()) {
        const character c = first_of(text);
        out += shown(c, text);
        if (out.size() > bytes_max) {
            out.resize(whole);
            return bytes_max >= cut.size() ? out.append(cut) : out;
        }
        if (out.size() + cut.size() <= bytes_max) {
            whole = out.size();
        }
        text.remove_prefix(c.bytes == 0 ? 1 : c.bytes);
    }
    return out;
}

} // namespace farshore
