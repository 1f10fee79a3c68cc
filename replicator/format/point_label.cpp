#include "replicator/format/point_label.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/clean_text.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr std::uint8_t label_version = 1;

result<std::string> parse_name(byte_reader &in, const char *what) {
    FS_TRY(name, in.text(limits::name_bytes_max));
    if (!is_plain_name(name)) {
        return fail(errc::corrupt, fmt::format("label whose {} is no name", what));
    }
    return name;
}

result<std::string> parse_words(byte_reader &in, std::size_t most) {
    FS_TRY(text, in.text(most));
    return clean_text(text, most);
}

result<std::uint64_t> parse_count(byte_reader &in, std::uint64_t most, const char *what) {
    FS_TRY(count, in.varint());
    if (count > most) {
        return fail(errc::limit, fmt::format("label with {} {}; at most {}", count, what, most));
    }
    return count;
}

result<hook_result> parse_hook(byte_reader &in) {
    hook_result hook;
    FS_TRY(name, parse_name(in, "hook"));
    FS_TRY(type, parse_name(in, "type of a hook"));
    FS_TRY(ok, in.u8());
    if (ok > 1) {
        return fail(errc::corrupt, "label whose hook is neither well nor not");
    }
    FS_TRY(freeze, parse_count(in, label_keep_seconds_max * 1'000'000, "microseconds of freeze"));
    FS_TRY(message, parse_words(in, label_message_bytes_max));
    FS_TRY(facts, parse_count(in, label_facts_max, "facts of a hook"));
    for (std::uint64_t i = 0; i < facts; ++i) {
        FS_TRY(key, parse_name(in, "fact"));
        FS_TRY(value, parse_words(in, label_value_bytes_max));
        hook.facts.emplace_back(std::move(key), std::move(value));
    }
    hook.name = std::move(name);
    hook.type = std::move(type);
    hook.ok = ok == 1;
    hook.freeze = std::chrono::microseconds(freeze);
    hook.message = std::move(message);
    return hook;
}

bool all_well(const point_label &label) {
    return !label.hooks.empty() && std::ranges::all_of(label.hooks, &hook_result::ok);
}

} // namespace

const char *name_of(label_kind kind) {
    switch (kind) {
    case label_kind::crash:
        return "crash";
    case label_kind::app:
        return "app";
    }
    return "?";
}

bool is_bookmark_name(std::string_view name) {
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    return is_plain_name(name) && letter(name.front()) && !name.starts_with("latest");
}

byte_vector encode_label(const point_label &label) {
    REPL_ASSERT(is_bookmark_name(label.name) && label.hooks.size() <= label_hooks_max);
    REPL_ASSERT(label.kind != label_kind::app || all_well(label));
    byte_vector bytes;
    byte_writer out(bytes);
    out.u8(label_version);
    out.u8(static_cast<std::uint8_t>(label.kind));
    out.varint(static_cast<std::uint64_t>(label.keep.count()));
    out.text(label.name);
    out.text(label.note);
    out.varint(label.hooks.size());
    for (const hook_result &hook : label.hooks) {
        out.text(hook.name);
        out.text(hook.type);
        out.u8(hook.ok ? 1 : 0);
        out.varint(static_cast<std::uint64_t>(hook.freeze.count()));
        out.text(hook.message);
        out.varint(hook.facts.size());
        for (const auto &[key, value] : hook.facts) {
            out.text(key);
            out.text(value);
        }
    }
    REPL_ASSERT(bytes.size() <= label_bytes_max);
    return bytes;
}

result<point_label> parse_label(bytes_view bytes) {
    if (bytes.size() > label_bytes_max) {
        return fail(errc::limit, "label of too many bytes");
    }
    byte_reader in(bytes);
    FS_TRY(version, in.u8());
    if (version != label_version) {
        return fail(errc::unsupported, fmt::format("label version {}", version));
    }
    FS_TRY(kind, in.u8());
    if (kind != static_cast<std::uint8_t>(label_kind::crash) &&
        kind != static_cast<std::uint8_t>(label_kind::app)) {
        return fail(errc::corrupt, fmt::format("label of unknown kind {}", kind));
    }
    point_label label;
    label.kind = static_cast<label_kind>(kind);
    FS_TRY(keep, parse_count(in, label_keep_seconds_max, "seconds to be kept"));
    label.keep = std::chrono::seconds(keep);
    FS_TRY(name, parse_name(in, "name"));
    if (!is_bookmark_name(name)) {
        return fail(errc::corrupt, "label whose name names points in another way");
    }
    label.name = std::move(name);
    FS_TRY(note, parse_words(in, label_note_bytes_max));
    label.note = std::move(note);
    FS_TRY(hooks, parse_count(in, label_hooks_max, "hooks"));
    for (std::uint64_t i = 0; i < hooks; ++i) {
        FS_TRY(hook, parse_hook(in));
        label.hooks.push_back(std::move(hook));
    }
    FS_CHECK(in.expect_end());
    if (label.kind == label_kind::app && !all_well(label)) {
        return fail(errc::corrupt, "label of kind app without a hook that vouches for it");
    }
    return label;
}

} // namespace farshore
