#include "replicator/format/messages.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <concepts>
#include <limits>

namespace farshore::wire {
namespace {

class field_writer {
  public:
    explicit field_writer(byte_vector &out) : out_(out) {}
    void operator()(const std::unsigned_integral auto &value, const field &) { out_.varint(value); }
    void operator()(const bool &value, const char *) { out_.u8(value ? 1 : 0); }
    void operator()(const random64 &r) { out_.structure(le64(r.value)); }
    void operator()(const stream_position &p, const field &) {
        (*this)(random64(p.stream.value));
        out_.varint(p.interval.value);
    }
    template <std::size_t N>
    void operator()(const std::array<std::byte, N> &a) {
        out_.bytes(a);
    }
    void operator()(const std::string &text, const length &) { out_.text(text); }
    void operator()(byte_vector &bytes, const length &) { out_.sized_bytes(bytes); }
    template <class T>
    void operator()(std::vector<T> &list, const length &) {
        out_.varint(list.size());
        for (T &item : list) {
            item.visit(*this);
        }
    }

  private:
    byte_writer out_;
};

/// Keeps the first failure; later fields are then left as they are.
class field_reader {
  public:
    explicit field_reader(bytes_view in) : in_(in) {}
    result<> finish() {
        FS_CHECK(std::move(state_));
        return in_.expect_end();
    }

    template <std::unsigned_integral Int>
    void operator()(Int &value, const field &f) {
        std::uint64_t wide = 0;
        if (take(in_.varint(), wide, f.name)) {
            const std::uint64_t max =
                std::min<std::uint64_t>(f.max, std::numeric_limits<Int>::max());
            if (wide < f.min || wide > max || wide % f.unit != 0) {
                state_ = out_of_range(f, wide, max);
                return;
            }
            value = static_cast<Int>(wide);
        }
    }
    void operator()(bool &value, const char *name) {
        std::uint8_t raw = 0;
        if (take(in_.u8(), raw, name)) {
            if (raw > 1) {
                state_ = fail(errc::corrupt, fmt::format("{} is {}, neither 0 nor 1", name, raw));
                return;
            }
            value = raw == 1;
        }
    }
    void operator()(random64 &r) {
        le64 raw;
        if (take(in_.structure<le64>(), raw)) {
            r.value = raw.get();
        }
    }
    void operator()(stream_position &p, const field &f) {
        random64 stream;
        (*this)(stream);
        p.stream = stream_id{stream.value};
        (*this)(p.interval.value, f);
        if (state_ && (p.stream.value == 0) != (p.interval.value == 0)) {
            state_ = fail(errc::corrupt,
                          fmt::format("{} is interval {} of stream {:x}; both are 0 or none is",
                                      f.name, p.interval.value, p.stream.value));
        }
    }
    template <std::size_t N>
    void operator()(std::array<std::byte, N> &a) {
        bytes_view raw;
        if (take(in_.bytes(N), raw)) {
            std::copy(raw.begin(), raw.end(), a.begin());
        }
    }
    /// Cleaned here, so that whoever holds a peer's words may log and show them
    /// (base/clean_text.hpp).
    void operator()(std::string &text, const length &l) {
        if (!take(in_.text(l.max), text, l.name)) {
            return;
        }
        if (!l.plain) {
            text = clean_text(text, l.max);
        } else if (!is_plain_name(text)) {
            state_ = fail(errc::corrupt, fmt::format("{} is no name: {}", l.name, plain_name_rule));
        }
    }
    void operator()(byte_vector &bytes, const length &l) {
        bytes_view raw;
        if (take(in_.sized_bytes(l.max), raw, l.name) && fits(l, raw.size(), l.max)) {
            bytes.assign(raw.begin(), raw.end());
        }
    }
    template <class T>
    void operator()(std::vector<T> &list, const length &l) {
        std::uint64_t count = 0;
        // Every item takes at least one byte, so a count beyond the rest can't be true.
        if (!take(in_.varint(), count, l.name) ||
            !fits(l, count, std::min<std::uint64_t>(l.max, in_.remaining()))) {
            return;
        }
        list.resize(static_cast<std::size_t>(count));
        for (T &item : list) {
            item.visit(*this);
            if (!state_) {
                return;
            }
        }
    }

  private:
    static std::unexpected<error> out_of_range(const field &f, std::uint64_t value,
                                               std::uint64_t max) {
        return fail(errc::limit,
                    fmt::format("{} is {}; allowed is {} to {}{}", f.name, value, f.min, max,
                                f.unit > 1 ? fmt::format(", a multiple of {}", f.unit) : ""));
    }
    bool fits(const length &l, std::uint64_t found, std::uint64_t max) {
        if (found < l.min || found > max || found % l.unit != 0) {
            state_ = out_of_range({l.name, l.min, l.max, l.unit}, found, max);
        }
        return state_.has_value();
    }
    template <class T>
    bool take(result<T> got, T &out, const char *name = "a field") {
        if (!state_) {
            return false;
        }
        if (!got) {
            state_ = fail(got.error().code, fmt::format("{}: {}", name, got.error().context));
            return false;
        }
        out = std::move(*got);
        return true;
    }

