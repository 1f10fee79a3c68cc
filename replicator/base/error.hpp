#pragma once
// Expected failures travel as result<T>; bugs abort (assert.hpp); a constructor that can't leave a
// usable object throws and only main catches.

#include <cstdint>
#include <expected>
#include <string>
#include <system_error>
#include <utility>

namespace farshore {

/// Whose fault a failure is. It decides what is done about it (session/reaction.hpp), so whoever
/// knows says so, where the failure is found: `blame`.
enum class fault : std::uint8_t {
    unsaid,  ///< not yet known; who reacts knows by where it came from
    line,    ///< the connection: nobody's fault
    peer,    ///< it broke a rule; our own storage is as good as before
    storage, ///< of the copy at the DR site, or of the sender's state
    volume,  ///< a part of one volume's disk; the rest of the group goes on
};

/// What failed and where. `context` names the object (file, group, peer) and reads as a sentence
/// for the operator; `code` is what decisions are made on.
struct error {
    std::error_code code;
    std::string context;
    fault whose = fault::unsaid;

    /// "context: message of the code", or only one of them when the other is empty.
    std::string text() const;
};

template <class T = void>
using result = std::expected<T, error>;

/// Failures that are not an errno. One list for the whole product: each value maps to exactly one
/// reaction (session/reaction.hpp) and one exit code (control/exit_code.hpp).
enum class errc : int {
    ok = 0,
    corrupt = 1,      ///< a checksum or a rule of a format is broken
    unsupported = 2,  ///< a version or required feature that this build does not know
    limit = 3,        ///< a length or count beyond its named limit
    closed = 4,       ///< the peer, queue or file was closed
    timeout = 5,      ///< a deadline passed
    cancelled = 6,    ///< stopped on purpose
    not_found = 7,    ///< no such group, volume or point
    busy = 8,         ///< held by another user
    not_trusted = 9,  ///< the peer is not who was pinned
    refused = 10,     ///< would lose data
    not_in_sync = 11, ///< asks for a state that does not hold
    invalid = 12,     ///< bad input from the user or configuration
    full = 13,        ///< a configured limit of space is reached
    dead = 14,        ///< a writer that failed before and does not go on
    mismatch = 15,    ///< digests or identities differ
};

const std::error_category &farshore_category() noexcept;
inline std::error_code make_error_code(errc e) noexcept {
    return {static_cast<int>(e), farshore_category()};
}

inline std::unexpected<error> fail(errc code, std::string context) {
    return std::unexpected(error{make_error_code(code), std::move(context)});
}
inline std::unexpected<error> fail(std::error_code code, std::string context) {
    return std::unexpected(error{code, std::move(context)});
}
/// From the calling thread's errno, read by the caller before anything else could change it.
inline std::unexpected<error> fail_errno(int number, std::string context) {
    return std::unexpected(
        error{std::error_code(number, std::generic_category()), std::move(context)});
}

/// The same error with its culprit; what was said before stays.
inline error blame(fault whose, error e) {
    e.whose = e.whose == fault::unsaid ? whose : e.whose;
    return e;
}
template <class T>
result<T> blame(fault whose, result<T> r) {
    return r ? std::move(r) : result<T>(std::unexpected(blame(whose, std::move(r).error())));
}
/// A rule that the peer broke: the text names field, value and bound.
inline std::unexpected<error> fail_peer(errc code, std::string context) {
    return std::unexpected(error{make_error_code(code), std::move(context), fault::peer});
}

inline bool is(const error &e, errc code) { return e.code == make_error_code(code); }
inline bool is_errno(const error &e, int number) {
    return e.code == std::error_code(number, std::generic_category());
}

} // namespace farshore

template <>
struct std::is_error_code_enum<farshore::errc> : std::true_type {};

// Early return of a failed result. FS_TRY(name, expr) binds the value; FS_CHECK(expr) drops it. The
// CO_ forms are for coroutines.
#define FS_CONCAT_(a, b) a##b
#define FS_CONCAT(a, b) FS_CONCAT_(a, b)
#define FS_TRY_IMPL_(temp, name, ret, ...)                                                         \
    auto temp = (__VA_ARGS__);                                                                     \
    if (!temp) {                                                                                   \
        ret std::unexpected(std::move(temp).error());                                              \
    }                                                                                              \
    auto name = std::move(temp).value()
#define FS_TRY(name, ...) FS_TRY_IMPL_(FS_CONCAT(fs_try_, __LINE__), name, return, __VA_ARGS__)
#define FS_CO_TRY(name, ...)                                                                       \
    FS_TRY_IMPL_(FS_CONCAT(fs_try_, __LINE__), name, co_return, __VA_ARGS__)
#define FS_CHECK_IMPL_(temp, ret, ...)                                                             \
    if (auto temp = (__VA_ARGS__); !temp) {                                                        \
        ret std::unexpected(std::move(temp).error());                                              \
    }
#define FS_CHECK(...) FS_CHECK_IMPL_(FS_CONCAT(fs_check_, __LINE__), return, __VA_ARGS__)
#define FS_CO_CHECK(...) FS_CHECK_IMPL_(FS_CONCAT(fs_check_, __LINE__), co_return, __VA_ARGS__)
