#pragma once
// The label of a bookmark: what the primary says of a barrier besides that it is one. It travels
// in the barrier's own frame (format/frame.hpp), so that the DR site knows it whenever it knows the
// point. docs/formats-log.md "Label".
//
// In order, integers as varints, texts with their length before them:
//   u8 version (1; any other is refused, errc::unsupported), u8 kind (1 crash, 2 app),
//   keep (seconds after the arrival; 0: no wish; at most label_keep_seconds_max),
//   name (is_bookmark_name), note (at most label_note_bytes_max),
//   count of hooks (at most label_hooks_max), of each: name (is_plain_name), type (likewise),
//   u8 ok (0, 1), freeze in microseconds, message (at most label_message_bytes_max), count of facts
//   (at most label_facts_max), of each: key (is_plain_name), value (at most label_value_bytes_max).
// The kind is app only when every hook is ok and there is one: a label that says otherwise is
// refused. Texts are made clean (base/clean_text.hpp) by who parses them.
// History: version 1, first.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farshore {

constexpr std::size_t label_note_bytes_max = 1024;
constexpr std::size_t label_hooks_max = 16;
constexpr std::size_t label_message_bytes_max = 512;
constexpr std::size_t label_facts_max = 16;
constexpr std::size_t label_value_bytes_max = 512;
constexpr std::uint64_t label_keep_seconds_max = 100ULL * 366 * 86'400;
constexpr std::size_t label_bytes_max = 256 * 1024; ///< more than all of these bounds together

/// What a point is worth to an application.
enum class label_kind : std::uint8_t {
    crash = 1, ///< as after a power cut
    app = 2,   ///< every hook proved that its application was still until after the barrier
};
const char *name_of(label_kind kind);

/// One application's part in a bookmark.
struct hook_result {
    std::string name;
    std::string type;
    bool ok = false; ///< it proved its freeze, from before the barrier until after it
    std::chrono::microseconds freeze{}; ///< how long its application was still
    std::string message;                ///< why it is not ok
    std::vector<std::pair<std::string, std::string>> facts = {}; ///< LSN, binlog position, ...
    bool operator==(const hook_result &) const = default;
};

struct point_label {
    label_kind kind = label_kind::crash;
    std::string name;
    std::string note = {};
    std::chrono::seconds keep{}; ///< at the DR site, whatever `retain` says; 0: no wish
    std::vector<hook_result> hooks = {};
    bool operator==(const point_label &) const = default;
};

/// For messages.
constexpr const char *bookmark_name_rule =
    "letters, digits, '.', '_' and '-', a letter first, at most 64, and not \"latest\"";
/// Not to be taken for another way of naming a point: an id, a time, an age, latest.
bool is_bookmark_name(std::string_view name);

byte_vector encode_label(const point_label &label);
/// errc::corrupt, errc::limit, errc::unsupported.
result<point_label> parse_label(bytes_view bytes);

} // namespace farshore