    byte_reader in_;
    result<> state_{};
};

result<> check_order(const stream_position &applied, const stream_position &durable,
                     std::uint64_t point) {
    if (applied.interval > durable.interval || point > applied.interval.value) {
        return fail(errc::corrupt,
                    fmt::format("durable is {}, applied {} and the newest point {}; each must be "
                                "at most the one before it",
                                durable.interval.value, applied.interval.value, point));
    }
    return {};
}

} // namespace

// What two fields say together.
result<> hello::check() const {
    return version_min <= version_max
               ? result<>{}
               : fail(errc::corrupt, fmt::format("hello.version_min is {}, above version_max {}",
                                                 version_min, version_max));
}
result<> welcome::check() const {
    FS_CHECK(check_order(applied, durable, point));
    if (partial.interval.value != 0 && partial.interval <= durable.interval) {
        return fail(errc::corrupt,
                    fmt::format("welcome.partial is interval {}, not after the durable one, {}",
                                partial.interval.value, durable.interval.value));
    }
    if (damaged && damage_count == 0) {
        return fail(errc::corrupt, "welcome.damaged is set and damage_count is 0");
    }
    return {};
}
result<> ack::check() const { return check_order(applied, durable, point); }
result<> begin_stream::check() const {
    return stream != 0 ? result<>{} : fail(errc::corrupt, "begin_stream.stream is 0");
}
std::size_t loan_request::blocks() const {
    std::size_t sum = 0;
    for (const loan_run &run : runs) {
        sum += run.digests.size() / 16;
    }
    return sum;
}
result<> loan_request::check() const {
    return blocks() <= limits::loan_blocks_max
               ? result<>{}
               : fail(errc::limit,
                      fmt::format("loan_request.runs ask for {} blocks; allowed is 1 to {}",
                                  blocks(), limits::loan_blocks_max));
}
std::size_t loan_reply::granted_blocks() const {
    std::size_t bits = 0;
    for (const std::byte b : granted) {
        bits += static_cast<std::size_t>(std::popcount(std::to_integer<unsigned>(b)));
    }
    return bits;
}
result<> loan_reply::check() const {
    if (first >= slots || granted_blocks() > slots) {
        return fail(errc::corrupt,
                    fmt::format("loan_reply grants {} blocks from slot {} on; there are {} slots",
                                granted_blocks(), first, slots));
    }
    return {};
}
result<> nak::check() const {
    return complete != blocks.empty()
               ? result<>{}
               : fail(errc::corrupt,
                      fmt::format("nak.complete is {} with {} blocks", complete, blocks.size()));
}

template <class Message>
buffer encode(const Message &m) {
    byte_vector out;
    field_writer writer(out);
    Message copy = m; // visit is not const, since parse uses the same list
    copy.visit(writer);
    return buffer::copy_of(out);
}

template <class Message>
result<Message> parse(bytes_view payload) {
    Message m{};
    field_reader reader(payload);
    m.visit(reader);
    auto good = reader.finish();
    if constexpr (requires { m.check(); }) {
        if (good) {
            good = m.check();
        }
    }
    if (!good) {
        return std::unexpected(blame(fault::peer, std::move(good).error()));
    }
    return m;
}

#define FS_MESSAGE(M)                                                                              \
    template buffer encode<M>(const M &);                                                          \
    template result<M> parse<M>(bytes_view);
FS_MESSAGE(hello)
FS_MESSAGE(welcome)
FS_MESSAGE(refusal)
FS_MESSAGE(ack)
FS_MESSAGE(begin_stream)
FS_MESSAGE(stream_ready)
FS_MESSAGE(digest_request)
FS_MESSAGE(digest_reply)
FS_MESSAGE(extent_request)
FS_MESSAGE(extent_reply)
FS_MESSAGE(loan_request)
FS_MESSAGE(loan_reply)
FS_MESSAGE(changed_request)
FS_MESSAGE(changed_reply)
FS_MESSAGE(nak)
FS_MESSAGE(heartbeat)
FS_MESSAGE(verify_result)
FS_MESSAGE(notice)
FS_MESSAGE(compare_request)
FS_MESSAGE(compare_reply)
FS_MESSAGE(site_claim)
FS_MESSAGE(role_offer)
FS_MESSAGE(join_request)
FS_MESSAGE(join_reply)
#undef FS_MESSAGE

} // namespace farshore::wire
